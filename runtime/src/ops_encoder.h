/* Ops of encoders, whose steps hold whole sequences. As ops.h otherwise. */
#ifndef LLMC_OPS_ENCODER_H
#define LLMC_OPS_ENCODER_H

#include "ops.h"

typedef void llmc_attention_both_fn(const float *q, const uint8_t *kv, const int32_t *pages, const int32_t *positions, const float *bias,
                                    float *o, int32_t kv_heads, int32_t ldq, int32_t ldo, int64_t page_bytes, float scale, int32_t reach,
                                    int32_t keys, int32_t span, int32_t kv_lo, int32_t kv_hi, int32_t tok_lo, int32_t tok_hi);

/* What joins the scores of head h for a key d positions after the query: rows[h * (2 * span - 1) + span - 1 + d]. rows NULL: nothing. */
typedef struct llmc_distance_bias {
  const float *rows;
  int32_t span;
} llmc_distance_bias;

/* Every token sees the keys of its sequence that are at most `reach` positions away, 0: all of them. fns and tile as for
** llmc_op_attention(). */
void llmc_op_attention_both(llmc_worker *w, const llmc_step *s, llmc_attention_both_fn *const fns[2], int32_t tile, const float *q,
                            float *o, llmc_layer_cache cache, int32_t ldq, int32_t ldo, float scale, int32_t reach,
                            llmc_distance_bias bias);

/* bias[h * (2 * span - 1) + span - 1 + d] = table[h * ldt + b], b the last of `buckets` with starts[b] <= |d|, plus `buckets` where d > 0. */
void llmc_op_bucket_bias(const llmc_worker *w, const float *table, const int32_t *starts, int32_t buckets, int32_t heads, int32_t ldt,
                         float *bias, int32_t span);

/* Row i of y: the mean of x over all tokens of the sequence that token s->rows[i] belongs to, summed in double. */
void llmc_op_mean_rows(const llmc_worker *w, const llmc_step *s, const float *x, float *y, int32_t n, int32_t ld);

#endif
