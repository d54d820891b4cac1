/* A conversation in the terminal with a compiled model, over llmc.h alone.
**
**     chat MODEL.llmc
**
** Every line is added to the text so far and the model goes on from there, until it ends its turn or has written 200 tokens.
** examples/README.md says how to build it. */
#include <llmc.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 4096, TEXT_TOKENS = 4096, TURN_TOKENS = 200 };

typedef struct chat {
  llmc_model *model;
  llmc_session *session;
  int32_t tokens[TEXT_TOKENS]; /* the whole text */
  size_t n_tokens;
} chat;

static int fail(const char *what, const char *why) {
  fprintf(stderr, "chat: %s: %s\n", what, why);
  return 0;
}

static int open_chat(chat *c, const char *path) {
  llmc_error error;
  llmc_session_options options = {.struct_size = sizeof options, .context = TEXT_TOKENS};
  llmc_model_info info = {.struct_size = sizeof info};
  if (llmc_model_open(path, NULL, &error, &c->model) != LLMC_OK) return fail(path, error.text);
  if (llmc_model_get_info(c->model, &info) == LLMC_OK && info.context < TEXT_TOKENS) options.context = info.context;
  if (llmc_session_open(c->model, &options, &error, &c->session) != LLMC_OK) return fail(path, error.text);
  return 1;
}

/* Adds a line to the text; the beginning-of-text token comes with the first one. */
static int add_line(chat *c, const char *line) {
  size_t count = 0;
  llmc_status status = llmc_tokenize(llmc_model_vocabulary(c->model), line, strlen(line), c->n_tokens ? 0 : LLMC_ADD_SPECIAL,
                                     c->tokens + c->n_tokens, TEXT_TOKENS - c->n_tokens, &count);
  if (status != LLMC_OK) return fail("that line", llmc_status_name(status));
  c->n_tokens += count;
  return 1;
}

/* Lets the model go on, prints what it writes and adds it to the text. */
static int answer(chat *c) {
  llmc_generation *generation = NULL;
  llmc_sampler_options sampler = {.struct_size = sizeof sampler, .temperature = 0.8f, .top_p = 0.95f, .repetition_penalty = 1.1f};
  llmc_generate_options options = {
      .struct_size = sizeof options, .tokens = c->tokens, .n_tokens = c->n_tokens, .max_tokens = TURN_TOKENS, .sampler = &sampler};
  llmc_piece piece = {.struct_size = sizeof piece, .reason = LLMC_RUNNING};
  llmc_status status = llmc_generation_open(c->session, &options, &generation);
  while (status == LLMC_OK && piece.reason == LLMC_RUNNING) {
    status = llmc_generation_next(generation, &piece);
    if (status != LLMC_OK) break;
    fwrite(piece.text, 1, piece.size, stdout);
    fflush(stdout);
    if (piece.token >= 0 && c->n_tokens < TEXT_TOKENS) c->tokens[c->n_tokens++] = piece.token;
  }
  putchar('\n');
  int good = status == LLMC_OK || fail("generating", llmc_session_error(c->session));
  llmc_generation_close(generation);
  return good && piece.reason != LLMC_CONTEXT_FULL;
}

int main(int argc, char **argv) {
  static chat c;
  static char line[LINE_BYTES];
  if (argc != 2) return fprintf(stderr, "usage: chat MODEL.llmc\n"), 2;
  int good = open_chat(&c, argv[1]);
  while (good && fgets(line, sizeof line, stdin)) good = add_line(&c, line) && answer(&c);
  llmc_session_close(c.session);
  llmc_model_close(c.model);
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
