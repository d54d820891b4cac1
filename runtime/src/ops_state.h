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

/* One head, tokens [lo, hi) of one sequence; columns of x where its B and C start. */
typedef void llmc_ssd_fn(const float *x, const float *dt, const float *bias, const float *a, const float *d, float *y, float *state,
                         int32_t head, int32_t b_at, int32_t c_at, int32_t ldx, int32_t lddt, int32_t ldy, float dt_min, float dt_max,
                         int32_t lo, int32_t hi);
typedef void llmc_delta_rule_fn(const float *x, const float *dt, const float *beta, const float *bias, const float *a, float *y,
                                float *state, int32_t head, int32_t q_at, int32_t k_at, int32_t v_at, int32_t ldx, int32_t ldh,
                                int32_t ldy, int32_t lo, int32_t hi);
/* Channels in blocks of 16, tokens [lo, hi) of one sequence. */
typedef void llmc_selective_scan_fn(const float *x, const float *dt, const float *b, const float *c, const float *a, const float *d,
                                    float *y, float *state, int32_t ld, int32_t ldb, int32_t block_lo, int32_t block_hi, int32_t lo,
                                    int32_t hi);
typedef void llmc_gated_norm_fn(float *x, const float *z, const float *w, int32_t groups, int32_t w_stride, int32_t ldx, int32_t ldz,
                                float eps, int32_t lo, int32_t hi);

void llmc_op_causal_conv(const llmc_worker *w, const llmc_step *s, llmc_causal_conv_fn *fn, llmc_layer_state state, const float *x,
                         const float *before, const float *after, const float *weight, const float *bias, float *y, int32_t ld);

/* A row of x: `heads` heads of x, then B and C of `groups` groups, `features` each. */
typedef struct llmc_ssd_shape {
  int32_t heads, head_dim, groups, features;
  float dt_min, dt_max;
} llmc_ssd_shape;

void llmc_op_ssd(const llmc_worker *w, const llmc_step *s, llmc_ssd_fn *fn, llmc_layer_state state, llmc_ssd_shape shape, const float *x,
                 const float *dt, const float *bias, const float *a, const float *d, float *y);

/* A row of x: queries and keys of key_heads heads, then values of `heads`. Head h has key head h / (heads / key_heads), or if
** `tiled` h mod key_heads. */
typedef struct llmc_delta_shape {
  int32_t heads, key_heads, key_dim, value_dim;
  int32_t tiled;
} llmc_delta_shape;

void llmc_op_delta_rule(const llmc_worker *w, const llmc_step *s, llmc_delta_rule_fn *fn, llmc_layer_state state, llmc_delta_shape shape,
                        const float *x, const float *dt, const float *beta, const float *bias, const float *a, float *y);

void llmc_op_selective_scan(const llmc_worker *w, const llmc_step *s, llmc_selective_scan_fn *fn, llmc_layer_state state, const float *x,
                            const float *dt, const float *b, const float *c, const float *a, const float *d, float *y, int32_t ld,
                            int32_t ldb);

void llmc_op_gated_norm(const llmc_worker *w, llmc_gated_norm_fn *fn, float *x, const float *z, const float *weight, int32_t groups,
                        int32_t w_stride, int32_t ld, float eps, int32_t tokens);

/* `count` pieces of `width` columns of x, the first at column `start`, each `stride` after the last. */
void llmc_op_slice_columns(const llmc_worker *w, const float *x, float *y, int32_t start, int32_t width, int32_t stride, int32_t count,
                           int32_t ldx, int32_t ldy, int32_t tokens);

#endif
