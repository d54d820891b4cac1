/* Ops of encoders, whose steps hold whole sequences. As ops.h otherwise. */
#ifndef LLMC_OPS_ENCODER_H
#define LLMC_OPS_ENCODER_H

#include "ops.h"

typedef void llmc_attention_both_fn(const float *q, const uint8_t *kv, const int32_t *pages, const int32_t *positions, const float *bias,
                                    float *o, int32_t kv_heads, int32_t ldq, int32_t ldo, int64_t page_bytes, float scale, int32_t reach,
                                    int32_t keys, int32_t span, int32_t kv_lo, int32_t kv_hi, int32_t tok_lo, int32_t tok_hi);

/* Every token sees the keys of its sequence that are at most `reach` positions away, 0: all of them. fns and tile as for
** llmc_op_attention(). bias: NULL, or what llmc_op_relative_bias() made for s->n_tokens. */
void llmc_op_attention_both(llmc_worker *w, const llmc_step *s, llmc_attention_both_fn *const fns[2], int32_t tile, const float *q,
                            const float *bias, float *o, llmc_layer_cache cache, int32_t ldq, int32_t ldo, float scale, int32_t reach);

/* Biases by distance, of each head a row of 2 * tokens - 1: out[head][tokens - 1 + n] is table[bucket of n][head], n the positions from
** query to key. `buckets` in all, half of them for each direction: half of those for single distances, the rest up to `longest`. */
void llmc_op_relative_bias(const llmc_worker *w, const float *table, float *out, int32_t heads, int32_t buckets, int32_t longest,
                           int32_t tokens);

#endif
