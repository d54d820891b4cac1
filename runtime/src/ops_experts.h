/* Mixture of experts: every token passes through the few expert networks a router chose for it.
**
** The rows of a step are sorted by expert first, so that a matrix that is used is read once and one that is not used is not read.
** Sorting cannot change a result: a kernel's bits for a row depend neither on its neighbours nor on its place. */
#ifndef LLMC_OPS_EXPERTS_H
#define LLMC_OPS_EXPERTS_H

#include "ops.h"

typedef void llmc_router_fn(const float *logits, const float *bias, float *choices, int32_t *ids, float *weights, int32_t n, int32_t used,
                            int32_t groups, int32_t groups_used, int32_t ld, int32_t ldc, int32_t ldo, float scale, float jitter,
                            int32_t lo, int32_t hi);
typedef void llmc_expert_sum_fn(const float *rows, const int32_t *place, const float *weights, float *y, int32_t n, int32_t used,
                                int32_t ldr, int32_t ldw, int32_t ldy, int32_t lo, int32_t hi);

/* How a layer chooses the `used` best of n experts for each token; codegen/kernels/router.py has the meaning of each. */
typedef struct llmc_router {
  const float *logits, *bias; /* [tokens][ld], [n] or NULL */
  float *choices; /* [tokens][ldc], or NULL where experts are chosen by their logits */
  int32_t *ids; /* [tokens][ldo], as the weights */
  float *weights;
  int32_t n, used, groups, groups_used, ld, ldc, ldo;
  float scale, jitter;
} llmc_router;

void llmc_op_router(const llmc_worker *w, llmc_router_fn *fn, const llmc_router *r, int32_t tokens);

typedef void llmc_gate_rows_fn(float *x, const float *logits, int32_t n, int32_t ldx, int32_t ldl, int32_t lo, int32_t hi);

/* Row t of x times the sigmoid of logits[t * ldl]. */
void llmc_op_gate_rows(const llmc_worker *w, llmc_gate_rows_fn *fn, float *x, const float *logits, int32_t n, int32_t ldx, int32_t ldl,
                       int32_t tokens);

/* The (token, slot) pairs of a step, expert by expert. The rows of an expert with c pairs start at first[e] and go up to 16, or to the
** smallest power of two, that holds c; groups with wide token tiles come first, so that every tile starts at a multiple of its width. */
typedef struct llmc_expert_groups {
  int32_t *n; /* [1] groups: experts with a row */
  int32_t *expert; /* [experts] of each group */
  int32_t *first; /* [experts] row, by expert */
  int32_t *count; /* [experts] pairs, by expert */
  int32_t *place; /* [tokens][used] row of each pair */
  int32_t *source; /* [rows] token of each row that has one */
} llmc_expert_groups;

/* Where the parts of a table lie that the plan keeps room for: 1 + 3 * experts + slots + rows numbers. */
llmc_expert_groups llmc_expert_groups_at(int32_t *table, int32_t experts, int32_t slots);

/* Fills the groups from ids [tokens][used], rows `ld` apart. Pairs of one expert keep the order of their tokens. */
void llmc_expert_groups_fill(const llmc_expert_groups *g, const int32_t *ids, int32_t ld, int32_t tokens, int32_t used, int32_t experts);

/* One matrix of every expert. */
typedef struct llmc_expert_matrix {
  const void *kernels; /* as llmc_linear.kernels, for q8 or f32 activations */
  const uint8_t *w; /* expert e at w + e * bytes, in tiles of 16 rows */
  int64_t bytes; /* of one expert */
  int32_t tiles; /* of one expert */
  const float *bias; /* expert e at bias + 16 * tiles * e; NULL: none */
} llmc_expert_matrix;

/* One layer's experts. What is read or written between the products lies in `rows`, `gate`, `up` and `gated`, by sorted row. */
typedef struct llmc_experts {
  float *x; /* [tokens][ld_hidden] */
  const int32_t *ids; /* [tokens][ld_slots] */
  const float *weights; /* [tokens][ld_slots] */
  float *y; /* [tokens][ld_hidden] */
  llmc_expert_matrix gate_w, up_w, down_w;
  llmc_norm_fn *quantize; /* rows of x to q8; NULL: the first products read f32 */
  llmc_activation_fn *activation; /* of gate and up, silu(gate) * up below; of the gate alone where up is NULL */
  llmc_expert_sum_fn *sum;
  int32_t *table; /* see llmc_expert_groups_at */
  float *rows; /* f32 rows of x, later of the result of each pair */
  llmc_q8 rows_q8; /* the q8 form of rows of x; may share memory with `rows` */
  float *gate, *up; /* [rows][ld_intermediate]; up NULL: experts have no gate, and what is called so is their only other matrix */
  float *gated; /* silu(gate) * up as f32, or NULL */
  llmc_q8 gated_q8; /* the same as q8, or no q8 */
  int32_t weigh_x; /* whether weights multiply x in the place of the result; `sum` is then one without */
  int32_t experts, used, tokens;
  int32_t hidden, ld_hidden, intermediate, ld_intermediate, ld_slots;
} llmc_experts;

/* y[t] = the sum over slots of weights[t][j] * down(silu(gate(x[t])) * up(x[t])) of expert ids[t][j]. Has barriers inside. */
void llmc_op_experts(llmc_worker *w, const llmc_experts *e);

#endif
