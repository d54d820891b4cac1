/* Layers with a window give back the pages that it has left behind, and what remains is enough to compute with. */
#include <string.h>

#include "cache_group.h"
#include "check.h"

enum { PAGE = LLMC_PAGE_TOKENS * 8, MOST = 6 }; /* MOST: pages of a window of 70, 64 tokens to go back to and a step of 128 */

static void make_text(int32_t *tokens, int32_t n) {
  for (int32_t i = 0; i < n; i++) tokens[i] = i * 7 % FAKE_VOCAB;
}

/* Pages of the group with the window: the other groups keep all positions. */
static int32_t window_pages(const llmc_session *s, int32_t length) {
  llmc_memory memory = {.struct_size = sizeof memory};
  CHECK(llmc_session_memory(s, &memory) == LLMC_OK);
  return (int32_t)(memory.cache_bytes / PAGE) - 3 * llmc_pages_for(length);
}

static int32_t prefill(llmc_session *s, int32_t sequence, const int32_t *tokens, int32_t from, int32_t to) {
  CHECK(llmc_session_prefill(s, sequence, tokens + from, (size_t)(to - from)) == LLMC_OK);
  check_row(s, 0, tokens, to);
  return to;
}

static void test_pages_stay_few_however_the_text_comes_in(llmc_model *model) {
  int32_t tokens[FAKE_CONTEXT], sequence;
  make_text(tokens, FAKE_CONTEXT);
  const int32_t chunks[] = {1, 5, 63, 64, 65, 127, 128, 900};
  for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
    llmc_session *s = open_session(model, (llmc_session_options){.threads = 1});
    CHECK(llmc_sequence_open(s, &sequence) == LLMC_OK);
    for (int32_t n = 0; n < FAKE_CONTEXT;) {
      n = prefill(s, sequence, tokens, n, n + chunks[i] < FAKE_CONTEXT ? n + chunks[i] : FAKE_CONTEXT);
      int32_t pages = window_pages(s, n);
      CHECK(pages <= 4 && pages >= (n < FAKE_WINDOW ? llmc_pages_for(n) : llmc_pages_for(FAKE_WINDOW)));
    }
    llmc_memory memory = {.struct_size = sizeof memory};
    CHECK(llmc_session_memory(s, &memory) == LLMC_OK);
    CHECK(memory.cache_peak_bytes <= (uint64_t)(3 * llmc_pages_for(FAKE_CONTEXT) + MOST) * PAGE);
    CHECK(llmc_sequence_close(s, sequence) == LLMC_OK && window_pages(s, 0) == 0);
    CHECK(llmc_session_close(s) == LLMC_OK);
  }
}

static void test_pages_move_between_sequences(llmc_model *model) {
  enum { N = 5 };
  int32_t tokens[FAKE_CONTEXT], ids[N], counts[N], batch[FAKE_STEP], lengths[N] = {0};
  make_text(tokens, FAKE_CONTEXT);
  llmc_session *s = open_session(model, (llmc_session_options){.threads = 2, .max_sequences = N});
  for (int32_t i = 0; i < N; i++) CHECK(llmc_sequence_open(s, &ids[i]) == LLMC_OK);
  for (int32_t round = 0; round < 30; round++) {
    int32_t total = 0, at = 0;
    for (int32_t i = 0; i < N; i++) {
      counts[i] = 1 + (round * 11 + i * 5) % 24;
      memcpy(batch + total, tokens + lengths[i], (size_t)counts[i] * sizeof *batch);
      total += counts[i];
    }
    llmc_batch b = {sizeof b, batch, ids, counts, N, -1, NULL, NULL, 0};
    CHECK(llmc_session_step(s, &b) == LLMC_OK);
    for (int32_t i = 0; i < N; i++)
      for (int32_t t = 0; t < counts[i]; t++) check_row(s, at++, tokens, ++lengths[i]);
  }
  CHECK(llmc_session_close(s) == LLMC_OK);
}

static void test_going_back_is_possible_for_as_far_as_was_promised(llmc_model *model) {
  int32_t tokens[FAKE_CONTEXT], sequence, length;
  make_text(tokens, FAKE_CONTEXT);
  llmc_session *s = open_session(model, (llmc_session_options){.threads = 1});
  CHECK(llmc_sequence_open(s, &sequence) == LLMC_OK);
  int32_t n = prefill(s, sequence, tokens, 0, 500);
  for (; n + LLMC_WINDOW_SLACK <= FAKE_CONTEXT; n += 61) {
    CHECK(llmc_sequence_truncate(s, sequence, n - LLMC_WINDOW_SLACK) == LLMC_OK);
    prefill(s, sequence, tokens, n - LLMC_WINDOW_SLACK, n + 61);
  }
  CHECK(llmc_sequence_truncate(s, sequence, n - 3 * LLMC_WINDOW_SLACK) == LLMC_ERR_ARG && strstr(llmc_session_error(s), "window"));
  CHECK(llmc_sequence_length(s, sequence, &length) == LLMC_OK && length == n);
  CHECK(llmc_sequence_truncate(s, sequence, 0) == LLMC_OK && window_pages(s, 0) == 0);
  prefill(s, sequence, tokens, 0, 300);
  CHECK(llmc_session_close(s) == LLMC_OK);
}

static void test_the_limit_of_pages_counts_those_that_come_back(llmc_model *model) {
  int32_t tokens[FAKE_CONTEXT], sequence;
  make_text(tokens, FAKE_CONTEXT);
  llmc_session *s = open_session(model, (llmc_session_options){.threads = 1, .max_pages = llmc_pages_for(FAKE_CONTEXT)});
  CHECK(llmc_sequence_open(s, &sequence) == LLMC_OK);
  prefill(s, sequence, tokens, 0, FAKE_CONTEXT);
  CHECK(llmc_session_close(s) == LLMC_OK);
}

int main(int argc, char **argv) {
  CHECK(argc == 2);
  llmc_model *model = open_model(argv[1]);
  test_pages_stay_few_however_the_text_comes_in(model);
  test_pages_move_between_sequences(model);
  test_going_back_is_possible_for_as_far_as_was_promised(model);
  test_the_limit_of_pages_counts_those_that_come_back(model);
  CHECK(llmc_model_close(model) == LLMC_OK);
  return 0;
}
