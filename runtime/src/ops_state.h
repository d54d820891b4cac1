/* Ops of recurrent layers. Each sequence has a slot; a layer's state lies in it at a fixed offset, as f32.
**
** Workers share channels or heads, each for all sequences and tokens, so a state is touched by one of them. */
#ifndef LLMC_OPS_STATE_H
#define LLMC_OPS_STATE_H

#include "ops.h"

/* One layer's state: at `offset` bytes in the slot of a sequence, page 0 of its table in the group. */
typedef struct llmc_layer_state {
  int32_t group;
  int64_t offset;
  int64_t slot_bytes;
} llmc_layer_state;

/* before, after: NULL where the kernel is not gated. Channels in blocks of 16, tokens [lo, hi) of one sequence. */
typedef void llmc_causal_conv_fn(const float *x, const float *before, const float *after, const float *w, const float *b, float *y,
                                 float *state, int32_t ld, int32_t block_lo, int32_t block_hi, int32_t lo, int32_t hi);

void llmc_op_causal_conv(const llmc_worker *w, const llmc_step *s, llmc_causal_conv_fn *fn, llmc_layer_state state, const float *x,
                         const float *before, const float *after, const float *weight, const float *bias, float *y, int32_t ld);

#endif
