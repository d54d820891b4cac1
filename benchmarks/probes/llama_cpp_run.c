/* The least program that generates text with llama.cpp, to time its start fairly: mapped weights, no warm-up, no interpreter.
**
**     llama_cpp_run MODEL.gguf PROMPT TOKENS THREADS CONTEXT REPACK */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llama.h"

static void quiet(enum ggml_log_level level, const char *text, void *user) {
  (void)level, (void)text, (void)user;
}

static llama_token best(const float *logits, int n) {
  int at = 0;
  for (int i = 1; i < n; i++)
    if (logits[i] > logits[at]) at = i;
  return at;
}

int main(int argc, char **argv) {
  if (argc != 7) return 2;
  const char *prompt = argv[2];
  int wanted = atoi(argv[3]), threads = atoi(argv[4]);
  llama_log_set(quiet, NULL);
  llama_backend_init();
  struct llama_model_params of_model = llama_model_default_params();
  of_model.use_extra_bufts = atoi(argv[6]) != 0;
  struct llama_model *model = llama_model_load_from_file(argv[1], of_model);
  if (!model) return 1;
  struct llama_context_params of_context = llama_context_default_params();
  of_context.n_ctx = (uint32_t)atoi(argv[5]);
  of_context.n_threads = of_context.n_threads_batch = threads;
  struct llama_context *context = llama_init_from_model(model, of_context);
  if (!context) return 1;
  const struct llama_vocab *vocab = llama_model_get_vocab(model);
  int room = (int)strlen(prompt) + 16;
  llama_token *tokens = malloc((size_t)room * sizeof *tokens), next;
  int n = tokens ? llama_tokenize(vocab, prompt, (int)strlen(prompt), tokens, room, true, false) : -1;
  if (n <= 0) return 1;
  struct llama_batch batch = llama_batch_get_one(tokens, n);
  for (int i = 0; i < wanted; i++) {
    if (llama_decode(context, batch)) return 1;
    char piece[256];
    next = best(llama_get_logits_ith(context, -1), llama_vocab_n_tokens(vocab));
    int size = llama_token_to_piece(vocab, next, piece, sizeof piece, 0, true);
    if (size > 0) fwrite(piece, 1, (size_t)size, stdout);
    fflush(stdout);
    batch = llama_batch_get_one(&next, 1);
  }
  free(tokens);
  llama_free(context);
  llama_model_free(model);
  return 0;
}
