/* Several streams of rows, and rows of each token for each layer: AltUp (arXiv:2301.13310) and what goes with it.
**
** Rows are ld floats apart, of which n are the row and the rest zeros; results have zeros there too. */
#ifndef LLMC_OPS_STREAMS_H
#define LLMC_OPS_STREAMS_H

#include "ops.h"

/* y = base + the sum over i < count of (coefficients[t * ldc + i] + plus) * streams[i], row by row. y may be base or a stream. */
void llmc_op_mix_rows(const llmc_worker *w, const float *coefficients, int32_t ldc, float plus, const float *base,
                      const float *const *streams, int32_t count, float *y, int32_t ld, int32_t tokens);

/* Each row of x times sqrt(mean square of like's row / mean square of its own, which is taken to be `least` at least). */
void llmc_op_match_magnitude(const llmc_worker *w, float *x, const float *like, int32_t n, int32_t ld, float least, int32_t tokens);

/* x = max(x - cut, 0), a row's cut being its mean plus `deviations` times its standard deviation. */
void llmc_op_sparsify(const llmc_worker *w, float *x, int32_t n, int32_t ld, float deviations, int32_t tokens);

void llmc_op_scale(const llmc_worker *w, float *x, float factor, int32_t ld, int32_t tokens);

/* Each of the n elements of a row times factors[its id]. */
void llmc_op_scale_by_id(const llmc_worker *w, float *x, const int32_t *ids, const float *factors, int32_t n, int32_t ld, int32_t tokens);

/* known = ids, 0 in the place of those from `count` on. */
void llmc_op_known_ids(const llmc_worker *w, const int32_t *ids, int32_t *known, int32_t count, int32_t tokens);

#endif
