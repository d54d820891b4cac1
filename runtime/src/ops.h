/* What a generated plan calls: one function per op, run by all workers of the team at once.
**
** Each function shares its work among the workers and calls kernels; none waits for the others (the plan puts a barrier after each),
** except where said. Activations are f32 rows of `ld` columns, or int8 codes in token tiles (llmc_q8). Counts are in tokens, rows,
** columns; nothing is checked: the runtime has checked the step, the compiler the shapes. */
#ifndef LLMC_OPS_H
#define LLMC_OPS_H

#include "../include/llmc_plan.h"

/* This worker's part of `count` things. */
static inline llmc_range llmc_share(const llmc_worker *w, int32_t count) {
  return (llmc_range){(int32_t)((int64_t)count * w->index / w->count), (int32_t)((int64_t)count * (w->index + 1) / w->count)};
}

/* Quantised activations of [tokens][k]: token tile of width P starting at token t0 lies at qa + t0*k, da + t0*k/32, sa + t0*k/16. */
typedef struct llmc_q8 {
  int8_t *qa; /* codes, [tile][k/32][P][32], or [tile][k/64][P][64] where 256 columns share a scale */
  float *da; /* scales, [tile][k/32][P] */
  int32_t *sa; /* sums of codes, [tile][k/32][2][P]: of 16, or of 256 columns sixteen words [tile][k/256][16][P] */
  int32_t columns; /* that share a scale: 32 or 256; a kernel that writes takes whole groups of them */
} llmc_q8;

/* Kernel types. Tables of linear kernels are indexed by log2 of the token tile's width: 1, 2, 4, 8, 16. */
#define LLMC_WIDTHS 5
typedef void llmc_linear_q8_fn(const uint8_t *w, const int8_t *qa, const float *da, const int32_t *sa, const float *bias, float *y,
                               int32_t k, int32_t ldy, float scale, int32_t tile_lo, int32_t tile_hi, int32_t mt_lo, int32_t mt_hi);
typedef void llmc_linear_f32_fn(const uint8_t *w, const float *x, const float *bias, float *y, int32_t k, int32_t ldx, int32_t ldy,
                                float scale, int32_t tile_lo, int32_t tile_hi, int32_t mt_lo, int32_t mt_hi);
typedef void llmc_embed_fn(const uint8_t *w, const int32_t *ids, float *y, int32_t k, int32_t ldy, float scale, int32_t lo, int32_t hi);
typedef void llmc_norm_fn(float *x, const float *o, const float *w, const float *b, float *y, int8_t *qa, float *da, int32_t *sa,
                          const int32_t *rows, int32_t n, int32_t ldx, int32_t ldo, int32_t ldy, float eps, float alpha,
                          int32_t n_tokens, int32_t lo, int32_t hi);
typedef void llmc_head_norm_fn(float *x, const float *w, int32_t heads, int32_t ldx, float eps, int32_t lo, int32_t hi);
typedef void llmc_rope_table_fn(const int32_t *positions, const float *freqs, float *table, int32_t half, float scale, int32_t lo,
                                int32_t hi);
typedef void llmc_softcap_fn(float *x, int32_t n, int32_t ldx, float cap, int32_t lo, int32_t hi);
typedef void llmc_rope_fn(float *x, const float *table, int32_t heads, int32_t ldx, int32_t lo, int32_t hi);
typedef void llmc_kv_append_fn(const float *k, const float *v, const float *table, uint8_t *kv, const int32_t *pages,
                               const int32_t *positions, int32_t heads, int32_t ldk, int32_t ldv, int64_t page_bytes, int32_t lo,
                               int32_t hi);
typedef void llmc_attention_fn(const float *q, const uint8_t *kv, const int32_t *pages, const int32_t *positions,
                               const float *of_heads, float *o, int32_t kv_heads, int32_t ldq, int32_t ldo, int64_t page_bytes,
                               float scale, float softcap, int32_t window, int32_t kv_lo, int32_t kv_hi, int32_t tok_lo,
                               int32_t tok_hi);
typedef void llmc_activation_fn(const float *gate, const float *up, float *y, int8_t *qa, float *da, int32_t *sa, int32_t n, int32_t ldg,
                              int32_t ldu, int32_t ldy, int32_t n_tokens, int32_t lo, int32_t hi);

/* One weight matrix of a launch: y[token][0..n) = scale * (x . w + bias). */
typedef struct llmc_linear {
  const void *kernels; /* llmc_linear_q8_fn *[LLMC_WIDTHS] or llmc_linear_f32_fn *[LLMC_WIDTHS] */
  const uint8_t *w; /* tiles of 16 rows */
  const float *bias; /* [16 * tiles], or NULL */
  float *y;
  int32_t tiles; /* of 16 rows, the last one padded */
  int32_t ldy;
} llmc_linear;

/* The input of a launch of linears; exactly one form is set. */
typedef struct llmc_activations {
  llmc_q8 q8; /* qa NULL: f32 */
  const float *x;
  int32_t ldx;
  int32_t k;
  int32_t tokens;
} llmc_activations;

void llmc_op_embed(const llmc_worker *w, llmc_embed_fn *fn, const uint8_t *table, const int32_t *ids, float *y, int32_t k, int32_t ldy,
                   float scale, int32_t tokens);

/* One worker's piece of a linear: some row tiles for all tokens. Other ops are made of it. */
void llmc_linear_tiles(const llmc_linear *part, const llmc_activations *in, float scale, llmc_range tiles);

/* All parts under one launch: the workers share the tiles of all of them. */
void llmc_op_linear(llmc_worker *w, const llmc_linear *parts, int32_t n_parts, const llmc_activations *in, float scale);

/* parts[0] gate and parts[1] up, then silu(gate) * up into y and/or out. Has one barrier inside when tokens > 1. */
void llmc_op_linear_gated(llmc_worker *w, const llmc_linear *parts, const llmc_activations *in, llmc_activation_fn *fn, float *y,
                             int32_t ldy, llmc_q8 out);

/* Row t of the output comes from row t of x (plus alpha times row t of o, which is stored back to x). bias: NULL for none. */
void llmc_op_norm(const llmc_worker *w, llmc_norm_fn *fn, float *x, const float *o, const float *weight, const float *bias, float *y,
                  llmc_q8 out, int32_t n, int32_t ldx, int32_t ldo, int32_t ldy, float eps, float alpha, int32_t tokens);

void llmc_op_head_norm(const llmc_worker *w, llmc_head_norm_fn *fn, float *x, const float *weight, int32_t heads, int32_t ldx, float eps,
                       int32_t tokens);
void llmc_op_rope_table(const llmc_worker *w, llmc_rope_table_fn *fn, const int32_t *positions, const float *freqs, float *table,
                        int32_t half, float scale, int32_t tokens);
void llmc_op_rope(const llmc_worker *w, llmc_rope_fn *fn, float *x, const float *table, int32_t heads, int32_t ldx, int32_t tokens);
void llmc_op_activation(const llmc_worker *w, llmc_activation_fn *fn, const float *gate, const float *up, float *y, llmc_q8 out, int32_t n,
                      int32_t ldg, int32_t ldu, int32_t ldy, int32_t tokens);
void llmc_op_softcap(const llmc_worker *w, llmc_softcap_fn *fn, float *x, int32_t n, int32_t ldx, float cap, int32_t tokens);
/* Every element into -limit .. limit. */
void llmc_op_clamp(const llmc_worker *w, float *x, int32_t n, int32_t ld, float limit, int32_t tokens);
/* Each token's row times factors[position / length], or the last of `count` factors. */
void llmc_op_scale_positions(const llmc_worker *w, const llmc_step *s, float *x, const float *factors, int32_t count, int32_t offset,
                             int32_t length, int32_t n, int32_t ld);
void llmc_op_take_rows(const llmc_worker *w, const float *x, const int32_t *rows, float *y, int32_t ld, int32_t count);
/* Column j of y is column columns[j] of x, column 0 where that is none of its n: the indices come from a file. y is not x. */
void llmc_op_take_columns(const llmc_worker *w, const float *x, const int32_t *columns, float *y, int32_t n, int32_t ld,
                          int32_t tokens);
/* Column j of x times factors[j], then plus bias[j] unless bias is NULL. */
void llmc_op_scale_columns(const llmc_worker *w, float *x, const float *factors, const float *bias, int32_t n, int32_t ld,
                           int32_t tokens);
void llmc_op_copy(const llmc_worker *w, const float *x, float *y, int32_t ld, int32_t tokens);

/* One layer of one cache group: keys and values of a page start at page + layer_offset. */
typedef struct llmc_layer_cache {
  int32_t group;
  int32_t kv_heads;
  int64_t layer_offset; /* bytes */
  int64_t page_bytes;
} llmc_layer_cache;

void llmc_op_kv_append(const llmc_worker *w, const llmc_step *s, llmc_kv_append_fn *fn, const float *k, const float *v,
                       const float *table, llmc_layer_cache cache, int32_t ldk, int32_t ldv);

/* fns[0] takes tokens one by one, fns[1] in tiles of `tile`. of_heads: sinks or slopes; NULL, as softcap
** and window 0, where the kernels know none. */
void llmc_op_attention(llmc_worker *w, const llmc_step *s, llmc_attention_fn *const fns[2], int32_t tile, const float *q,
                       const float *of_heads, float *o, llmc_layer_cache cache, int32_t ldq, int32_t ldo, float scale, float softcap,
                       int32_t window);

#endif
