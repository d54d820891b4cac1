/* A plan without kernels, small enough to be seen through. It aborts when the runtime breaks a promise of llmc_plan.h.
**
** Its cache holds the token ids themselves. The logits of a token are a hash of all tokens of its sequence up to it, as the cache
** has them, so that a wrong page, a lost token or a mixed-up sequence changes them. If the weights file holds a text after its
** header, the byte of the text at the next position gets the best logit: greedy generation recites the text. */
#include <stdlib.h>
#include <string.h>

#include "fake_model.h"
#include "llmc_artifact.h"
#include "llmc_plan.h"

#define PROMISE(condition) ((condition) ? (void)0 : abort())

enum { SLOT_BYTES = 8, PAGE_BYTES = LLMC_PAGE_TOKENS * SLOT_BYTES, GROUPS = 3 };

static const int marker_best, marker_plain;
static const llmc_cache_group groups[GROUPS] = {{LLMC_CACHE_PAGED, 1, LLMC_PAGE_TOKENS, 0, PAGE_BYTES},
                                                {LLMC_CACHE_PAGED, 2, LLMC_PAGE_TOKENS, 0, 2 * PAGE_BYTES},
                                                {LLMC_CACHE_WINDOW, 1, LLMC_PAGE_TOKENS, FAKE_WINDOW, PAGE_BYTES}};
static const llmc_isa isas[] = {{"never", UINT32_C(1) << 31, &marker_best},
                                {"best", LLMC_CPU_SSE3, &marker_best},
                                {"plain", 0, &marker_plain}};

static int64_t *slot(const llmc_step *s, int group, int sequence, int32_t position) {
  const llmc_step_cache *cache = &s->caches[group];
  int32_t page = cache->tables[sequence * cache->table_stride + position / LLMC_PAGE_TOKENS];
  return (int64_t *)(void *)(cache->pool + (int64_t)page * (int64_t)groups[group].page_bytes) + position % LLMC_PAGE_TOKENS;
}

static int sequence_of(const llmc_step *s, int32_t token) {
  int sequence = 0;
  while (s->sequence_start[sequence + 1] <= token) sequence++;
  return sequence;
}

static void check_step(const llmc_step *s, const llmc_worker *w) {
  PROMISE(w->index >= 0 && w->index < w->count);
  PROMISE(s->n_tokens >= 1 && s->n_tokens <= FAKE_STEP && s->n_seqs >= 1 && s->n_seqs <= s->n_tokens);
  PROMISE(s->n_rows >= 0 && s->n_rows <= s->n_tokens && s->context >= 1 && s->context <= FAKE_CONTEXT);
  PROMISE((uintptr_t)s->arena % 64 == 0 && (uintptr_t)s->logits % 64 == 0);
  PROMISE(s->kernels == &marker_best || s->kernels == &marker_plain);
  PROMISE(s->sequence_start[0] == 0 && s->sequence_start[s->n_seqs] == s->n_tokens);
  for (int32_t i = 0; i < s->n_seqs; i++) {
    PROMISE(s->sequence_start[i] < s->sequence_start[i + 1]);
    for (int32_t t = s->sequence_start[i]; t < s->sequence_start[i + 1]; t++) {
      PROMISE(s->tokens[t] >= 0 && s->tokens[t] < FAKE_VOCAB && s->positions[t] >= 0 && s->positions[t] < s->context);
      PROMISE(t == s->sequence_start[i] || s->positions[t] == s->positions[t - 1] + 1);
    }
  }
  for (int32_t i = 0; i < s->n_rows; i++) PROMISE(s->rows[i] < s->n_tokens && s->rows[i] >= (i ? s->rows[i - 1] + 1 : 0));
  for (int32_t i = s->n_tokens; i < llmc_padded_rows(s->n_tokens); i++) PROMISE(s->tokens[i] == 0 && s->positions[i] == 0);
  for (int32_t i = s->n_rows; i < llmc_padded_rows(s->n_rows); i++) PROMISE(s->rows[i] == 0);
  for (int g = 0; g < GROUPS; g++) PROMISE((uintptr_t)s->caches[g].pool % 64 == 0);
}

/* Writes the token into all groups; what comes after it in its page was never written or belongs to a truncated past. */
static void append(const llmc_step *s, int32_t t) {
  int sequence = sequence_of(s, t);
  *slot(s, 0, sequence, s->positions[t]) = s->tokens[t] + 1;
  *slot(s, 1, sequence, s->positions[t]) = -(s->tokens[t] + 1);
  *slot(s, 2, sequence, s->positions[t]) = s->tokens[t] + 2;
}

static uint64_t mix(uint64_t h, uint64_t x) {
  h = (h ^ x) * UINT64_C(0x9e3779b97f4a7c15);
  return h ^ h >> 29;
}

static uint64_t hash_of(const llmc_step *s, int32_t t) {
  int sequence = sequence_of(s, t);
  uint64_t h = 1;
  for (int32_t p = 0; p <= s->positions[t]; p++) {
    PROMISE(*slot(s, 0, sequence, p) == -*slot(s, 1, sequence, p) && *slot(s, 0, sequence, p) > 0);
    PROMISE(p <= s->positions[t] - FAKE_WINDOW || *slot(s, 2, sequence, p) == *slot(s, 0, sequence, p) + 1);
    h = mix(h, (uint64_t)*slot(s, 0, sequence, p));
  }
  return h;
}

float fake_logit(uint64_t hash, int32_t token) { return (float)(mix(hash, (uint64_t)token) >> 40) * 0x1p-21f - 4; }

uint64_t fake_hash(const int32_t *tokens, int32_t n) {
  uint64_t h = 1;
  for (int32_t i = 0; i < n; i++) h = mix(h, (uint64_t)(tokens[i] + 1));
  return h;
}

static int32_t recited(const llmc_step *s, int32_t position) {
  llmc_file_header header;
  memcpy(&header, s->weights, sizeof header);
  uint64_t size = header.size - sizeof header;
  return (uint64_t)position < size ? s->weights[sizeof header + (uint64_t)position] : -1;
}

static void fill_row(const llmc_step *s, int32_t row, int32_t lo, int32_t hi) {
  int32_t t = s->rows[row], next = recited(s, s->positions[t]);
  uint64_t hash = ((uint64_t *)(void *)s->arena)[t];
  for (int32_t v = lo; v < hi; v++) s->logits[(int64_t)row * FAKE_VOCAB_PADDED + v] = v == next ? 100 : fake_logit(hash, v);
}

static void step(const llmc_step *s, llmc_worker *w) {
  check_step(s, w);
  for (int32_t t = w->index; t < s->n_tokens; t += w->count) append(s, t);
  llmc_barrier(w);
  for (int32_t t = w->index; t < s->n_tokens; t += w->count) ((uint64_t *)(void *)s->arena)[t] = hash_of(s, t);
  llmc_barrier(w);
  for (int32_t i = s->n_rows; i < llmc_padded_rows(s->n_rows); i++) /* kernels touch the padding */
    for (int32_t v = w->index; v < FAKE_VOCAB_PADDED; v += w->count) s->logits[(int64_t)i * FAKE_VOCAB_PADDED + v] = -1;
  int32_t lo = FAKE_VOCAB * w->index / w->count, hi = FAKE_VOCAB * (w->index + 1) / w->count;
  for (int32_t i = 0; i < s->n_rows; i++) fill_row(s, i, lo, hi);
}

const llmc_plan llmc_model_plan = {
    .struct_size = sizeof(llmc_plan),
    .abi_version = LLMC_PLAN_VERSION,
    .model_name = "fake",
    .vocab = FAKE_VOCAB,
    .row_floats = FAKE_VOCAB,
    .row_stride = FAKE_VOCAB_PADDED,
    .hidden = 8,
    .layers = 3,
    .context = FAKE_CONTEXT,
    .max_step_tokens = FAKE_STEP,
    .arena_bytes = FAKE_STEP * sizeof(uint64_t),
    .n_cache_groups = GROUPS,
    .n_isas = 3,
    .cache_groups = groups,
    .isas = isas,
    .weights = {"weights-tile16.bin", FAKE_WEIGHTS_SIZE, FAKE_WEIGHTS_ID},
    .tokenizer = {"tokenizer.bin", FAKE_TOKENIZER_SIZE, FAKE_TOKENIZER_ID},
    .step = step,
};
