/* Generating: what comes out in which pieces, what ends it, cancelling. The fake model recites a text. */
#include <pthread.h>
#include <string.h>

#include "check.h"
#include "memory.h"
#include "text.h"

/* Generates greedily after a prompt of `from` bytes of the recited text; the pieces are joined by '|' in out. */
static llmc_reason generate(llmc_session *s, int32_t from, llmc_generate_options o, char *out, size_t *tokens) {
  int32_t prompt[FAKE_CONTEXT];
  llmc_generation *g;
  llmc_piece piece = {.struct_size = sizeof piece};
  llmc_timings timings = {.struct_size = sizeof timings};
  for (int32_t i = 0; i < from; i++) prompt[i] = 1 + i % 255;
  o.struct_size = sizeof o;
  o.tokens = prompt;
  o.n_tokens = (size_t)from;
  *out = 0;
  CHECK(llmc_generation_open(s, &o, &g) == LLMC_OK);
  while (piece.reason == LLMC_RUNNING) {
    CHECK(llmc_generation_next(g, &piece) == LLMC_OK && strlen(piece.text) == piece.size && piece.token >= 0);
    if (piece.size) strcat(strcat(out, piece.text), "|");
  }
  llmc_reason reason = piece.reason;
  CHECK(llmc_generation_next(g, &piece) == LLMC_ERR_ARG);
  CHECK(llmc_generation_timings(g, &timings) == LLMC_OK && timings.prompt_tokens == (size_t)from && timings.prompt_ns > 0);
  if (tokens) *tokens = timings.tokens;
  CHECK(llmc_generation_close(g) == LLMC_OK);
  return reason;
}

/* The text begins "Hello ", e with an accent, the euro sign, " world<stop>"; a prompt of n tokens is followed by its byte n - 1. */
static void test_pieces(llmc_session *s) {
  char out[4000];
  size_t tokens;
  const char *stops[] = {"zzz", "<stop>"}, *prefix[] = {"lo \xc3\xa9\xe2"}, *inside[] = {"xx", "\x82\xac wo", "ld"};
  CHECK(generate(s, 1, (llmc_generate_options){.max_tokens = 5}, out, &tokens) == LLMC_MAX_TOKENS && tokens == 5);
  CHECK(!strcmp(out, "H|e|l|l|o|"));
  CHECK(generate(s, 1, (llmc_generate_options){.max_tokens = 12}, out, NULL) == LLMC_MAX_TOKENS);
  CHECK(!strcmp(out, "H|e|l|l|o| |\xc3\xa9|\xe2\x82\xac| |"));
  CHECK(generate(s, 1, (llmc_generate_options){.max_tokens = 7}, out, NULL) == LLMC_MAX_TOKENS);
  CHECK(!strcmp(out, "H|e|l|l|o| |\xc3|")); /* ended inside a character: there is nothing more to wait for */
  CHECK(generate(s, 1, (llmc_generate_options){.stop = stops, .n_stop = 2}, out, &tokens) == LLMC_STOP_TEXT && tokens == 23);
  CHECK(!strcmp(out, "H|e|l|l|o| |\xc3\xa9|\xe2\x82\xac| |w|o|r|l|d|"));
  CHECK(generate(s, 1, (llmc_generate_options){.stop = prefix, .n_stop = 1}, out, NULL) == LLMC_STOP_TEXT);
  CHECK(!strcmp(out, "H|e|l|"));
  CHECK(generate(s, 1, (llmc_generate_options){.stop = inside, .n_stop = 3}, out, NULL) == LLMC_STOP_TEXT);
  CHECK(!strcmp(out, "H|e|l|lo| |\xc3\xa9|\xe2|")); /* a stop text of half characters leaves the other half */
}

static void test_a_full_context_ends(llmc_session *s) {
  char out[4000];
  size_t tokens;
  CHECK(generate(s, FAKE_CONTEXT - 3, (llmc_generate_options){.max_tokens = 0}, out, &tokens) == LLMC_CONTEXT_FULL && tokens == 4);
}

static int stop_after_three(void *user, const llmc_piece *piece) { return piece->size && ++*(int *)user == 3; }

static void test_the_callback_may_stop(llmc_session *s) {
  int32_t prompt[] = {1};
  int calls = 0;
  llmc_reason reason;
  llmc_timings timings = {.struct_size = sizeof timings};
  llmc_generate_options o = {.struct_size = sizeof o, .tokens = prompt, .n_tokens = 1};
  CHECK(llmc_generate(s, &o, stop_after_three, &calls, &timings, &reason) == LLMC_OK && reason == LLMC_CALLER);
  CHECK(calls == 3 && timings.tokens == 3);
  o.max_tokens = 2;
  CHECK(llmc_generate(s, &o, NULL, NULL, NULL, NULL) == LLMC_OK);
}

static void *cancel(void *session) {
  CHECK(llmc_session_cancel(session) == LLMC_OK);
  return NULL;
}

static void test_cancelling_from_another_thread(llmc_session *s) {
  int32_t prompt[] = {1}, sequence;
  pthread_t thread;
  llmc_generation *g;
  llmc_piece piece = {.struct_size = sizeof piece};
  llmc_generate_options o = {.struct_size = sizeof o, .tokens = prompt, .n_tokens = 1, .ignore_end = 1};
  CHECK(llmc_generation_open(s, &o, &g) == LLMC_OK);
  CHECK(llmc_generation_next(g, &piece) == LLMC_OK);
  CHECK(pthread_create(&thread, NULL, cancel, s) == 0);
  llmc_status status = LLMC_OK;
  for (int i = 0; i < 500 && !status; i++) status = llmc_generation_next(g, &piece);
  CHECK(pthread_join(thread, NULL) == 0);
  if (!status) status = llmc_generation_next(g, &piece); /* the thread was late */
  CHECK(status == LLMC_ERR_CANCELLED && llmc_session_error(s)[0]);
  CHECK(llmc_generation_next(g, &piece) == LLMC_ERR_ARG && llmc_generation_close(g) == LLMC_OK);
  CHECK(llmc_session_cancel(s) == LLMC_OK && llmc_session_cancel(s) == LLMC_OK);
  CHECK(llmc_sequence_open(s, &sequence) == LLMC_OK);
  CHECK(llmc_session_prefill(s, sequence, prompt, 1) == LLMC_ERR_CANCELLED);
  CHECK(llmc_session_prefill(s, sequence, prompt, 1) == LLMC_OK);
  CHECK(llmc_sequence_close(s, sequence) == LLMC_OK);
}

/* A model that draws its tokens at random meets the end token, the long one and the control one. */
static void test_special_tokens(llmc_model *model) {
  llmc_session *s = open_session(model, (llmc_session_options){.max_sequences = 3, .threads = 1});
  int ends = 0, longs = 0, controls = 0, smiles = 0;
  for (uint64_t seed = 0; seed < 40; seed++)
    for (int show = 0; show < 2; show++) {
      int32_t prompt[900];
      llmc_generation *g;
      llmc_piece piece = {.struct_size = sizeof piece};
      llmc_sampler_options sampler = {.struct_size = sizeof sampler, .temperature = 50, .seed = seed};
      llmc_generate_options o = {.struct_size = sizeof o, .tokens = prompt, .n_tokens = 900, .sampler = &sampler, .show_special = show};
      for (int i = 0; i < 900; i++) prompt[i] = (int32_t)((seed + (uint64_t)i) % FAKE_VOCAB);
      CHECK(llmc_generation_open(s, &o, &g) == LLMC_OK);
      while (piece.reason == LLMC_RUNNING) {
        CHECK(llmc_generation_next(g, &piece) == LLMC_OK);
        if (piece.token == FAKE_END && ++ends) CHECK(piece.reason == LLMC_END_OF_TEXT);
        if (piece.token == FAKE_LONG && ++longs) CHECK(piece.size > 90);
        if (piece.token == FAKE_SMILE && ++smiles) CHECK(piece.size >= 4);
        if (piece.token == FAKE_CONTROL && ++controls) CHECK((strstr(piece.text, "<|control|>") != NULL) == show);
      }
      CHECK(piece.reason == LLMC_END_OF_TEXT || piece.reason == LLMC_CONTEXT_FULL);
      CHECK(llmc_generation_close(g) == LLMC_OK);
    }
  CHECK(ends && longs && controls && smiles);
  CHECK(llmc_session_close(s) == LLMC_OK);
}

static llmc_status open_text(llmc_text *text, const char *const *stops, size_t n) {
  llmc_allocator a;
  CHECK(llmc_allocator_choose(NULL, &a));
  return llmc_text_open(text, &a, stops, n);
}

/* However a text is cut into tokens: no stop text in what comes out, everything before it does, and always whole characters. */
static void test_the_cut_of_tokens_does_not_matter(void) {
  static const char whole[] = "one two \xc3\xa9 \xf0\x9f\x98\x80 thr\xe2\x82\xac ababac end";
  const char *const stops[] = {"abac", "end", "twx", "\xf0\x9f\x98\x81"};
  for (unsigned seed = 1; seed < 3000; seed++) {
    llmc_text text;
    char out[100] = "";
    unsigned random = seed;
    CHECK(open_text(&text, stops, 4) == LLMC_OK);
    for (size_t at = 0, n; at < sizeof whole - 1; at += n) {
      const char *bytes;
      size_t size;
      random = random * 1103515245u + 12345u;
      n = 1 + (random >> 16) % 9;
      if (n > sizeof whole - 1 - at) n = sizeof whole - 1 - at;
      CHECK(llmc_text_append(&text, whole + at, n) == LLMC_OK);
      CHECK(llmc_text_take(&text, false, &bytes, &size) == LLMC_OK && strlen(bytes) == size);
      CHECK(size == 0 || ((unsigned char)bytes[0] & 0xc0) != 0x80); /* begins with a whole character */
      strcat(out, bytes);
    }
    CHECK(text.stopped && !strcmp(out, "one two \xc3\xa9 \xf0\x9f\x98\x80 thr\xe2\x82\xac ab"));
    llmc_text_close(&text);
  }
}

static void test_bytes_that_are_no_text_are_not_held_back(void) {
  const char *const bad[] = {"\x80", "\xff", "a\x80\x80\x80\x80", "\xf8", "\xc3\xa9\xa9"}, *const waiting[] = {"\xc3", "\xe2\x82", "\xf0\x9f\x98"};
  llmc_text text;
  const char *bytes;
  size_t size;
  for (int i = 0; i < 8; i++) {
    const char *given = i < 5 ? bad[i] : waiting[i - 5];
    CHECK(open_text(&text, NULL, 0) == LLMC_OK && llmc_text_append(&text, given, strlen(given)) == LLMC_OK);
    CHECK(llmc_text_take(&text, false, &bytes, &size) == LLMC_OK && size == (i < 5 ? strlen(given) : 0));
    CHECK(llmc_text_take(&text, true, &bytes, &size) == LLMC_OK && size == (i < 5 ? 0 : strlen(given)));
    llmc_text_close(&text);
  }
}

int main(int argc, char **argv) {
  CHECK(argc == 2);
  llmc_model *model = open_model(argv[1]);
  llmc_session *s = open_session(model, (llmc_session_options){.threads = 2});
  test_pieces(s);
  test_a_full_context_ends(s);
  test_the_callback_may_stop(s);
  test_cancelling_from_another_thread(s);
  CHECK(llmc_session_close(s) == LLMC_OK);
  test_special_tokens(model);
  test_the_cut_of_tokens_does_not_matter();
  test_bytes_that_are_no_text_are_not_held_back();
  CHECK(llmc_model_close(model) == LLMC_OK);
  return 0;
}
