/* Sessions, sequences, pages and steps: what a text's logits are does not depend on how it came in. */
#define _POSIX_C_SOURCE 200809L
#include <string.h>

#include "cache_group.h"
#include "check.h"

enum { LONGEST = FAKE_CONTEXT };

static void make_text(int32_t *tokens, int32_t n, uint64_t seed) {
  for (int32_t i = 0; i < n; i++) tokens[i] = (int32_t)((seed = seed * 6364136223846793005u + 1442695040888963407u) >> 33) % FAKE_VOCAB;
}

static llmc_status step(llmc_session *s, const int32_t *tokens, const int32_t *sequences, const int32_t *counts, int32_t n, int32_t rows) {
  llmc_batch batch = {sizeof batch, tokens, sequences, counts, n, rows, NULL, NULL, 0};
  return llmc_session_step(s, &batch);
}

static void test_every_cut_of_a_prompt_gives_the_same_logits(llmc_model *model, int32_t threads) {
  int32_t tokens[LONGEST], sequence;
  make_text(tokens, LONGEST, 7);
  for (int32_t chunk = 1; chunk <= FAKE_STEP; chunk = chunk * 2 + 1) {
    llmc_session *s = open_session(model, (llmc_session_options){.threads = threads});
    CHECK(llmc_sequence_open(s, &sequence) == LLMC_OK);
    for (int32_t done = 0, n; done < 300; done += n) {
      n = 300 - done < chunk ? 300 - done : chunk;
      CHECK(step(s, tokens + done, &sequence, &n, 1, -1) == LLMC_OK);
      for (int32_t i = 0; i < n; i++) check_row(s, i, tokens, done + i + 1);
      CHECK(!llmc_session_logits(s, n) && !llmc_session_logits(s, -1));
    }
    CHECK(llmc_session_close(s) == LLMC_OK);
  }
}

static void test_prefill_takes_a_whole_context(llmc_model *model) {
  int32_t tokens[LONGEST], sequence, length;
  make_text(tokens, LONGEST, 9);
  llmc_session *s = open_session(model, (llmc_session_options){.threads = 2});
  CHECK(llmc_sequence_open(s, &sequence) == LLMC_OK);
  CHECK(llmc_session_prefill(s, sequence, tokens, LONGEST - 1) == LLMC_OK);
  check_row(s, 0, tokens, LONGEST - 1);
  CHECK(llmc_session_prefill(s, sequence, tokens, 2) == LLMC_ERR_CONTEXT && strstr(llmc_session_error(s), "999"));
  CHECK(llmc_session_prefill(s, sequence, tokens + LONGEST - 1, 1) == LLMC_OK);
  check_row(s, 0, tokens, LONGEST);
  CHECK(llmc_sequence_length(s, sequence, &length) == LLMC_OK && length == LONGEST);
  CHECK(llmc_session_prefill(s, sequence, tokens, 1) == LLMC_ERR_CONTEXT);
  CHECK(llmc_session_close(s) == LLMC_OK);
}

/* Sequences grow at different speeds, are cut back and closed, and others take over their pages. */
static void test_many_sequences_never_mix(llmc_model *model, int32_t threads) {
  enum { N = 7, ROUNDS = 60 };
  static int32_t texts[N][LONGEST], lengths[N];
  int32_t ids[N], random[ROUNDS * N];
  llmc_session *s = open_session(model, (llmc_session_options){.max_sequences = N, .threads = threads, .context = 400});
  make_text(random, ROUNDS * N, 11);
  for (int i = 0; i < N; i++) {
    CHECK(llmc_sequence_open(s, &ids[i]) == LLMC_OK);
    make_text(texts[i], LONGEST, (uint64_t)i);
    lengths[i] = 0;
  }
  for (int round = 0; round < ROUNDS; round++) {
    int32_t batch[FAKE_STEP], sequences[N], counts[N], who[N], n = 0, total = 0, at = 0;
    for (int i = 0; i < N; i++) {
      int32_t count = random[round * N + i] % 18;
      if (!count || lengths[i] + count > 400) continue;
      memcpy(batch + total, texts[i] + lengths[i], (size_t)count * sizeof *batch);
      sequences[n] = ids[i];
      counts[n] = count;
      who[n++] = i;
      total += count;
    }
    if (!n) continue;
    CHECK(step(s, batch, sequences, counts, n, -1) == LLMC_OK);
    for (int b = 0; b < n; b++)
      for (int32_t t = 0; t < counts[b]; t++) check_row(s, at++, texts[who[b]], ++lengths[who[b]]);
    int i = round % N;
    if (round % 5 == 0) {
      lengths[i] -= lengths[i] / 2 < LLMC_WINDOW_SLACK ? lengths[i] / 2 : LLMC_WINDOW_SLACK;
      CHECK(llmc_sequence_truncate(s, ids[i], lengths[i]) == LLMC_OK);
    } else if (round % 7 == 0) {
      lengths[i] = 0;
      CHECK(llmc_sequence_close(s, ids[i]) == LLMC_OK && llmc_sequence_open(s, &ids[i]) == LLMC_OK);
      make_text(texts[i], LONGEST, (uint64_t)(round + 100));
    }
  }
  CHECK(llmc_session_close(s) == LLMC_OK);
}

static void test_only_wanted_rows_have_logits(llmc_model *model) {
  int32_t tokens[20], sequence, count = 20, rows[] = {3, 4, 19};
  make_text(tokens, 20, 3);
  llmc_session *s = open_session(model, (llmc_session_options){.threads = 1});
  CHECK(llmc_sequence_open(s, &sequence) == LLMC_OK);
  CHECK(!llmc_session_logits(s, 0));
  llmc_batch batch = {sizeof batch, tokens, &sequence, &count, 1, 3, rows, NULL, 0};
  CHECK(llmc_session_step(s, &batch) == LLMC_OK);
  for (int i = 0; i < 3; i++) check_row(s, i, tokens, rows[i] + 1);
  CHECK(!llmc_session_logits(s, 3));
  batch.n_rows = 0;
  CHECK(llmc_session_step(s, &batch) == LLMC_OK && !llmc_session_logits(s, 0));
  CHECK(llmc_session_close(s) == LLMC_OK);
}

static void test_pages_run_out_and_come_back(llmc_model *model) {
  int32_t tokens[LONGEST], a, b, length;
  make_text(tokens, LONGEST, 5);
  llmc_session *s = open_session(model, (llmc_session_options){.max_sequences = 2, .max_pages = 3, .threads = 2});
  CHECK(llmc_sequence_open(s, &a) == LLMC_OK && llmc_sequence_open(s, &b) == LLMC_OK && a != b);
  CHECK(llmc_sequence_open(s, &length) == LLMC_ERR_FULL);
  CHECK(llmc_session_prefill(s, a, tokens, 100) == LLMC_OK);
  CHECK(llmc_session_prefill(s, b, tokens, 65) == LLMC_ERR_FULL && strstr(llmc_session_error(s), "3"));
  CHECK(llmc_sequence_length(s, b, &length) == LLMC_OK && length == 0);
  CHECK(llmc_session_prefill(s, b, tokens, 64) == LLMC_OK);
  check_row(s, 0, tokens, 64);
  CHECK(llmc_session_prefill(s, a, tokens + 100, 28) == LLMC_OK);
  CHECK(llmc_session_prefill(s, a, tokens + 128, 1) == LLMC_ERR_FULL);
  CHECK(llmc_sequence_close(s, b) == LLMC_OK);
  CHECK(llmc_session_prefill(s, a, tokens + 128, 1) == LLMC_OK);
  check_row(s, 0, tokens, 129);
  CHECK(llmc_session_close(s) == LLMC_OK);
}

static void test_two_models_and_several_sessions_at_once(const char *folder) {
  llmc_model *models[2] = {open_model(folder), open_model(folder)};
  llmc_session *sessions[4];
  int32_t tokens[200], sequence;
  make_text(tokens, 200, 1);
  for (int i = 0; i < 4; i++) {
    sessions[i] = open_session(models[i % 2], (llmc_session_options){.threads = 2});
    CHECK(llmc_sequence_open(sessions[i], &sequence) == LLMC_OK);
  }
  for (int32_t t = 0; t < 200; t++)
    for (int i = 0; i < 4; i++) CHECK(llmc_session_prefill(sessions[i], 0, tokens + (t + i) % 200, 1) == LLMC_OK);
  for (int i = 0; i < 4; i++) {
    int32_t rotated[200];
    for (int32_t t = 0; t < 200; t++) rotated[t] = tokens[(t + i) % 200];
    check_row(sessions[i], 0, rotated, 200);
    CHECK(llmc_model_close(models[i % 2]) == LLMC_ERR_ARG); /* a session is open */
  }
  for (int i = 0; i < 4; i++) CHECK(llmc_session_close(sessions[i]) == LLMC_OK);
  CHECK(llmc_model_close(models[0]) == LLMC_OK && llmc_model_close(models[1]) == LLMC_OK);
}

static void test_a_crowded_machine_gets_through(llmc_model *model) {
  int32_t tokens[LONGEST], sequence;
  make_text(tokens, LONGEST, 2);
  llmc_session *s = open_session(model, (llmc_session_options){.threads = 33});
  CHECK(llmc_sequence_open(s, &sequence) == LLMC_OK);
  for (int32_t t = 0; t < 200; t++) CHECK(llmc_session_prefill(s, sequence, tokens + t, 1) == LLMC_OK);
  check_row(s, 0, tokens, 200);
  CHECK(llmc_session_close(s) == LLMC_OK);
}

static void test_facts(llmc_model *model) {
  llmc_model_info info = {.struct_size = sizeof info};
  CHECK(llmc_model_get_info(model, &info) == LLMC_OK);
  CHECK(!strcmp(info.name, "fake") && !strcmp(info.isa, "best") && info.vocab == FAKE_VOCAB && info.context == FAKE_CONTEXT);
  CHECK(info.window_bytes == 6 * 64 * 8 && info.state_bytes == 0);
  CHECK(info.page_bytes == 3 * 64 * 8 && info.weights_bytes == FAKE_WEIGHTS_SIZE && info.struct_size == sizeof info);
}

static void test_the_isa_may_only_be_lowered(const char *folder) {
  llmc_error error;
  llmc_model *model;
  llmc_model_options options = {.struct_size = sizeof options, .isa = "plain"};
  CHECK(llmc_model_open(folder, &options, &error, &model) == LLMC_OK);
  llmc_model_info info = {.struct_size = sizeof info};
  CHECK(llmc_model_get_info(model, &info) == LLMC_OK && !strcmp(info.isa, "plain"));
  CHECK(llmc_model_close(model) == LLMC_OK);
  options.isa = "never";
  CHECK(llmc_model_open(folder, &options, &error, &model) == LLMC_ERR_CPU && !model && strstr(error.text, "never"));
  options.isa = "other";
  CHECK(llmc_model_open(folder, &options, &error, &model) == LLMC_ERR_CPU && !model);
}

typedef struct largest {
  size_t bytes; /* of one block */
} largest;

static void *remember_alloc(void *user, size_t size, size_t align) {
  largest *seen = user;
  void *memory = NULL;
  if (size > seen->bytes) seen->bytes = size;
  return posix_memalign(&memory, align, size) ? NULL : memory;
}

static void remember_free(void *user, void *memory) {
  (void)user;
  free(memory);
}

/* A host's own allocator may commit what it gives: pools are as large as their pages need, and move as they grow. */
static void test_pools_of_a_hosts_allocator_grow(const char *folder) {
  largest seen = {0};
  llmc_allocator allocator = {remember_alloc, remember_free, &seen};
  llmc_model_options options = {.struct_size = sizeof options, .allocator = &allocator};
  llmc_error error = {.text = ""};
  llmc_model *model = NULL;
  CHECK(llmc_model_open(folder, &options, &error, &model) == LLMC_OK);
  test_only_wanted_rows_have_logits(model);
  size_t few = seen.bytes;
  test_prefill_takes_a_whole_context(model);
  CHECK(seen.bytes > few);
  test_many_sequences_never_mix(model, 2);
  CHECK(llmc_model_close(model) == LLMC_OK);
}

int main(int argc, char **argv) {
  CHECK(argc == 2);
  llmc_model *model = open_model(argv[1]);
  test_facts(model);
  for (int32_t threads = 1; threads <= 4; threads *= 2) {
    test_every_cut_of_a_prompt_gives_the_same_logits(model, threads);
    test_many_sequences_never_mix(model, threads);
  }
  test_prefill_takes_a_whole_context(model);
  test_only_wanted_rows_have_logits(model);
  test_pages_run_out_and_come_back(model);
  test_pools_of_a_hosts_allocator_grow(argv[1]);
  test_a_crowded_machine_gets_through(model);
  test_two_models_and_several_sessions_at_once(argv[1]);
  test_the_isa_may_only_be_lowered(argv[1]);
  CHECK(llmc_model_close(model) == LLMC_OK);
  return 0;
}
