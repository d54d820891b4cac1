/* Text on its way out: keeps back what may turn out to be a stop text, and UTF-8 characters that are not complete yet. */
#ifndef LLMC_TEXT_H
#define LLMC_TEXT_H

#include <stdbool.h>

#include "status.h"

enum { LLMC_MAX_STOPS = 64, LLMC_MAX_STOP_BYTES = 4096 };

typedef struct llmc_buffer {
  char *bytes;
  size_t size, capacity;
} llmc_buffer;

typedef struct llmc_text {
  llmc_allocator allocator;
  llmc_buffer pending; /* not handed out yet; holds no whole stop text */
  llmc_buffer piece; /* what llmc_text_take() gave last, ended by a 0 */
  llmc_buffer stops; /* all stop texts, one after the other */
  size_t n_stops;
  size_t stop_size[LLMC_MAX_STOPS];
  bool stopped; /* a stop text came; pending ends before it */
} llmc_text;

/* stops: n texts, each 1 .. LLMC_MAX_STOP_BYTES bytes, ended by a 0; copied. LLMC_ERR_ARG, LLMC_ERR_NOMEM. */
llmc_status llmc_text_open(llmc_text *text, const llmc_allocator *allocator, const char *const *stops, size_t n);
void llmc_text_close(llmc_text *text);

/* Adds bytes. Once text->stopped is set, what follows the stop text is dropped. */
llmc_status llmc_text_append(llmc_text *text, const char *bytes, size_t size);

/* Hands out what is safe to show, or with `all` everything. The bytes live until the next call. */
llmc_status llmc_text_take(llmc_text *text, bool all, const char **bytes, size_t *size);

#endif
