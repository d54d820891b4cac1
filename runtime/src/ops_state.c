#include "ops_state.h"

#include <string.h>

static float *state_of(const llmc_step *s, llmc_layer_state state, int32_t sequence) {
  const llmc_step_cache *cache = &s->caches[state.group];
  int64_t slot = cache->tables[(int64_t)sequence * cache->table_stride];
  return (float *)(void *)(cache->pool + slot * state.slot_bytes + state.offset);
}

void llmc_op_causal_conv(const llmc_worker *w, const llmc_step *s, llmc_causal_conv_fn *fn, llmc_layer_state state, const float *x,
                         const float *before, const float *after, const float *weight, const float *bias, float *y, int32_t ld) {
  llmc_range r = llmc_share(w, ld / 16);
  if (r.lo == r.hi) return;
  for (int32_t i = 0; i < s->n_seqs; i++)
    fn(x, before, after, weight, bias, y, state_of(s, state, i), ld, r.lo, r.hi, s->sequence_start[i], s->sequence_start[i + 1]);
}

static int32_t padded(int32_t columns) { return (columns + 15) / 16 * 16; }

void llmc_op_ssd(const llmc_worker *w, const llmc_step *s, llmc_ssd_fn *fn, llmc_layer_state state, llmc_ssd_shape n, const float *x,
                 const float *dt, const float *bias, const float *a, const float *d, float *y) {
  llmc_range r = llmc_share(w, n.heads);
  int32_t inner = n.heads * n.head_dim, ldx = padded(inner + 2 * n.groups * n.features);
  for (int32_t i = 0; i < s->n_seqs; i++)
    for (int32_t h = r.lo; h < r.hi; h++) {
      int32_t b_at = inner + h / (n.heads / n.groups) * n.features, c_at = b_at + n.groups * n.features;
      fn(x, dt, bias, a, d, y, state_of(s, state, i), h, b_at, c_at, ldx, padded(n.heads), padded(inner), n.dt_min, n.dt_max,
         s->sequence_start[i], s->sequence_start[i + 1]);
    }
}

void llmc_op_delta_rule(const llmc_worker *w, const llmc_step *s, llmc_delta_rule_fn *fn, llmc_layer_state state, llmc_delta_shape n,
                        const float *x, const float *dt, const float *beta, const float *bias, const float *a, float *y) {
  llmc_range r = llmc_share(w, n.heads);
  int32_t keys = n.key_heads * n.key_dim, values = n.heads * n.value_dim;
  for (int32_t i = 0; i < s->n_seqs; i++)
    for (int32_t h = r.lo; h < r.hi; h++) {
      int32_t q_at = (n.tiled ? h % n.key_heads : h / (n.heads / n.key_heads)) * n.key_dim, v_at = 2 * keys + h * n.value_dim;
      fn(x, dt, beta, bias, a, y, state_of(s, state, i), h, q_at, keys + q_at, v_at, padded(2 * keys + values), padded(n.heads),
         padded(values), s->sequence_start[i], s->sequence_start[i + 1]);
    }
}

void llmc_op_selective_scan(const llmc_worker *w, const llmc_step *s, llmc_selective_scan_fn *fn, llmc_layer_state state, const float *x,
                            const float *dt, const float *b, const float *c, const float *a, const float *d, float *y, int32_t ld,
                            int32_t ldb) {
  llmc_range r = llmc_share(w, ld / 16);
  if (r.lo == r.hi) return;
  for (int32_t i = 0; i < s->n_seqs; i++)
    fn(x, dt, b, c, a, d, y, state_of(s, state, i), ld, ldb, r.lo, r.hi, s->sequence_start[i], s->sequence_start[i + 1]);
}

void llmc_op_gated_norm(const llmc_worker *w, llmc_gated_norm_fn *fn, float *x, const float *z, const float *weight, int32_t groups,
                        int32_t w_stride, int32_t ld, float eps, int32_t tokens) {
  llmc_range r = llmc_share(w, tokens);
  if (r.lo < r.hi) fn(x, z, weight, groups, w_stride, ld, ld, eps, r.lo, r.hi);
}

void llmc_op_slice_columns(const llmc_worker *w, const float *x, float *y, int32_t start, int32_t width, int32_t stride, int32_t count,
                           int32_t ldx, int32_t ldy, int32_t tokens) {
  llmc_range r = llmc_share(w, tokens);
  for (int32_t t = r.lo; t < r.hi; t++) {
    float *row = y + (int64_t)t * ldy;
    const float *from = x + (int64_t)t * ldx + start;
    for (int32_t i = 0; i < count; i++) memcpy(row + i * width, from + i * stride, (size_t)width * sizeof *row);
    memset(row + count * width, 0, (size_t)(ldy - count * width) * sizeof *row);
  }
}
