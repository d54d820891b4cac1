/* Multi-head latent attention in its absorbed form: matrices of heads around an attention whose keys all heads share. */
#ifndef LLMC_OPS_LATENT_H
#define LLMC_OPS_LATENT_H

#include "ops.h"

/* The ops are llmc_op_kv_append (k: latents, v: rotated features) and llmc_op_attention over groups of heads. */
typedef llmc_kv_append_fn llmc_latent_append_fn;
typedef llmc_attention_fn llmc_latent_attention_fn;

/* A matrix for each head: columns [h * width, h * width + n) of a row of y are w[h] times columns [h * k, h * k + k) of x; behind
** them come the head's `tail` columns of a row of `beside`, and zeros up to width. */
typedef struct llmc_head_linear {
  const void *kernels; /* as llmc_linear.kernels, for f32 activations */
  const uint8_t *w; /* head h at w + h * bytes, in tiles of 16 rows */
  int64_t bytes; /* of one head */
  int32_t heads, n, k;
  int32_t width; /* at least n + tail, and n padded to 16 */
  const float *x;
  const float *beside; /* NULL where tail is 0 */
  float *y;
  int32_t tail, ldx, ldb, ldy, tokens;
} llmc_head_linear;

void llmc_op_head_linear(llmc_worker *w, const llmc_head_linear *p);

#endif
