/* The functions of llmc.h: each checks its handle and calls the library that made it. Part of libllmc and of the program `run`.
**
** Opening is elsewhere: loader.c finds an artifact's library at run time, direct.c calls the one that is linked in. */
#include <stdbool.h>
#include <stddef.h>

#include "llmc_api.h"

/* The table of the library that made the handle, or NULL if it is no open handle of this kind. */
static const llmc_api_table *table(const void *object, uint32_t magic) {
  const llmc_handle *handle = object;
  return handle && handle->magic == magic ? handle->api : NULL;
}

#define FORWARD(kind, object, function, ...)                        \
  const llmc_api_table *api = table(object, LLMC_MAGIC_##kind);     \
  return api ? api->function(__VA_ARGS__) : LLMC_ERR_ARG

llmc_status llmc_model_get_info(const llmc_model *m, llmc_model_info *info) { FORWARD(MODEL, m, model_get_info, m, info); }

const llmc_vocabulary *llmc_model_vocabulary(const llmc_model *m) {
  const llmc_api_table *api = table(m, LLMC_MAGIC_MODEL);
  return api ? api->model_vocabulary(m) : NULL;
}

llmc_status llmc_vocabulary_close(llmc_vocabulary *v) {
  if (!v) return LLMC_OK;
  FORWARD(VOCABULARY, v, vocabulary_close, v);
}

llmc_status llmc_tokenize(const llmc_vocabulary *v, const char *text, size_t size, uint32_t flags, int32_t *tokens, size_t capacity,
                          size_t *count) {
  FORWARD(VOCABULARY, v, tokenize, v, text, size, flags, tokens, capacity, count);
}

llmc_status llmc_detokenize(const llmc_vocabulary *v, const int32_t *tokens, size_t count, uint32_t flags, char *text, size_t capacity,
                            size_t *size) {
  FORWARD(VOCABULARY, v, detokenize, v, tokens, count, flags, text, capacity, size);
}

llmc_status llmc_session_open(llmc_model *m, const llmc_session_options *options, llmc_error *error, llmc_session **out) {
  if (out) *out = NULL;
  FORWARD(MODEL, m, session_open, m, options, error, out);
}

llmc_status llmc_session_close(llmc_session *s) {
  if (!s) return LLMC_OK;
  FORWARD(SESSION, s, session_close, s);
}

const char *llmc_session_error(const llmc_session *s) {
  const llmc_api_table *api = table(s, LLMC_MAGIC_SESSION);
  return api ? api->session_error(s) : "not an open session";
}

llmc_status llmc_session_cancel(llmc_session *s) { FORWARD(SESSION, s, session_cancel, s); }

llmc_status llmc_sequence_open(llmc_session *s, int32_t *sequence) { FORWARD(SESSION, s, sequence_open, s, sequence); }

llmc_status llmc_sequence_truncate(llmc_session *s, int32_t sequence, int32_t length) {
  FORWARD(SESSION, s, sequence_truncate, s, sequence, length);
}

llmc_status llmc_sequence_close(llmc_session *s, int32_t sequence) { FORWARD(SESSION, s, sequence_close, s, sequence); }

llmc_status llmc_sequence_length(const llmc_session *s, int32_t sequence, int32_t *length) {
  FORWARD(SESSION, s, sequence_length, s, sequence, length);
}

llmc_status llmc_session_step(llmc_session *s, const llmc_batch *batch) { FORWARD(SESSION, s, step, s, batch); }

llmc_status llmc_session_prefill(llmc_session *s, int32_t sequence, const int32_t *tokens, size_t count) {
  FORWARD(SESSION, s, prefill, s, sequence, tokens, count);
}

const float *llmc_session_logits(const llmc_session *s, int32_t row) {
  const llmc_api_table *api = table(s, LLMC_MAGIC_SESSION);
  return api ? api->logits(s, row) : NULL;
}

llmc_status llmc_session_profile(llmc_session *s, int32_t number, llmc_profile *profile) {
  const llmc_api_table *api = table(s, LLMC_MAGIC_SESSION);
  bool known = api && api->struct_size > offsetof(llmc_api_table, session_profile); /* the artifact may be older than this library */
  return known ? api->session_profile(s, number, profile) : LLMC_ERR_ARG;
}

llmc_status llmc_embed(llmc_session *s, const llmc_embed_options *options, float *out, size_t capacity, size_t *size) {
  const llmc_api_table *api = table(s, LLMC_MAGIC_SESSION);
  bool known = api && api->struct_size > offsetof(llmc_api_table, embed);
  return known ? api->embed(s, options, out, capacity, size) : LLMC_ERR_ARG;
}

llmc_status llmc_session_memory(const llmc_session *s, llmc_memory *memory) {
  const llmc_api_table *api = table(s, LLMC_MAGIC_SESSION);
  bool known = api && api->struct_size > offsetof(llmc_api_table, session_memory);
  return known ? api->session_memory(s, memory) : LLMC_ERR_ARG;
}

const char *llmc_model_label(const llmc_model *m, int32_t number) {
  const llmc_api_table *api = table(m, LLMC_MAGIC_MODEL);
  bool known = api && api->struct_size > offsetof(llmc_api_table, model_label);
  return known ? api->model_label(m, number) : NULL;
}

llmc_status llmc_tokenize_pair(const llmc_vocabulary *v, const char *text, size_t text_size, const char *pair, size_t pair_size,
                               uint32_t flags, int32_t *tokens, int32_t *segments, size_t capacity, size_t *count) {
  const llmc_api_table *api = table(v, LLMC_MAGIC_VOCABULARY);
  bool known = api && api->struct_size > offsetof(llmc_api_table, tokenize_pair);
  return known ? api->tokenize_pair(v, text, text_size, pair, pair_size, flags, tokens, segments, capacity, count) : LLMC_ERR_ARG;
}

llmc_status llmc_classify(llmc_session *s, const llmc_classify_options *options, float *scores, size_t capacity, size_t *count) {
  const llmc_api_table *api = table(s, LLMC_MAGIC_SESSION);
  bool known = api && api->struct_size > offsetof(llmc_api_table, classify);
  return known ? api->classify(s, options, scores, capacity, count) : LLMC_ERR_ARG;
}

llmc_status llmc_sampler_open(llmc_model *m, const llmc_sampler_options *options, llmc_error *error, llmc_sampler **out) {
  if (out) *out = NULL;
  FORWARD(MODEL, m, sampler_open, m, options, error, out);
}

llmc_status llmc_sampler_close(llmc_sampler *s) {
  if (!s) return LLMC_OK;
  FORWARD(SAMPLER, s, sampler_close, s);
}

llmc_status llmc_sample(llmc_sampler *s, const float *logits, int32_t *token) { FORWARD(SAMPLER, s, sample, s, logits, token); }

llmc_status llmc_session_sample(llmc_session *s, int32_t row, llmc_sampler *sampler, int32_t *token) {
  const llmc_api_table *api = table(s, LLMC_MAGIC_SESSION);
  if (!api || api != table(sampler, LLMC_MAGIC_SAMPLER)) return LLMC_ERR_ARG;
  bool known = api->struct_size > offsetof(llmc_api_table, session_sample);
  return known ? api->session_sample(s, row, sampler, token) : api->sample(sampler, api->logits(s, row), token);
}

llmc_status llmc_sampler_accept(llmc_sampler *s, int32_t token) { FORWARD(SAMPLER, s, sampler_accept, s, token); }

llmc_status llmc_generation_open(llmc_session *s, const llmc_generate_options *options, llmc_generation **out) {
  if (out) *out = NULL;
  FORWARD(SESSION, s, generation_open, s, options, out);
}

llmc_status llmc_generation_next(llmc_generation *g, llmc_piece *piece) { FORWARD(GENERATION, g, generation_next, g, piece); }

llmc_status llmc_generation_timings(const llmc_generation *g, llmc_timings *timings) {
  FORWARD(GENERATION, g, generation_timings, g, timings);
}

llmc_status llmc_generation_close(llmc_generation *g) {
  if (!g) return LLMC_OK;
  FORWARD(GENERATION, g, generation_close, g);
}

llmc_status llmc_generate(llmc_session *s, const llmc_generate_options *options, llmc_piece_callback callback, void *user,
                          llmc_timings *timings, llmc_reason *reason) {
  FORWARD(SESSION, s, generate, s, options, callback, user, timings, reason);
}
