/* The command line of the program `run`. */
#ifndef LLMC_OPTIONS_H
#define LLMC_OPTIONS_H

#include <stdbool.h>

#include "llmc.h"

enum { LLMC_MAX_STOP_OPTIONS = 64 };

typedef struct llmc_options {
  const char *prompt; /* -p, or NULL */
  const char *file; /* -f: a file to read the prompt from, "-" for standard input; or NULL */
  const char *isa; /* NULL: the best */
  const char *device; /* NULL: a GPU if there is code for it, else the processor */
  const char *stop[LLMC_MAX_STOP_OPTIONS];
  size_t n_stop;
  int32_t max_tokens, threads, context; /* 0: until the end, all cores, the trained context */
  llmc_sampler_options sampler;
  bool json, timings, no_special, parse_special, show_special, ignore_end, help;
} llmc_options;

extern const char llmc_usage[];

/* Reads argv[1..]. Returns true, or false with the reason in error. `json` is set whenever --json is there, also on failure. */
bool llmc_options_parse(int argc, char **argv, llmc_options *out, llmc_error *error);

#endif
