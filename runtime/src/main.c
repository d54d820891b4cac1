/* `run`: generates text with the artifact it lies in. No Python, nothing to install. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "llmc.h"
#include "options.h"
#include "report.h"
#include "status.h"

enum { EXIT_USAGE = 2, EXIT_MALFORMED = 4, EXIT_TARGET = 5, EXIT_DEVICE = 6 };
enum { PATH_BYTES = 4096, FIRST_READ = 1 << 16 };

typedef struct bytes {
  char *data;
  size_t size;
} bytes;

typedef struct program {
  llmc_options options;
  llmc_error error;
  llmc_model *model;
  llmc_session *session;
  bytes prompt;
  int32_t *tokens;
  size_t n_tokens;
  bytes text; /* what was generated, for --json */
  llmc_report report;
  llmc_timings timings;
  llmc_reason reason;
} program;

static llmc_status no_memory(program *p) { return llmc_fail(&p->error, LLMC_ERR_NOMEM, "out of memory"); }

static bool append(bytes *b, const char *data, size_t size) {
  char *grown = realloc(b->data, b->size + size + 1);
  if (!grown) return false;
  memcpy(grown + b->size, data, size);
  b->data = grown;
  b->size += size;
  grown[b->size] = 0;
  return true;
}

/* The folder of this program. */
static llmc_status own_folder(program *p, char folder[PATH_BYTES]) {
  ssize_t n = readlink("/proc/self/exe", folder, PATH_BYTES - 1);
  if (n <= 0) return llmc_fail(&p->error, LLMC_ERR_IO, "cannot find the folder of this program: /proc is not there");
  folder[n] = 0;
  char *slash = strrchr(folder, '/');
  if (slash) *slash = 0;
  return LLMC_OK;
}

static llmc_status read_prompt(program *p) {
  const char *name = p->options.file;
  static char buffer[FIRST_READ];
  if (!name) return append(&p->prompt, p->options.prompt, strlen(p->options.prompt)) ? LLMC_OK : no_memory(p);
  FILE *file = strcmp(name, "-") ? fopen(name, "rb") : stdin;
  if (!file) return llmc_fail(&p->error, LLMC_ERR_ARG, "%s: cannot be read", name);
  bool fits = append(&p->prompt, "", 0);
  for (size_t n; fits && (n = fread(buffer, 1, sizeof buffer, file)) > 0;) fits = append(&p->prompt, buffer, n);
  bool failed = ferror(file);
  if (file != stdin) fclose(file);
  if (failed) return llmc_fail(&p->error, LLMC_ERR_IO, "%s: cannot be read", name);
  return fits ? LLMC_OK : no_memory(p);
}

static llmc_status tokenize(program *p) {
  const llmc_vocabulary *v = llmc_model_vocabulary(p->model);
  if (!v) return llmc_fail(&p->error, LLMC_ERR_ARG, "the model was compiled without a vocabulary: it can only be used through llmc.h");
  uint32_t flags = (p->options.no_special ? 0 : LLMC_ADD_SPECIAL) | (p->options.parse_special ? LLMC_PARSE_SPECIAL : 0);
  size_t capacity = p->prompt.size + 16; /* most texts have fewer tokens than bytes */
  llmc_status status = LLMC_ERR_SPACE;
  for (int round = 0; round < 2 && status == LLMC_ERR_SPACE; round++) {
    int32_t *grown = realloc(p->tokens, capacity * sizeof *grown);
    if (!grown) return no_memory(p);
    p->tokens = grown;
    status = llmc_tokenize(v, p->prompt.data, p->prompt.size, flags, p->tokens, capacity, &p->n_tokens);
    capacity = p->n_tokens;
  }
  return status ? llmc_fail(&p->error, status, "the prompt cannot be tokenized: %s", llmc_status_name(status)) : LLMC_OK;
}

static llmc_status open_all(program *p) {
  char folder[PATH_BYTES];
  llmc_model_options model = {.struct_size = sizeof model, .isa = p->options.isa, .device = p->options.device};
  llmc_session_options session = {.struct_size = sizeof session,
                                  .context = p->options.context,
                                  .threads = p->options.threads,
                                  .profile = p->options.timings};
  llmc_status status = own_folder(p, folder);
  if (!status) status = llmc_model_open(folder, &model, &p->error, &p->model);
  llmc_report_phase(&p->report, LLMC_PHASE_OPEN);
  if (!status) status = tokenize(p);
  llmc_report_phase(&p->report, LLMC_PHASE_TOKENIZE);
  if (!status) status = llmc_session_open(p->model, &session, &p->error, &p->session);
  llmc_report_phase(&p->report, LLMC_PHASE_SESSION);
  return status;
}

static bool show(program *p, const llmc_piece *piece) {
  if (p->options.json) return append(&p->text, piece->text, piece->size);
  return fwrite(piece->text, 1, piece->size, stdout) == piece->size && fflush(stdout) == 0;
}

/* Pieces until the last one; LLMC_CALLER when one cannot be written. */
static llmc_status show_all(program *p, llmc_generation *g) {
  llmc_piece piece = {.struct_size = sizeof piece};
  llmc_status status = LLMC_OK;
  for (bool first = true; !status && !p->reason; first = false) {
    status = llmc_generation_next(g, &piece);
    if (status) break;
    if (!show(p, &piece)) p->reason = LLMC_CALLER;
    else p->reason = piece.reason;
    if (first) llmc_report_first_token(&p->report, p->session);
  }
  llmc_generation_timings(g, &p->timings);
  return status;
}

static llmc_status generate(program *p) {
  p->timings.struct_size = sizeof p->timings;
  llmc_generate_options o = {.struct_size = sizeof o,
                             .tokens = p->tokens,
                             .n_tokens = p->n_tokens,
                             .max_tokens = p->options.max_tokens,
                             .sampler = &p->options.sampler,
                             .stop = p->options.stop,
                             .n_stop = p->options.n_stop,
                             .ignore_end = p->options.ignore_end,
                             .show_special = p->options.show_special};
  llmc_generation *g = NULL;
  llmc_status status = llmc_generation_open(p->session, &o, &g);
  if (!status) status = show_all(p, g);
  llmc_generation_close(g);
  if (status) return llmc_fail(&p->error, status, "%s", llmc_session_error(p->session));
  if (p->reason == LLMC_CALLER) return llmc_fail(&p->error, LLMC_ERR_IO, "the text cannot be written");
  if (!p->options.json && isatty(STDOUT_FILENO)) putchar('\n');
  return LLMC_OK;
}

/* Bytes of the UTF-8 character at s, of n left; 0 if there is none. */
static size_t character(const unsigned char *s, size_t n) {
  size_t length = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
  if (length > n) return 0;
  for (size_t i = 1; i < length; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  bool too_long = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
  bool no_character = (s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf4 && s[1] >= 0x90);
  return length > 1 && (too_long || no_character) ? 0 : length;
}

/* A JSON string; bytes that are no UTF-8 become U+FFFD. */
static void print_string(const char *text, size_t size) {
  putchar('"');
  for (size_t i = 0, n; i < size; i += n ? n : 1) {
    unsigned char c = (unsigned char)text[i];
    n = character((const unsigned char *)text + i, size - i);
    if (!n) fputs("\xef\xbf\xbd", stdout);
    else if (c == '"' || c == '\\') printf("\\%c", c);
    else if (c < 0x20 || c == 0x7f) printf("\\u%04x", c);
    else fwrite(text + i, 1, n, stdout);
  }
  putchar('"');
}

static double rate(size_t tokens, uint64_t ns) { return ns ? (double)tokens * 1e9 / (double)ns : 0; }

static void print_document(const program *p) {
  static const char *const reasons[] = {"running", "end_of_text", "stop_text", "max_tokens", "context_full", "caller"};
  const llmc_timings *t = &p->timings;
  llmc_model_info info = {.struct_size = sizeof info, .name = "", .isa = "", .device = ""};
  llmc_model_get_info(p->model, &info);
  printf("{\"text\": ");
  print_string(p->text.data ? p->text.data : "", p->text.size);
  printf(", \"reason\": \"%s\", \"prompt_tokens\": %zu, \"tokens\": %zu, \"model\": ", reasons[p->reason], t->prompt_tokens, t->tokens);
  print_string(info.name, strlen(info.name));
  printf(", \"isa\": \"%s\", \"device\": \"%s\", \"timings\": {\"open_ms\": %.3f, \"prompt_ms\": %.3f, \"decode_ms\": %.3f, \"first_token_ms\": %.3f, ",
         info.isa, info.device, llmc_report_open_ms(&p->report), (double)t->prompt_ns * 1e-6, (double)t->decode_ns * 1e-6,
         llmc_report_first_token_ms(&p->report));
  printf("\"prompt_tokens_per_second\": %.2f, \"decode_tokens_per_second\": %.2f", rate(t->prompt_tokens, t->prompt_ns),
         rate(t->tokens ? t->tokens - 1 : 0, t->decode_ns));
  if (p->options.timings) llmc_report_json(&p->report, p->session, t, stdout);
  puts("}}");
}

/* The exit codes and kinds of the command line llmc. */
static int report(const program *p, llmc_status status, const char *hint) {
  static const struct {
    const char *kind;
    int code;
  } kinds[] = {[LLMC_ERR_ARG] = {"usage", EXIT_USAGE},       [LLMC_ERR_IO] = {"device", EXIT_DEVICE},
               [LLMC_ERR_FORMAT] = {"malformed_file", EXIT_MALFORMED}, [LLMC_ERR_NOMEM] = {"device", EXIT_DEVICE},
               [LLMC_ERR_CPU] = {"toolchain", EXIT_TARGET},  [LLMC_ERR_FULL] = {"usage", EXIT_USAGE},
               [LLMC_ERR_CONTEXT] = {"usage", EXIT_USAGE},   [LLMC_ERR_CANCELLED] = {"internal", EXIT_FAILURE},
               [LLMC_ERR_SPACE] = {"internal", EXIT_FAILURE}, [LLMC_ERR_DEVICE] = {"device", EXIT_DEVICE}};
  if (p->options.json) {
    printf("{\"error\": {\"kind\": \"%s\", \"message\": ", kinds[status].kind);
    print_string(p->error.text, strlen(p->error.text));
    printf(", \"hint\": ");
    if (hint) print_string(hint, strlen(hint));
    else fputs("null", stdout);
    puts("}}");
  }
  fprintf(stderr, "run: %s\n", p->error.text);
  if (hint) fprintf(stderr, "     %s\n", hint);
  return kinds[status].code;
}

static int run(program *p, int argc, char **argv) {
  llmc_report_begin(&p->report);
  if (!llmc_options_parse(argc, argv, &p->options, &p->error)) return report(p, LLMC_ERR_ARG, "run --help lists the options");
  if (p->options.help) return fputs(llmc_usage, stdout) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
  llmc_status status = read_prompt(p);
  if (!status) status = open_all(p);
  if (!status) status = generate(p);
  if (status) return report(p, status, NULL);
  if (p->options.json) print_document(p);
  if (p->options.timings) llmc_report_text(&p->report, p->session, &p->timings, stderr);
  return fflush(stdout) ? EXIT_DEVICE : EXIT_SUCCESS;
}

int main(int argc, char **argv) {
  static program p;
  int code = run(&p, argc, argv);
  llmc_session_close(p.session);
  llmc_model_close(p.model);
  free(p.prompt.data);
  free(p.tokens);
  free(p.text.data);
  return code;
}
