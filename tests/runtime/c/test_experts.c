/* Sorting rows by expert and putting them back, with kernels of whole numbers whose sums are exact: every row gets what its own
** experts make of it, whatever else is in the step and however many workers there are. */
#include <string.h>

#include "check.h"
#include "memory.h"
#include "ops_experts.h"
#include "pool.h"

enum { HIDDEN = 32, EXPERTS_MAX = 9, TOKENS_MAX = 128, USED_MAX = 4, INTERMEDIATE_MAX = 64 };

/* A matrix is rows of int8; expert e of matrix m has this at (row, column). */
static int weight(int m, int e, int row, int column) { return (row * 7 + column * 3 + e * 5 + m) % 5 - 2; }

static float bias(int m, int e, int row) { return (float)((row + e * 3 + m) % 4 - 1); }

/* What stands for silu(gate) * up: small again. */
static float gated(float gate, float up) { return (float)((int)(gate * 3 + up) % 6); }

#define LINEAR(P)                                                                                                                     \
  static void f32_##P(const uint8_t *w, const float *x, const float *bias, float *y, int32_t k, int32_t ldx, int32_t ldy, float scale, \
                      int32_t tile_lo, int32_t tile_hi, int32_t mt_lo, int32_t mt_hi) {                                               \
    CHECK(scale == 1);                                                                                                                \
    for (int32_t n = 16 * tile_lo; n < 16 * tile_hi; n++)                                                                             \
      for (int32_t t = P * mt_lo; t < P * mt_hi; t++) {                                                                               \
        float sum = bias ? bias[n] : 0;                                                                                               \
        for (int32_t i = 0; i < k; i++) sum += x[t * ldx + i] * (float)(int8_t)w[n * k + i];                                          \
        y[t * ldy + n] = sum;                                                                                                         \
      }                                                                                                                               \
  }                                                                                                                                   \
  static void q8_##P(const uint8_t *w, const int8_t *qa, const float *da, const int32_t *sa, const float *bias, float *y, int32_t k,   \
                     int32_t ldy, float scale, int32_t tile_lo, int32_t tile_hi, int32_t mt_lo, int32_t mt_hi) {                      \
    CHECK(scale == 1);                                                                                                                \
    for (int32_t n = 16 * tile_lo; n < 16 * tile_hi; n++)                                                                             \
      for (int32_t t = P * mt_lo; t < P * mt_hi; t++) {                                                                               \
        float sum = bias ? bias[n] : 0;                                                                                               \
        for (int32_t i = 0; i < k; i++) {                                                                                             \
          int32_t block = t / P * (k / 32) * P + i / 32 * P + t % P; /* of a token: [tile][k/32][P] */                                 \
          CHECK(sa[(block - t % P) * 2 + t % P] == (da[block] > 0 ? 16 : 0)); /* weights may have multiplied da */                   \
          sum += da[block] * (float)qa[block * 32 + i % 32] * (float)(int8_t)w[n * k + i];                                            \
        }                                                                                                                             \
        y[t * ldy + n] = sum;                                                                                                         \
      }                                                                                                                               \
  }
LINEAR(1)
LINEAR(2)
LINEAR(4)
LINEAR(8)
LINEAR(16)
static llmc_linear_f32_fn *const f32_kernels[LLMC_WIDTHS] = {f32_1, f32_2, f32_4, f32_8, f32_16};
static llmc_linear_q8_fn *const q8_kernels[LLMC_WIDTHS] = {q8_1, q8_2, q8_4, q8_8, q8_16};

/* Row `t` of n_tokens into token tiles: the numbers are their own codes, scales are 1, and 0 where there is no token. */
static void put_q8(int8_t *qa, float *da, int32_t *sa, const float *row, int32_t n, int32_t n_tokens, int32_t t) {
  int32_t full = n_tokens & ~15, start = t < full ? t & ~15 : full, p = t < full ? 16 : llmc_padded_rows(n_tokens - full);
  for (int32_t b = 0; b < n / 32; b++) {
    int32_t block = start * (n / 32) + b * p + t - start;
    da[block] = row ? 1 : 0;
    for (int half = 0; half < 2; half++) sa[start * (n / 16) + (b * 2 + half) * p + t - start] = row ? 16 : 0;
    for (int32_t i = 0; i < 32; i++) qa[block * 32 + i] = row ? (int8_t)row[b * 32 + i] : 0;
  }
}

static void quantize(float *x, const float *o, const float *w, const float *b, float *y, int8_t *qa, float *da, int32_t *sa,
                     const int32_t *rows, int32_t n, int32_t ldx, int32_t ldo, int32_t ldy, float eps, float alpha, int32_t n_tokens,
                     int32_t lo, int32_t hi) {
  CHECK(!o && !w && !b && !y && !ldo && !ldy && eps == 0 && alpha == 0);
  for (int32_t t = lo; t < hi; t++) put_q8(qa, da, sa, t < n_tokens ? x + rows[t] * ldx : NULL, n, n_tokens, t);
}

static void activation(const float *gate, const float *up, float *y, int8_t *qa, float *da, int32_t *sa, int32_t n, int32_t ldg,
                       int32_t ldu, int32_t ldy, int32_t n_tokens, int32_t lo, int32_t hi) {
  float row[INTERMEDIATE_MAX];
  for (int32_t t = lo; t < hi; t++) {
    for (int32_t i = 0; i < n && t < n_tokens; i++) row[i] = gated(gate[t * ldg + i], up[t * ldu + i]);
    if (y) memcpy(y + t * ldy, row, (size_t)n * sizeof *y);
    else put_q8(qa, da, sa, t < n_tokens ? row : NULL, n, n_tokens, t);
  }
}

static void sum(const float *rows, const int32_t *place, const float *weights, float *y, int32_t n, int32_t used, int32_t ldr, int32_t ldw,
                int32_t ldy, int32_t lo, int32_t hi) {
  for (int32_t t = lo; t < hi; t++)
    for (int32_t i = 0; i < n; i++) {
      y[t * ldy + i] = 0;
      for (int32_t j = 0; j < used; j++) y[t * ldy + i] += weights[t * ldw + j] * rows[place[t * used + j] * ldr + i];
    }
}

/* Memory of exactly so many elements, so that the sanitizer sees the first one beyond. */
static void *exactly(size_t count, size_t size) {
  void *p = malloc(count * size);
  CHECK(p);
  return memset(p, 0x55, count * size);
}

static void plain_sum(const float *rows, const int32_t *place, const float *weights, float *y, int32_t n, int32_t used, int32_t ldr,
                      int32_t ldw, int32_t ldy, int32_t lo, int32_t hi) {
  CHECK(weights && ldw);
  for (int32_t t = lo; t < hi; t++)
    for (int32_t i = 0; i < n; i++) {
      y[t * ldy + i] = 0;
      for (int32_t j = 0; j < used; j++) y[t * ldy + i] += rows[place[t * used + j] * ldr + i];
    }
}

static uint8_t *matrix(int m, int experts, int rows, int columns) {
  int8_t *w = exactly((size_t)(experts * rows * columns), 1);
  for (int e = 0; e < experts; e++)
    for (int r = 0; r < rows; r++)
      for (int c = 0; c < columns; c++) w[(e * rows + r) * columns + c] = (int8_t)weight(m, e, r, c);
  return (uint8_t *)w;
}

static float *biases(int m, int experts, int rows) {
  float *b = exactly((size_t)(experts * rows), sizeof *b);
  for (int e = 0; e < experts; e++)
    for (int r = 0; r < rows; r++) b[e * rows + r] = bias(m, e, r);
  return b;
}

/* y[HIDDEN] of token t, one expert after the other. */
static void expected(const llmc_experts *e, int t, float *y) {
  bool biased = e->gate_w.bias;
  memset(y, 0, HIDDEN * sizeof *y);
  for (int j = 0; j < e->used; j++) {
    int expert = e->ids[t * e->ld_slots + j];
    float weighed = e->weights[t * e->ld_slots + j], before = e->weigh_x ? weighed : 1, after = e->weigh_x ? 1 : weighed;
    for (int i = 0; biased && i < HIDDEN; i++) y[i] += after * bias(2, expert, i);
    for (int f = 0; f < e->intermediate; f++) {
      float gate = biased ? bias(0, expert, f) : 0, up = biased ? bias(1, expert, f) : 0;
      for (int i = 0; i < HIDDEN; i++) {
        gate += before * e->x[t * HIDDEN + i] * (float)weight(0, expert, f, i);
        up += before * e->x[t * HIDDEN + i] * (float)weight(1, expert, f, i);
      }
      float inner = after * gated(gate, up);
      for (int i = 0; i < HIDDEN; i++) y[i] += inner * (float)weight(2, expert, i, f);
    }
  }
}

static llmc_q8 q8_of(size_t rows, int k) {
  return (llmc_q8){exactly(rows * (size_t)k, 1), exactly(rows * (size_t)k / 32, sizeof(float)), exactly(rows * (size_t)k / 16, sizeof(int32_t)), 32};
}

static void free_q8(llmc_q8 q) {
  free(q.qa);
  free(q.da);
  free(q.sa);
}

static uint32_t random_state = 1;
static int below(int n) { return (int)((random_state = random_state * 1664525 + 1013904223) >> 8) % n; }

static void inputs(llmc_experts *e, int favourite) {
  float *x = exactly((size_t)(e->tokens * HIDDEN), sizeof *x), *weights = exactly((size_t)(e->tokens * e->ld_slots), sizeof *weights);
  int32_t *ids = exactly((size_t)(e->tokens * e->ld_slots), sizeof *ids);
  for (int i = 0; i < e->tokens * HIDDEN; i++) x[i] = (float)(below(7) - 3);
  for (int t = 0; t < e->tokens; t++)
    for (int j = 0, first = favourite ? 0 : below(e->experts); j < e->used; j++) {
      ids[t * e->ld_slots + j] = (first + j) % e->experts;
      weights[t * e->ld_slots + j] = (float)(j + 1);
    }
  e->x = x;
  e->ids = ids;
  e->weights = weights;
}

static void job(void *arg, llmc_worker *w) { llmc_op_experts(w, arg); }

static void check_step(llmc_pool *pool, bool q8, bool biased, bool weigh_x, int experts, int used, int tokens, int intermediate, int favourite) {
  size_t slots = (size_t)(tokens * used), pad = (size_t)(15 * experts), rows = (slots + (slots < pad ? slots : pad) + 15) / 16 * 16;
  llmc_experts e = {.experts = experts, .used = used, .tokens = tokens, .hidden = HIDDEN, .ld_hidden = HIDDEN, .ld_slots = 16,
                    .intermediate = intermediate, .ld_intermediate = intermediate, .activation = activation, .sum = weigh_x ? plain_sum : sum,
                    .weigh_x = weigh_x};
  const void *kernels = q8 ? (const void *)q8_kernels : (const void *)f32_kernels;
  int64_t bytes = HIDDEN * intermediate;
  e.gate_w = (llmc_expert_matrix){kernels, matrix(0, experts, intermediate, HIDDEN), bytes, intermediate / 16,
                                  biased ? biases(0, experts, intermediate) : NULL};
  e.up_w = (llmc_expert_matrix){kernels, matrix(1, experts, intermediate, HIDDEN), bytes, intermediate / 16,
                                biased ? biases(1, experts, intermediate) : NULL};
  e.down_w = (llmc_expert_matrix){kernels, matrix(2, experts, HIDDEN, intermediate), bytes, HIDDEN / 16,
                                  biased ? biases(2, experts, HIDDEN) : NULL};
  inputs(&e, favourite);
  e.y = exactly((size_t)(tokens * HIDDEN), sizeof *e.y);
  e.table = exactly(1 + 3 * (size_t)experts + slots + rows, sizeof *e.table);
  e.rows = exactly(rows * HIDDEN, sizeof *e.rows);
  e.gate = exactly(rows * (size_t)intermediate, sizeof *e.gate);
  e.up = exactly(rows * (size_t)intermediate, sizeof *e.up);
  if (q8) {
    e.quantize = quantize;
    e.rows_q8 = q8_of(rows, HIDDEN);
    e.gated_q8 = q8_of(rows, intermediate);
  } else {
    e.gated = exactly(rows * (size_t)intermediate, sizeof *e.gated);
  }
  llmc_pool_run(pool, job, &e, true);
  for (int t = 0; t < tokens; t++) {
    float y[HIDDEN];
    expected(&e, t, y);
    for (int i = 0; i < HIDDEN; i++) CHECK(e.y[t * HIDDEN + i] == y[i]);
  }
  free_q8(e.rows_q8);
  free_q8(e.gated_q8);
  void *all[] = {(void *)(uintptr_t)e.gate_w.w, (void *)(uintptr_t)e.up_w.w, (void *)(uintptr_t)e.down_w.w, e.x,
                 (void *)(uintptr_t)e.gate_w.bias, (void *)(uintptr_t)e.up_w.bias, (void *)(uintptr_t)e.down_w.bias,
                 (void *)(uintptr_t)e.ids, (void *)(uintptr_t)e.weights, e.y, e.table, e.rows, e.gate, e.up, e.gated};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* Groups start at multiples of their first tile's width, and do not overlap. */
static void check_groups(int experts, int used, int tokens) {
  int32_t table[1 + 3 * EXPERTS_MAX + TOKENS_MAX * USED_MAX * 3], ids[TOKENS_MAX * USED_MAX];
  for (int i = 0; i < tokens * used; i++) ids[i] = below(experts);
  llmc_expert_groups g = llmc_expert_groups_at(table, experts, tokens * used);
  llmc_expert_groups_fill(&g, ids, used, tokens, used, experts);
  int end = 0, pairs = 0;
  for (int i = 0; i < *g.n; i++) {
    int expert = g.expert[i], count = g.count[expert], width = count < 16 ? llmc_padded_rows(count) : 16;
    CHECK(count > 0 && g.first[expert] >= end && g.first[expert] % width == 0);
    end = g.first[expert] + llmc_padded_rows(count);
    pairs += count;
  }
  CHECK(pairs == tokens * used);
  for (int i = 0; i < tokens * used; i++) {
    int row = g.place[i] - g.first[ids[i]];
    CHECK(row >= 0 && row < g.count[ids[i]] && g.source[g.place[i]] == i / used);
  }
}

int main(void) {
  static const int tokens[] = {0, 1, 3, 17, 40, TOKENS_MAX};
  llmc_allocator allocator;
  CHECK(llmc_allocator_choose(NULL, &allocator));
  for (int workers = 1; workers < 6; workers += 2) {
    llmc_error error;
    llmc_pool *pool;
    CHECK(llmc_pool_open(&allocator, workers, &pool, &error) == LLMC_OK);
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
      for (int q8 = 0; q8 < 2; q8++) {
        check_step(pool, q8, i % 2, i % 3 == 1, EXPERTS_MAX, 2, tokens[i], q8 ? 64 : 48, 0);
        check_step(pool, q8, true, i % 2, 3, 3, tokens[i] / 2, 32, 1);
      }
    llmc_pool_close(pool);
  }
  for (int i = 0; i < 200; i++) check_groups(1 + below(EXPERTS_MAX), 1 + below(USED_MAX), below(TOKENS_MAX + 1));
  return 0;
}
