#include "ops_state.h"

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
