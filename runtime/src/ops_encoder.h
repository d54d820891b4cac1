/* Ops of encoders, whose steps hold whole sequences. As ops.h otherwise. */
#ifndef LLMC_OPS_ENCODER_H
#define LLMC_OPS_ENCODER_H

#include "ops.h"

typedef void llmc_attention_both_fn(const float *q, const uint8_t *kv, const int32_t *pages, const int32_t *positions, const float *bias,
                                    float *o, int32_t kv_heads, int32_t ldq, int32_t ldo, int64_t page_bytes, float scale, int32_t reach,
                                    int32_t keys, int32_t span, int32_t kv_lo, int32_t kv_hi, int32_t tok_lo, int32_t tok_hi);

/* Every token sees the keys of its sequence that are at most `reach` positions away, 0: all of them. fns and tile as for
** llmc_op_attention(). */
void llmc_op_attention_both(llmc_worker *w, const llmc_step *s, llmc_attention_both_fn *const fns[2], int32_t tile, const float *q,
                            float *o, llmc_layer_cache cache, int32_t ldq, int32_t ldo, float scale, int32_t reach);

#endif
