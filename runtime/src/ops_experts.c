#include "ops_experts.h"

#include <string.h>

enum { WIDEST = 16 }; /* tokens of the widest token tile */

static int32_t within(int64_t x, int32_t limit) { return x < 0 ? 0 : x > limit ? limit : (int32_t)x; }

void llmc_op_router(const llmc_worker *w, llmc_router_fn *fn, const llmc_router *r, int32_t tokens) {
  llmc_range mine = llmc_share(w, tokens);
  if (mine.lo < mine.hi)
    fn(r->logits, r->bias, r->choices, r->ids, r->weights, r->n, r->used, r->groups, r->groups_used, r->ld, r->ldc, r->ldo, r->scale,
       r->jitter, mine.lo, mine.hi);
}

void llmc_op_gate_rows(const llmc_worker *w, llmc_gate_rows_fn *fn, float *x, const float *logits, int32_t n, int32_t ldx, int32_t ldl,
                       int32_t tokens) {
  llmc_range r = llmc_share(w, tokens);
  if (r.lo < r.hi) fn(x, logits, n, ldx, ldl, r.lo, r.hi);
}

llmc_expert_groups llmc_expert_groups_at(int32_t *table, int32_t experts, int32_t slots) {
  int32_t *expert = table + 1, *first = expert + experts, *count = first + experts, *place = count + experts;
  return (llmc_expert_groups){table, expert, first, count, place, place + slots};
}

/* Width of the first token tile of a group. */
static int32_t tile_width(int32_t count) { return count < WIDEST ? llmc_padded_rows(count) : WIDEST; }

static void count_pairs(const llmc_expert_groups *g, const int32_t *ids, int32_t ld, int32_t tokens, int32_t used, int32_t experts) {
  memset(g->count, 0, (size_t)experts * sizeof *g->count);
  for (int32_t t = 0; t < tokens; t++)
    for (int32_t j = 0; j < used; j++) g->count[ids[(int64_t)t * ld + j]]++;
}

void llmc_expert_groups_fill(const llmc_expert_groups *g, const int32_t *ids, int32_t ld, int32_t tokens, int32_t used, int32_t experts) {
  int32_t n = 0, row = 0;
  count_pairs(g, ids, ld, tokens, used, experts);
  for (int32_t width = WIDEST; width; width /= 2)
    for (int32_t e = 0; e < experts; e++) {
      if (!g->count[e] || tile_width(g->count[e]) != width) continue;
      g->expert[n++] = e;
      g->first[e] = row;
      row += (g->count[e] + width - 1) / width * width;
      g->count[e] = 0; /* counted again as rows are given out */
    }
  *g->n = n;
  for (int32_t t = 0; t < tokens; t++)
    for (int32_t j = 0; j < used; j++) {
      int32_t e = ids[(int64_t)t * ld + j];
      g->place[t * used + j] = g->first[e] + g->count[e];
      g->source[g->first[e] + g->count[e]++] = t;
    }
}

static llmc_q8 q8_row(llmc_q8 q, int32_t row, int32_t k) {
  if (q.qa) q = (llmc_q8){q.qa + (int64_t)row * k, q.da + (int64_t)row * (k / 32), q.sa + (int64_t)row * (k / 16), q.columns};
  return q;
}

static float weight_of(const llmc_experts *e, const llmc_expert_groups *g, int32_t row) {
  int32_t token = g->source[row], j = 0;
  while (g->place[token * e->used + j] != row) j++;
  return e->weights[(int64_t)token * e->ld_slots + j];
}

/* Multiplies gathered rows [lo, hi) of a group by the weights of their pairs: q8 rows by their scales, which lie by token tile. */
static void weigh_group(const llmc_experts *e, const llmc_expert_groups *g, int32_t first, int32_t count, llmc_range r) {
  for (int32_t i = r.lo; i < r.hi && i < count; i++) {
    float weight = weight_of(e, g, first + i);
    if (!e->quantize) {
      float *row = e->rows + (int64_t)(first + i) * e->ld_hidden;
      for (int32_t j = 0; j < e->hidden; j++) row[j] *= weight;
      continue;
    }
    int32_t tile = i / WIDEST * WIDEST, width = tile_width(count - tile);
    float *da = q8_row(e->rows_q8, first + tile, e->hidden).da + (i - tile);
    for (int32_t block = 0; block < e->hidden / 32; block++) da[(int64_t)block * width] *= weight;
  }
}

/* Rows [lo, hi) of a group: copies of its tokens' rows of x, in the form its products read; zeros after the last. */
static void gather_group(const llmc_experts *e, int32_t first, int32_t count, const int32_t *source, llmc_range r) {
  if (e->quantize) {
    llmc_q8 q = q8_row(e->rows_q8, first, e->hidden);
    e->quantize(e->x, NULL, NULL, NULL, NULL, q.qa, q.da, q.sa, source + first, e->hidden, e->ld_hidden, 0, 0, 0.0f, 0.0f, count, r.lo,
                r.hi);
    return;
  }
  size_t row_bytes = (size_t)e->ld_hidden * sizeof *e->x;
  for (int32_t i = r.lo; i < r.hi; i++) {
    float *row = e->rows + (int64_t)(first + i) * e->ld_hidden;
    if (i < count) memcpy(row, e->x + (int64_t)source[first + i] * e->ld_hidden, row_bytes);
    else memset(row, 0, row_bytes);
  }
}

static void gather(const llmc_worker *w, const llmc_experts *e, const llmc_expert_groups *g) {
  int32_t total = 0, before = 0;
  for (int32_t i = 0; i < *g->n; i++) total += llmc_padded_rows(g->count[g->expert[i]]);
  llmc_range mine = llmc_share(w, total);
  for (int32_t i = 0; i < *g->n; i++) {
    int32_t expert = g->expert[i], rows = llmc_padded_rows(g->count[expert]);
    llmc_range r = {within(mine.lo - before, rows), within(mine.hi - before, rows)};
    if (r.lo < r.hi) gather_group(e, g->first[expert], g->count[expert], g->source, r);
    if (e->weigh_x) weigh_group(e, g, g->first[expert], g->count[expert], r);
    before += rows;
  }
}

/* One product of one expert over its rows and row tiles [lo, hi): from `in` to y, both at the expert's first row. */
static void product(const llmc_expert_matrix *m, int32_t expert, const llmc_activations *in, float *y, int32_t ldy, llmc_range tiles) {
  const float *bias = m->bias ? m->bias + (int64_t)expert * 16 * m->tiles : NULL;
  llmc_linear part = {m->kernels, m->w + expert * m->bytes, bias, y, m->tiles, ldy};
  llmc_linear_tiles(&part, in, 1.0f, tiles);
}

/* silu(gate) * up, or the function of the gate alone, for the columns of row tiles [lo, hi), by token tile: inside one, blocks of 32 columns lie one after the other. */
static void activate(const llmc_experts *e, int32_t first, int32_t count, llmc_range tiles) {
  int32_t column = 16 * tiles.lo, n = 16 * (tiles.hi - tiles.lo), ld = e->ld_intermediate;
  for (int32_t t = 0; t < count; t += WIDEST) {
    int32_t tokens = count - t < WIDEST ? count - t : WIDEST, width = llmc_padded_rows(tokens);
    int64_t at = (int64_t)(first + t) * ld + column;
    llmc_q8 q = q8_row(e->gated_q8, first + t, e->intermediate);
    if (q.qa) q = (llmc_q8){q.qa + column * width, q.da + column / 32 * width, q.sa + column / 16 * width, q.columns};
    float *y = e->gated ? e->gated + at : NULL;
    e->activation(e->gate + at, e->up ? e->up + at : NULL, y, q.qa, q.da, q.sa, n, ld, ld, ld, tokens, 0, q.qa ? width : tokens);
  }
}

/* Row tiles of gate and up that one worker makes: those whose outputs share a scale when they are quantised. */
static int32_t piece_tiles(const llmc_experts *e) { return e->gated_q8.columns > 32 ? e->gated_q8.columns / 16 : 2; }

static void gate_and_up(const llmc_experts *e, const llmc_expert_groups *g, int32_t expert, llmc_range pieces) {
  int32_t first = g->first[expert], count = g->count[expert], all = e->gate_w.tiles, each = piece_tiles(e);
  llmc_range tiles = {each * pieces.lo, each * pieces.hi < all ? each * pieces.hi : all};
  int64_t out = (int64_t)first * e->ld_intermediate;
  llmc_activations in = {.x = e->rows + (int64_t)first * e->ld_hidden, .ldx = e->ld_hidden, .k = e->hidden, .tokens = count};
  if (e->quantize) in.q8 = q8_row(e->rows_q8, first, e->hidden);
  product(&e->gate_w, expert, &in, e->gate + out, e->ld_intermediate, tiles);
  if (e->up) product(&e->up_w, expert, &in, e->up + out, e->ld_intermediate, tiles);
  activate(e, first, count, tiles);
}

static void down(const llmc_experts *e, const llmc_expert_groups *g, int32_t expert, llmc_range tiles) {
  int32_t first = g->first[expert];
  llmc_activations in = {.ldx = e->ld_intermediate, .k = e->intermediate, .tokens = g->count[expert]};
  if (e->gated) in.x = e->gated + (int64_t)first * e->ld_intermediate;
  else in.q8 = q8_row(e->gated_q8, first, e->intermediate);
  product(&e->down_w, expert, &in, e->rows + (int64_t)first * e->ld_hidden, e->ld_hidden, tiles);
}

typedef void stage(const llmc_experts *, const llmc_expert_groups *, int32_t expert, llmc_range);

/* Deals `pieces` of each group to the workers. A piece costs as many units as its group has padded rows; a worker takes those that
** start inside its share of all units, which are consecutive. */
static void deal(const llmc_worker *w, const llmc_experts *e, const llmc_expert_groups *g, int32_t pieces, stage *work) {
  int64_t total = 0, before = 0;
  for (int32_t i = 0; i < *g->n; i++) total += (int64_t)pieces * llmc_padded_rows(g->count[g->expert[i]]);
  int64_t lo = total * w->index / w->count, hi = total * (w->index + 1) / w->count;
  for (int32_t i = 0; i < *g->n; i++) {
    int32_t cost = llmc_padded_rows(g->count[g->expert[i]]);
    llmc_range mine = {within((lo - before + cost - 1) / cost, pieces), within((hi - before + cost - 1) / cost, pieces)};
    if (mine.lo < mine.hi) work(e, g, g->expert[i], mine);
    before += (int64_t)pieces * cost;
  }
}

void llmc_op_experts(llmc_worker *w, const llmc_experts *e) {
  llmc_expert_groups g = llmc_expert_groups_at(e->table, e->experts, e->tokens * e->used);
  if (w->index == 0) llmc_expert_groups_fill(&g, e->ids, e->ld_slots, e->tokens, e->used, e->experts);
  llmc_barrier(w);
  gather(w, e, &g);
  llmc_barrier(w);
  deal(w, e, &g, (e->gate_w.tiles + piece_tiles(e) - 1) / piece_tiles(e), gate_and_up);
  llmc_barrier(w);
  deal(w, e, &g, e->down_w.tiles, down);
  llmc_barrier(w);
  llmc_range r = llmc_share(w, e->tokens);
  if (r.lo < r.hi)
    e->sum(e->rows, g.place, e->weights, e->y, e->hidden, e->used, e->ld_hidden, e->ld_slots, e->ld_hidden, r.lo, r.hi);
}
