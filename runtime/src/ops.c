/* How the work of each op is shared among workers. The split never changes a result: every kernel computes an output on its own. */
#include "ops.h"

#include <string.h>

enum { CLAIM_BYTES = 65536 }; /* of weights: three microseconds of work, beside which a stream's new start costs little */

enum { SUPER_TILES = 16 }; /* row tiles whose outputs may share a scale when they are quantised */

#define ATTENTION_TOKENS 16 /* tokens of one piece of attention work: small enough to balance a causal triangle */

static int log2_width(int32_t width) {
  int n = 0;
  while (1 << n < width) n++;
  return n;
}

void llmc_op_embed(const llmc_worker *w, llmc_embed_fn *fn, const uint8_t *table, const int32_t *ids, float *y, int32_t k, int32_t ldy,
                   float scale, int32_t tokens) {
  llmc_range r = llmc_share(w, tokens);
  if (r.lo < r.hi) fn(table, ids, y, k, ldy, scale, r.lo, r.hi);
}

/* One part over tiles [lo, hi) and token tiles [mt_lo, mt_hi) of `width` that start at token `t0`. */
static void linear_call(const llmc_linear *p, const llmc_activations *in, float scale, int32_t width, int32_t t0, llmc_range tiles,
                        int32_t token_tiles) {
  float *y = p->y + (int64_t)t0 * p->ldy;
  if (in->q8.qa) {
    llmc_linear_q8_fn *fn = ((llmc_linear_q8_fn *const *)p->kernels)[log2_width(width)];
    const int8_t *qa = in->q8.qa + (int64_t)t0 * in->k;
    const float *da = in->q8.da + (int64_t)t0 * (in->k / 32);
    const int32_t *sa = in->q8.sa + (int64_t)t0 * (in->k / 16);
    fn(p->w, qa, da, sa, p->bias, y, in->k, p->ldy, scale, tiles.lo, tiles.hi, 0, token_tiles);
  } else {
    llmc_linear_f32_fn *fn = ((llmc_linear_f32_fn *const *)p->kernels)[log2_width(width)];
    fn(p->w, in->x + (int64_t)t0 * in->ldx, p->bias, y, in->k, in->ldx, p->ldy, scale, tiles.lo, tiles.hi, 0, token_tiles);
  }
}

/* Tiles [lo, hi) of one part for all tokens. A tile of weights is read once from memory: full token tiles and the rest share it. */
void llmc_linear_tiles(const llmc_linear *p, const llmc_activations *in, float scale, llmc_range tiles) {
  int32_t full = in->tokens / 16, rest = llmc_padded_rows(in->tokens) - 16 * full;
  if (!full || !rest) {
    if (full) linear_call(p, in, scale, 16, 0, tiles, full);
    if (rest) linear_call(p, in, scale, rest, 0, tiles, 1);
    return;
  }
  for (int32_t t = tiles.lo; t < tiles.hi; t++) {
    linear_call(p, in, scale, 16, 0, (llmc_range){t, t + 1}, full);
    linear_call(p, in, scale, rest, 16 * full, (llmc_range){t, t + 1}, 1);
  }
}

/* Tiles that are worth asking for: about CLAIM_BYTES of weights, at 4 bits each. */
static int32_t least_tiles(int32_t k) { return k < CLAIM_BYTES / 8 ? CLAIM_BYTES / 8 / k : 1; }

/* Tiles of all parts, counted through. */
static void linear_parts(const llmc_linear *parts, int32_t n_parts, const llmc_activations *in, float scale, llmc_range mine) {
  for (int32_t i = 0, first = 0; i < n_parts; first += parts[i++].tiles) {
    int32_t lo = mine.lo - first, hi = mine.hi - first;
    llmc_range tiles = {lo > 0 ? lo : 0, hi < parts[i].tiles ? hi : parts[i].tiles};
    if (tiles.lo < tiles.hi) llmc_linear_tiles(&parts[i], in, scale, tiles);
  }
}

void llmc_op_linear(llmc_worker *w, const llmc_linear *parts, int32_t n_parts, const llmc_activations *in, float scale) {
  int32_t total = 0;
  for (int32_t i = 0; i < n_parts; i++) total += parts[i].tiles;
  for (llmc_range r = {0, 0}; llmc_claim(w, total, least_tiles(in->k), &r);) linear_parts(parts, n_parts, in, scale, r);
}

/* One token: the columns of some row tiles. */
static void activate_columns(const llmc_linear *parts, llmc_range tiles, llmc_activation_fn *fn, float *y, llmc_q8 out) {
  int32_t column = 16 * tiles.lo, n = 16 * (tiles.hi - tiles.lo);
  if (out.qa) out = (llmc_q8){out.qa + column, out.da + column / 32, out.sa + column / 16, out.columns};
  fn(parts[0].y + column, parts[1].y + column, y ? y + column : y, out.qa, out.da, out.sa, n, n, n, n, 1, 0, 1);
}

void llmc_op_linear_gated(llmc_worker *w, const llmc_linear *parts, const llmc_activations *in, llmc_activation_fn *fn, float *y,
                             int32_t ldy, llmc_q8 out) {
  int32_t all = parts[0].tiles;
  /* Of one token a worker finishes the columns whose gate and up it made itself, 32 at a time, and nobody waits. */
  int alone = in->tokens == 1 && out.columns != 16 * SUPER_TILES;
  for (llmc_range pairs = {0, 0}; llmc_claim(w, (all + 1) / 2, (least_tiles(in->k) + 3) / 4, &pairs);) {
    llmc_range tiles = {2 * pairs.lo, 2 * pairs.hi < all ? 2 * pairs.hi : all};
    llmc_linear_tiles(&parts[0], in, 1.0f, tiles);
    llmc_linear_tiles(&parts[1], in, 1.0f, tiles);
    if (alone) activate_columns(parts, tiles, fn, y, out);
  }
  if (alone || !in->tokens) return;
  llmc_barrier(w);
  if (in->tokens == 1) {
    llmc_range mine = llmc_share(w, all / SUPER_TILES);
    if (mine.lo < mine.hi) activate_columns(parts, (llmc_range){mine.lo * SUPER_TILES, mine.hi * SUPER_TILES}, fn, y, out);
    return;
  }
  llmc_op_activation(w, fn, parts[0].y, parts[1].y, y, out, 16 * parts[0].tiles, parts[0].ldy, parts[1].ldy, ldy, in->tokens);
}

void llmc_op_activation(const llmc_worker *w, llmc_activation_fn *fn, const float *gate, const float *up, float *y, llmc_q8 out, int32_t n,
                      int32_t ldg, int32_t ldu, int32_t ldy, int32_t tokens) {
  llmc_range r = llmc_share(w, out.qa ? llmc_padded_rows(tokens) : tokens);
  if (r.lo < r.hi) fn(gate, up, y, out.qa, out.da, out.sa, n, ldg, ldu, ldy, tokens, r.lo, r.hi);
}

void llmc_op_norm(const llmc_worker *w, llmc_norm_fn *fn, float *x, const float *o, const float *weight, const float *bias, float *y,
                  llmc_q8 out, int32_t n, int32_t ldx, int32_t ldo, int32_t ldy, float eps, float alpha, int32_t tokens) {
  llmc_range r = llmc_share(w, out.qa ? llmc_padded_rows(tokens) : tokens);
  if (r.lo < r.hi) fn(x, o, weight, bias, y, out.qa, out.da, out.sa, NULL, n, ldx, ldo, ldy, eps, alpha, tokens, r.lo, r.hi);
}

void llmc_op_head_norm(const llmc_worker *w, llmc_head_norm_fn *fn, float *x, const float *weight, int32_t heads, int32_t ldx, float eps,
                       int32_t tokens) {
  llmc_range r = llmc_share(w, tokens);
  if (r.lo < r.hi) fn(x, weight, heads, ldx, eps, r.lo, r.hi);
}

void llmc_op_rope_table(const llmc_worker *w, llmc_rope_table_fn *fn, const int32_t *positions, const float *freqs, float *table,
                        int32_t half, float scale, int32_t tokens) {
  llmc_range r = llmc_share(w, tokens);
  if (r.lo < r.hi) fn(positions, freqs, table, half, scale, r.lo, r.hi);
}

void llmc_op_rope(const llmc_worker *w, llmc_rope_fn *fn, float *x, const float *table, int32_t heads, int32_t ldx, int32_t tokens) {
  llmc_range r = llmc_share(w, tokens);
  if (r.lo < r.hi) fn(x, table, heads, ldx, r.lo, r.hi);
}

void llmc_op_softcap(const llmc_worker *w, llmc_softcap_fn *fn, float *x, int32_t n, int32_t ldx, float cap, int32_t tokens) {
  llmc_range r = llmc_share(w, tokens);
  if (r.lo < r.hi) fn(x, n, ldx, cap, r.lo, r.hi);
}

void llmc_op_clamp(const llmc_worker *w, float *x, int32_t n, int32_t ld, float limit, int32_t tokens) {
  llmc_range r = llmc_share(w, tokens);
  for (int32_t t = r.lo; t < r.hi; t++) {
    float *row = x + (int64_t)t * ld;
    for (int32_t j = 0; j < n; j++) row[j] = row[j] > limit ? limit : row[j] < -limit ? -limit : row[j];
  }
}

void llmc_op_scale_positions(const llmc_worker *w, const llmc_step *s, float *x, const float *factors, int32_t count, int32_t offset,
                             int32_t length, int32_t n, int32_t ld) {
  llmc_range r = llmc_share(w, s->n_tokens);
  for (int32_t t = r.lo; t < r.hi; t++) {
    int32_t i = (s->positions[t] + offset) / length;
    float factor = factors[i < count ? i : count - 1], *row = x + (int64_t)t * ld;
    for (int32_t j = 0; j < n; j++) row[j] *= factor;
  }
}

void llmc_op_take_rows(const llmc_worker *w, const float *x, const int32_t *rows, float *y, int32_t ld, int32_t count) {
  llmc_range r = llmc_share(w, count);
  for (int32_t i = r.lo; i < r.hi; i++) memcpy(y + (int64_t)i * ld, x + (int64_t)rows[i] * ld, (size_t)ld * sizeof *y);
}

void llmc_op_take_columns(const llmc_worker *w, const float *x, const int32_t *columns, float *y, int32_t n, int32_t ld,
                          int32_t tokens) {
  llmc_range r = llmc_share(w, tokens);
  for (int32_t t = r.lo; t < r.hi; t++) {
    const float *from = x + (int64_t)t * ld;
    float *to = y + (int64_t)t * ld;
    for (int32_t j = 0; j < n; j++) to[j] = from[(uint32_t)columns[j] < (uint32_t)n ? columns[j] : 0];
  }
}

void llmc_op_scale_columns(const llmc_worker *w, float *x, const float *factors, const float *bias, int32_t n, int32_t ld,
                           int32_t tokens) {
  llmc_range r = llmc_share(w, tokens);
  for (int32_t t = r.lo; t < r.hi; t++) {
    float *row = x + (int64_t)t * ld;
    for (int32_t j = 0; j < n; j++) row[j] *= factors[j];
    for (int32_t j = 0; bias && j < n; j++) row[j] += bias[j];
  }
}

void llmc_op_copy(const llmc_worker *w, const float *x, float *y, int32_t ld, int32_t tokens) {
  llmc_range r = llmc_share(w, tokens);
  if (r.lo < r.hi) memcpy(y + (int64_t)r.lo * ld, x + (int64_t)r.lo * ld, (size_t)(r.hi - r.lo) * (size_t)ld * sizeof *y);
}

static const int32_t *pages_of(const llmc_step *s, llmc_layer_cache c, int32_t sequence) {
  const llmc_step_cache *cache = &s->caches[c.group];
  return cache->tables + (int64_t)sequence * cache->table_stride;
}

void llmc_op_kv_append(const llmc_worker *w, const llmc_step *s, llmc_kv_append_fn *fn, const float *k, const float *v,
                       const float *table, llmc_layer_cache c, int32_t ldk, int32_t ldv) {
  uint8_t *kv = s->caches[c.group].pool + c.layer_offset;
  for (int32_t i = 0; i < s->n_seqs; i++) {
    int32_t first = s->sequence_start[i];
    llmc_range r = llmc_share(w, s->sequence_start[i + 1] - first);
    if (r.lo < r.hi)
      fn(k, v, table, kv, pages_of(s, c, i), s->positions, c.kv_heads, ldk, ldv, c.page_bytes, first + r.lo, first + r.hi);
  }
}

/* Pieces of attention work of one KV head: up to ATTENTION_TOKENS tokens of a sequence each. */
static int32_t attention_pieces(const llmc_step *s) {
  int32_t pieces = 0;
  for (int32_t i = 0; i < s->n_seqs; i++)
    pieces += (s->sequence_start[i + 1] - s->sequence_start[i] + ATTENTION_TOKENS - 1) / ATTENTION_TOKENS;
  return pieces;
}

void llmc_op_attention(llmc_worker *w, const llmc_step *s, llmc_attention_fn *const fns[2], int32_t tile, const float *q,
                       const float *of_heads, float *o, llmc_layer_cache c, int32_t ldq, int32_t ldo, float scale, float softcap,
                       int32_t window) {
  const uint8_t *kv = s->caches[c.group].pool + c.layer_offset;
  llmc_range mine = {0, 0};
  int32_t pieces = attention_pieces(s) * c.kv_heads, piece = 0; /* counted through all sequences */
  if (!llmc_claim(w, pieces, 1, &mine)) return;
  for (int32_t i = 0; i < s->n_seqs; i++) {
    const int32_t *pages = pages_of(s, c, i);
    int32_t end = s->sequence_start[i + 1];
    for (int32_t t = s->sequence_start[i]; t < end; t += ATTENTION_TOKENS) {
      int32_t hi = t + ATTENTION_TOKENS < end ? t + ATTENTION_TOKENS : end, tiled = t + (hi - t) / tile * tile;
      for (int32_t h = 0; h < c.kv_heads; h++) {
        if (piece >= mine.hi && !llmc_claim(w, pieces, 1, &mine)) return;
        if (piece++ < mine.lo) continue;
        if (t < tiled)
          fns[1](q, kv, pages, s->positions, of_heads, o, c.kv_heads, ldq, ldo, c.page_bytes, scale, softcap, window, h, h + 1, t, tiled);
        if (tiled < hi)
          fns[0](q, kv, pages, s->positions, of_heads, o, c.kv_heads, ldq, ldo, c.page_bytes, scale, softcap, window, h, h + 1, tiled, hi);
      }
    }
  }
}
