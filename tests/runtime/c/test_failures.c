/* Every allocation fails once: each function then returns LLMC_ERR_NOMEM, loses no memory, and works when called again. */
#define _POSIX_C_SOURCE 200809L
#include <string.h>

#include "check.h"

typedef struct counter {
  long left; /* allocations until one fails; negative: none does */
  long live;
} counter;

static void *count_alloc(void *user, size_t size, size_t align) {
  counter *c = user;
  void *memory = NULL;
  if (c->left >= 0 && c->left-- == 0) return NULL;
  CHECK(align >= 8 && (align & (align - 1)) == 0);
  CHECK(posix_memalign(&memory, align, size) == 0);
  memset(memory, 0xa5, size); /* fresh memory is not zero */
  c->live++;
  return memory;
}

static void count_free(void *user, void *memory) {
  CHECK(memory);
  ((counter *)user)->live--;
  free(memory);
}

/* Retries a call that may fail by lack of memory once. */
#define ONCE(failed, call)                                          \
  do {                                                              \
    llmc_status once = (call);                                      \
    if (once) {                                                     \
      CHECK(once == LLMC_ERR_NOMEM && !*(failed));                  \
      *(failed) = 1;                                                \
      CHECK((call) == LLMC_OK);                                     \
    }                                                               \
  } while (0)

static void generate(llmc_session *s, int *failed) {
  const char *const stops[] = {"never seen", "nor this"};
  int32_t prompt[100];
  llmc_sampler_options sampler = {.struct_size = sizeof sampler, .temperature = 1, .top_p = 0.9f, .repetition_penalty = 1.1f};
  llmc_generate_options o = {.struct_size = sizeof o, .tokens = prompt, .n_tokens = 100, .max_tokens = 200,
                             .sampler = &sampler,     .stop = stops,    .n_stop = 2,     .ignore_end = 1};
  for (int i = 0; i < 100; i++) prompt[i] = i;
  ONCE(failed, llmc_generate(s, &o, NULL, NULL, NULL, NULL));
}

static void steps(llmc_session *s, int *failed) {
  int32_t tokens[600], sequence, length;
  for (int i = 0; i < 600; i++) tokens[i] = i % FAKE_VOCAB;
  ONCE(failed, llmc_sequence_open(s, &sequence));
  ONCE(failed, llmc_session_prefill(s, sequence, tokens, 100));
  int32_t count = 100;
  llmc_batch batch = {sizeof batch, tokens + 100, &sequence, &count, 1, -1, NULL, NULL, 0};
  ONCE(failed, llmc_session_step(s, &batch));
  for (int32_t i = 0; i < count; i++) check_row(s, i, tokens, 101 + i);
  ONCE(failed, llmc_session_prefill(s, sequence, tokens + 200, 400));
  check_row(s, 0, tokens, 600);
  CHECK(llmc_sequence_length(s, sequence, &length) == LLMC_OK && length == 600);
  CHECK(llmc_sequence_close(s, sequence) == LLMC_OK);
}

static int life(const char *folder, counter *c) {
  llmc_allocator allocator = {count_alloc, count_free, c};
  llmc_model_options options = {.struct_size = sizeof options, .allocator = &allocator};
  llmc_session_options session_options = {.struct_size = sizeof session_options, .max_sequences = 3, .threads = 3};
  llmc_model *model;
  llmc_session *session;
  llmc_error error;
  int failed = 0;
  ONCE(&failed, llmc_model_open(folder, &options, &error, &model));
  ONCE(&failed, llmc_session_open(model, &session_options, &error, &session));
  steps(session, &failed);
  generate(session, &failed);
  CHECK(llmc_session_close(session) == LLMC_OK && llmc_model_close(model) == LLMC_OK);
  return failed;
}

int main(int argc, char **argv) {
  CHECK(argc == 2);
  int n = 0, failed;
  do {
    counter c = {n++, 0};
    failed = life(argv[1], &c);
    CHECK(c.live == 0);
  } while (failed);
  CHECK(n > 25); /* the last round had no failure: there were n - 1 allocations */
  return 0;
}
