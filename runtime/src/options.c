#include "options.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "status.h"

const char llmc_usage[] =
    "usage: run -p TEXT [options]\n"
    "\n"
    "Generates text with the compiled model this program lies beside. Text goes to standard output, the rest to standard error.\n"
    "\n"
    "  -p, --prompt TEXT           what to continue\n"
    "  -f, --file FILE             read the prompt from a file; - is standard input\n"
    "  -n, --tokens N              stop after N tokens (default 128; 0: when the model ends or its context is full)\n"
    "      --temperature X         0 always takes the best token (default); higher is more random\n"
    "      --top-k N               choose among the N best tokens\n"
    "      --top-p X               choose among the fewest tokens that together have probability X\n"
    "      --min-p X               drop tokens less likely than X times the best\n"
    "      --repetition-penalty X  make recent tokens less likely (1: off)\n"
    "      --seed N                same seed, same text (default 0)\n"
    "      --stop TEXT             end before this text; may be given several times\n"
    "      --context N             longest sequence in tokens (default: what the model was trained for)\n"
    "  -t, --threads N             default: the cores this process may use\n"
    "      --isa NAME              use this instruction-set level of the artifact\n"
    "      --device NAME           cpu, cuda, cuda:1 or rocm; default: a GPU the artifact has code for, else the processor\n"
    "      --no-special            do not add the tokens the model expects around a text\n"
    "      --parse-special         control tokens spelled in the prompt are control tokens\n"
    "      --show-special          print control tokens\n"
    "      --ignore-end            go on after a token that ends the text\n"
    "      --json                  print one JSON document\n"
    "      --timings               print where the time went, op by op, to standard error\n"
    "  -h, --help\n";

typedef enum kind { TEXT, NUMBER, REAL, SEED, STOP, FLAG } kind;

typedef struct option {
  const char *name;
  char letter; /* 0: none */
  kind kind;
  size_t at; /* where in llmc_options */
} option;

#define AT(member) offsetof(llmc_options, member)
static const option options[] = {{"prompt", 'p', TEXT, AT(prompt)},
                                 {"file", 'f', TEXT, AT(file)},
                                 {"tokens", 'n', NUMBER, AT(max_tokens)},
                                 {"temperature", 0, REAL, AT(sampler.temperature)},
                                 {"top-k", 0, NUMBER, AT(sampler.top_k)},
                                 {"top-p", 0, REAL, AT(sampler.top_p)},
                                 {"min-p", 0, REAL, AT(sampler.min_p)},
                                 {"repetition-penalty", 0, REAL, AT(sampler.repetition_penalty)},
                                 {"seed", 0, SEED, AT(sampler.seed)},
                                 {"stop", 0, STOP, 0},
                                 {"context", 0, NUMBER, AT(context)},
                                 {"threads", 't', NUMBER, AT(threads)},
                                 {"isa", 0, TEXT, AT(isa)},
                                 {"device", 0, TEXT, AT(device)},
                                 {"no-special", 0, FLAG, AT(no_special)},
                                 {"parse-special", 0, FLAG, AT(parse_special)},
                                 {"show-special", 0, FLAG, AT(show_special)},
                                 {"ignore-end", 0, FLAG, AT(ignore_end)},
                                 {"json", 0, FLAG, AT(json)},
                                 {"timings", 0, FLAG, AT(timings)},
                                 {"help", 'h', FLAG, AT(help)}};

/* The option that "--name", "--name=value" or "-x" means; *value gets what follows the '='. */
static const option *find(const char *word, const char **value) {
  *value = NULL;
  if (word[0] != '-' || !word[1]) return NULL;
  bool is_long = word[1] == '-';
  const char *name = word + 1 + is_long, *equals = is_long ? strchr(name, '=') : NULL;
  size_t size = equals ? (size_t)(equals - name) : strlen(name);
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    const option *o = &options[i];
    bool same = is_long ? strlen(o->name) == size && strncmp(o->name, name, size) == 0 : size == 1 && o->letter == name[0];
    if (!same) continue;
    if (equals) *value = equals + 1;
    return o;
  }
  return NULL;
}

static bool set_number(const char *value, int32_t *out) {
  char *end;
  errno = 0;
  long n = strtol(value, &end, 10);
  *out = (int32_t)n;
  return !errno && end != value && !*end && n >= 0 && n <= INT32_MAX;
}

static bool set_real(const char *value, float *out) {
  char *end;
  *out = strtof(value, &end);
  return end != value && !*end && *out >= 0;
}

static bool set_seed(const char *value, uint64_t *out) {
  char *end;
  errno = 0;
  *out = strtoull(value, &end, 10);
  return !errno && end != value && !*end && value[0] != '-';
}

/* False: the value makes no sense. What it must be beyond its type, the library checks. */
static bool set(llmc_options *out, const option *o, const char *value) {
  void *at = (char *)out + o->at;
  switch (o->kind) {
    case TEXT: *(const char **)at = value; return true;
    case NUMBER: return set_number(value, at);
    case REAL: return set_real(value, at);
    case SEED: return set_seed(value, at);
    case STOP: return out->n_stop < LLMC_MAX_STOP_OPTIONS && *value && (out->stop[out->n_stop++] = value);
    case FLAG: return *(bool *)at = true;
  }
  return false;
}

static bool has_json(int argc, char **argv) {
  for (int i = 1; i < argc; i++)
    if (strcmp(argv[i], "--json") == 0) return true;
  return false;
}

bool llmc_options_parse(int argc, char **argv, llmc_options *out, llmc_error *error) {
  *out = (llmc_options){.max_tokens = 128, .sampler = {.struct_size = sizeof out->sampler}, .json = has_json(argc, argv)};
  for (int i = 1; i < argc; i++) {
    const char *value;
    const option *o = find(argv[i], &value);
    if (!o) return llmc_fail(error, LLMC_ERR_ARG, "unknown option %s", argv[i]), false;
    if (o->kind == FLAG && value) return llmc_fail(error, LLMC_ERR_ARG, "--%s takes no value", o->name), false;
    if (o->kind != FLAG && !value) value = i + 1 < argc ? argv[++i] : NULL;
    if (o->kind != FLAG && !value) return llmc_fail(error, LLMC_ERR_ARG, "--%s needs a value", o->name), false;
    if (!set(out, o, value)) return llmc_fail(error, LLMC_ERR_ARG, "--%s: %.100s makes no sense", o->name, value), false;
  }
  if (!out->help && !out->prompt == !out->file) return llmc_fail(error, LLMC_ERR_ARG, "give a prompt: -p TEXT or -f FILE"), false;
  return true;
}
