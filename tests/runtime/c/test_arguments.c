/* Every function survives NULL, wrong kinds of objects and numbers out of range, with an error and without an effect. */
#include <limits.h>
#include <math.h>
#include <string.h>

#include "check.h"

#define ARG(call) CHECK((call) == LLMC_ERR_ARG)

static void test_null_handles(void) {
  llmc_error error;
  llmc_model *model = (llmc_model *)&error;
  llmc_session *session = (llmc_session *)&error;
  llmc_sampler *sampler = (llmc_sampler *)&error;
  llmc_generation *generation = (llmc_generation *)&error;
  int32_t i;
  size_t n;
  CHECK(llmc_model_close(NULL) == LLMC_OK && llmc_session_close(NULL) == LLMC_OK && llmc_sampler_close(NULL) == LLMC_OK);
  CHECK(llmc_generation_close(NULL) == LLMC_OK && llmc_vocabulary_close(NULL) == LLMC_OK);
  ARG(llmc_model_open(NULL, NULL, &error, &model));
  CHECK(!model && error.text[0]);
  ARG(llmc_model_open("x", NULL, NULL, NULL));
  ARG(llmc_model_get_info(NULL, NULL));
  CHECK(!llmc_model_vocabulary(NULL));
  ARG(llmc_tokenize(NULL, "a", 1, 0, &i, 1, &n));
  ARG(llmc_detokenize(NULL, &i, 1, 0, NULL, 0, &n));
  ARG(llmc_session_open(NULL, NULL, NULL, &session));
  CHECK(!session && llmc_session_error(NULL));
  ARG(llmc_session_cancel(NULL));
  ARG(llmc_sequence_open(NULL, &i));
  ARG(llmc_sequence_truncate(NULL, 0, 0));
  ARG(llmc_session_memory(NULL, NULL));
  ARG(llmc_sequence_close(NULL, 0));
  ARG(llmc_sequence_length(NULL, 0, &i));
  ARG(llmc_session_step(NULL, NULL));
  ARG(llmc_session_prefill(NULL, 0, &i, 1));
  CHECK(!llmc_session_logits(NULL, 0));
  ARG(llmc_sampler_open(NULL, NULL, NULL, &sampler));
  ARG(llmc_sample(NULL, NULL, &i));
  ARG(llmc_session_sample(NULL, 0, NULL, &i));
  ARG(llmc_sampler_accept(NULL, 0));
  ARG(llmc_generation_open(NULL, NULL, &generation));
  CHECK(!sampler && !generation);
  ARG(llmc_generation_next(NULL, NULL));
  ARG(llmc_generation_timings(NULL, NULL));
  ARG(llmc_generate(NULL, NULL, NULL, NULL, NULL, NULL));
  ARG(llmc_embed(NULL, NULL, NULL, 0, NULL));
  ARG(llmc_classify(NULL, NULL, NULL, 0, NULL));
  ARG(llmc_tokenize_pair(NULL, "", 0, "", 0, 0, &i, &i, 1, NULL));
  CHECK(!llmc_model_label(NULL, 0));
  for (int s = -3; s < 20; s++) CHECK(llmc_status_name((llmc_status)s)[0]);
}

static void test_a_handle_of_another_kind(llmc_model *model, llmc_session *session) {
  int32_t i;
  ARG(llmc_model_close((llmc_model *)session));
  ARG(llmc_session_close((llmc_session *)model));
  ARG(llmc_sequence_open((llmc_session *)model, &i));
  ARG(llmc_generation_close((llmc_generation *)session));
  ARG(llmc_sampler_close((llmc_sampler *)session));
  CHECK(!llmc_model_vocabulary((llmc_model *)session));
}

static void test_options_of_another_size(llmc_model *model) {
  llmc_error error;
  llmc_session *session;
  struct {
    llmc_session_options options;
    int32_t newer;
  } grown = {.options = {.struct_size = sizeof grown}};
  CHECK(llmc_session_open(model, &grown.options, &error, &session) == LLMC_OK && llmc_session_close(session) == LLMC_OK);
  grown.newer = 1; /* an option this library does not know */
  ARG(llmc_session_open(model, &grown.options, &error, &session));
  grown.options.struct_size = 3;
  ARG(llmc_session_open(model, &grown.options, &error, &session));
  grown.options.struct_size = SIZE_MAX;
  ARG(llmc_session_open(model, &grown.options, &error, &session));
  grown.options.struct_size = sizeof(size_t); /* an older caller that knows no option yet */
  CHECK(llmc_session_open(model, &grown.options, &error, &session) == LLMC_OK && llmc_session_close(session) == LLMC_OK);
  llmc_model_info info = {.struct_size = 3};
  ARG(llmc_model_get_info(model, &info));
  ARG(llmc_model_get_info(model, NULL));
}

static void test_options_out_of_range(llmc_model *model) {
  llmc_error error;
  llmc_session *session = NULL;
  const llmc_session_options bad[] = {{.context = -1},       {.context = FAKE_CONTEXT + 1}, {.max_sequences = -1}, {.max_sequences = 4097},
                                      {.max_pages = INT_MIN}, {.threads = -1},               {.threads = 1025}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    llmc_session_options o = bad[i];
    o.struct_size = sizeof o;
    ARG(llmc_session_open(model, &o, &error, &session));
    CHECK(!session && error.text[0]);
  }
  llmc_sampler *sampler = NULL;
  const llmc_sampler_options bad_sampler[] = {{.temperature = -1},          {.temperature = NAN}, {.temperature = INFINITY},
                                              {.top_k = -1},                {.top_p = 1.5f},      {.top_p = NAN},
                                              {.min_p = -0.1f},             {.min_p = 2},         {.repetition_penalty = -1},
                                              {.repetition_penalty = NAN}, {.repetition_window = -1}, {.repetition_window = 70000}};
  for (size_t i = 0; i < sizeof bad_sampler / sizeof *bad_sampler; i++) {
    llmc_sampler_options o = bad_sampler[i];
    o.struct_size = sizeof o;
    ARG(llmc_sampler_open(model, &o, &error, &sampler));
    CHECK(!sampler && error.text[0]);
  }
}

static void test_batches_that_make_no_sense(llmc_session *s, int32_t sequence) {
  int32_t tokens[2 * FAKE_STEP] = {0}, two[] = {sequence, sequence}, other = sequence + 1, ones[] = {1, 1}, length;
  int32_t one = 1, zero = 0, minus = -1, many = FAKE_STEP + 1, huge = INT_MAX, row = 0, far = 1, down[] = {1, 0}, twice[] = {0, 0}, pair = 2;
  int32_t bad_token = FAKE_VOCAB, negative_token = -1;
  const llmc_batch bad[] = {
      {0, NULL, &sequence, &one, 1, 0, NULL, NULL, 0},    {0, tokens, NULL, &one, 1, 0, NULL, NULL, 0},         {0, tokens, &sequence, NULL, 1, 0, NULL, NULL, 0},
      {0, tokens, &sequence, &one, 0, 0, NULL, NULL, 0},  {0, tokens, &sequence, &one, -1, 0, NULL, NULL, 0},   {0, tokens, &sequence, &one, INT_MAX, 0, NULL, NULL, 0},
      {0, tokens, two, ones, 2, 0, NULL, NULL, 0},        {0, tokens, &other, &one, 1, 0, NULL, NULL, 0},       {0, tokens, &minus, &one, 1, 0, NULL, NULL, 0},
      {0, tokens, &huge, &one, 1, 0, NULL, NULL, 0},      {0, tokens, &sequence, &zero, 1, 0, NULL, NULL, 0},   {0, tokens, &sequence, &minus, 1, 0, NULL, NULL, 0},
      {0, tokens, &sequence, &many, 1, 0, NULL, NULL, 0}, {0, &bad_token, &sequence, &one, 1, 0, NULL, NULL, 0}, {0, &negative_token, &sequence, &one, 1, 0, NULL, NULL, 0},
      {0, tokens, &sequence, &one, 1, 1, NULL, NULL, 0},  {0, tokens, &sequence, &one, 1, 2, &row, NULL, 0},    {0, tokens, &sequence, &one, 1, -2, &row, NULL, 0},
      {0, tokens, &sequence, &one, 1, 1, &far, NULL, 0},  {0, tokens, &sequence, &one, 1, 1, &minus, NULL, 0},  {0, tokens, &sequence, &pair, 1, 2, down, NULL, 0},
      {0, tokens, &sequence, &pair, 1, 2, twice, NULL, 0},
      {0, tokens, &sequence, &one, 1, 0, NULL, &one, 0}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    llmc_batch b = bad[i];
    b.struct_size = sizeof b;
    ARG(llmc_session_step(s, &b));
    CHECK(llmc_session_error(s)[0]);
  }
  llmc_batch b = {sizeof b, tokens, &sequence, &huge, 1, 0, NULL, NULL, 0};
  CHECK(llmc_session_step(s, &b) == LLMC_ERR_CONTEXT);
  b.struct_size = 1;
  ARG(llmc_session_step(s, &b));
  ARG(llmc_session_step(s, NULL));
  llmc_embed_options embed = {.struct_size = sizeof embed, .tokens = tokens, .n_tokens = 1};
  float state[1];
  size_t size;
  ARG(llmc_embed(s, &embed, state, 1, &size)); /* the model generates text */
  ARG(llmc_embed(s, NULL, state, 1, &size));
  ARG(llmc_embed(s, &embed, NULL, 1, &size));
  ARG(llmc_embed(s, &embed, state, 1, NULL));
  ARG(llmc_session_sample(s, 0, NULL, &length));
  ARG(llmc_session_sample(s, 0, (llmc_sampler *)s, &length));
  llmc_classify_options classify = {.struct_size = sizeof classify, .text = "a", .text_size = 1};
  ARG(llmc_classify(s, &classify, state, 1, &size)); /* nor has it labels */
  ARG(llmc_classify(s, NULL, state, 1, &size));
  ARG(llmc_classify(s, &classify, NULL, 1, &size));
  ARG(llmc_session_prefill(s, sequence, NULL, 1));
  ARG(llmc_session_prefill(s, sequence, tokens, 0));
  ARG(llmc_session_prefill(s, sequence, &bad_token, 1));
  ARG(llmc_session_prefill(s, other, tokens, 1));
  CHECK(llmc_session_prefill(s, sequence, tokens, SIZE_MAX) == LLMC_ERR_CONTEXT);
  ARG(llmc_session_memory(s, NULL));
  ARG(llmc_sequence_truncate(s, sequence, 1));
  ARG(llmc_sequence_truncate(s, sequence, -1));
  ARG(llmc_sequence_truncate(s, huge, 0));
  ARG(llmc_sequence_close(s, minus));
  ARG(llmc_sequence_open(s, NULL));
  ARG(llmc_sequence_length(s, sequence, NULL));
  ARG(llmc_sequence_length(s, other, &length));
  CHECK(llmc_sequence_length(s, sequence, &length) == LLMC_OK && length == 0); /* nothing was appended */
}

static void test_generations_that_make_no_sense(llmc_session *s) {
  int32_t tokens[FAKE_CONTEXT] = {0}, bad_token = FAKE_VOCAB;
  const char *empty = "", *nothing = NULL, *fine = "x";
  llmc_sampler_options hot = {.struct_size = sizeof hot, .temperature = -1};
  llmc_generation *g = (llmc_generation *)s;
  const llmc_generate_options bad[] = {{.tokens = NULL, .n_tokens = 1},
                                       {.tokens = tokens, .n_tokens = 0},
                                       {.tokens = tokens, .n_tokens = 1, .max_tokens = -1},
                                       {.tokens = tokens, .n_tokens = 1, .sampler = &hot},
                                       {.tokens = tokens, .n_tokens = 1, .n_stop = 1},
                                       {.tokens = tokens, .n_tokens = 1, .stop = &fine, .n_stop = 65},
                                       {.tokens = tokens, .n_tokens = 1, .stop = &empty, .n_stop = 1},
                                       {.tokens = tokens, .n_tokens = 1, .stop = &nothing, .n_stop = 1},
                                       {.tokens = &bad_token, .n_tokens = 1}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    llmc_generate_options o = bad[i];
    o.struct_size = sizeof o;
    ARG(llmc_generation_open(s, &o, &g));
    CHECK(!g && llmc_session_error(s)[0]);
    ARG(llmc_generate(s, &o, NULL, NULL, NULL, NULL));
  }
  llmc_generate_options o = {.struct_size = sizeof o, .tokens = tokens, .n_tokens = FAKE_CONTEXT};
  CHECK(llmc_generation_open(s, &o, &g) == LLMC_ERR_CONTEXT && !g);
  o.n_tokens = 1;
  ARG(llmc_generation_open(s, &o, NULL));
  ARG(llmc_generation_open(s, NULL, &g));
  CHECK(llmc_generation_open(s, &o, &g) == LLMC_OK);
  ARG(llmc_generation_next(g, NULL));
  llmc_timings timings = {.struct_size = 0};
  ARG(llmc_generation_timings(g, &timings));
  ARG(llmc_generation_timings(g, NULL));
  ARG(llmc_session_close(s)); /* the generation is open */
  CHECK(llmc_generation_close(g) == LLMC_OK);
}

static void test_text_arguments(const llmc_vocabulary *v) {
  int32_t ids[4], bad = FAKE_VOCAB;
  char text[4];
  size_t n = 0;
  ARG(llmc_tokenize(v, NULL, 1, 0, ids, 4, &n));
  ARG(llmc_tokenize(v, "a", 1, 0, NULL, 4, &n));
  ARG(llmc_tokenize(v, "a", 1, 0, ids, 4, NULL));
  ARG(llmc_tokenize(v, "a", 1, 1u << 20, ids, 4, &n));
  CHECK(llmc_tokenize(v, NULL, 0, LLMC_ADD_SPECIAL, ids, 4, &n) == LLMC_OK && n == 1);
  CHECK(llmc_tokenize(v, "abcdef", 6, 0, ids, 4, &n) == LLMC_ERR_SPACE && n == 6);
  ARG(llmc_detokenize(v, NULL, 1, 0, text, 4, &n));
  ARG(llmc_detokenize(v, ids, 1, 0, NULL, 4, &n));
  ARG(llmc_detokenize(v, ids, 1, 0, text, 4, NULL));
  ARG(llmc_detokenize(v, &bad, 1, 0, text, 4, &n));
  ARG(llmc_detokenize(v, ids, 1, 1u << 20, text, 4, &n));
  CHECK(llmc_detokenize(v, NULL, 0, 0, NULL, 0, &n) == LLMC_OK && n == 0);
  CHECK(llmc_vocabulary_close((llmc_vocabulary *)(uintptr_t)v) == LLMC_ERR_ARG); /* it is the model's */
}

int main(int argc, char **argv) {
  CHECK(argc == 2);
  int32_t sequence;
  test_null_handles();
  llmc_model *model = open_model(argv[1]);
  llmc_session *session = open_session(model, (llmc_session_options){.max_sequences = 2, .threads = 2});
  test_a_handle_of_another_kind(model, session);
  test_options_of_another_size(model);
  test_options_out_of_range(model);
  CHECK(llmc_sequence_open(session, &sequence) == LLMC_OK);
  test_batches_that_make_no_sense(session, sequence);
  test_generations_that_make_no_sense(session);
  test_text_arguments(llmc_model_vocabulary(model));
  CHECK(llmc_session_close(session) == LLMC_OK && llmc_model_close(model) == LLMC_OK);
  return 0;
}
