#include "ops_streams.h"

#include <math.h>

enum { LANES = 8 }; /* sums that a compiler can keep in vectors: always as many, so that results do not depend on it */

void llmc_op_mix_rows(const llmc_worker *w, const float *coefficients, int32_t ldc, float plus, const float *base,
                      const float *const *streams, int32_t count, float *y, int32_t ld, int32_t tokens) {
  llmc_range r = llmc_share(w, tokens);
  for (int32_t t = r.lo; t < r.hi; t++) {
    const float *of_row = coefficients + (int64_t)t * ldc;
    for (int32_t j = 0; j < ld; j++) {
      float sum = base[(int64_t)t * ld + j];
      for (int32_t i = 0; i < count; i++) sum += (of_row[i] + plus) * streams[i][(int64_t)t * ld + j];
      y[(int64_t)t * ld + j] = sum;
    }
  }
}

/* The mean of (x - from)^2. */
static double mean_square(const float *x, int32_t n, double from) {
  double lanes[LANES] = {0}, sum = 0;
  int32_t whole = n - n % LANES;
  for (int32_t j = 0; j < whole; j += LANES)
    for (int32_t i = 0; i < LANES; i++) lanes[i] += (x[j + i] - from) * (x[j + i] - from);
  for (int32_t j = whole; j < n; j++) lanes[j - whole] += (x[j] - from) * (x[j] - from);
  for (int32_t i = 0; i < LANES; i++) sum += lanes[i];
  return sum / n;
}

static double mean(const float *x, int32_t n) {
  double lanes[LANES] = {0}, sum = 0;
  int32_t whole = n - n % LANES;
  for (int32_t j = 0; j < whole; j += LANES)
    for (int32_t i = 0; i < LANES; i++) lanes[i] += x[j + i];
  for (int32_t j = whole; j < n; j++) lanes[j - whole] += x[j];
  for (int32_t i = 0; i < LANES; i++) sum += lanes[i];
  return sum / n;
}

void llmc_op_match_magnitude(const llmc_worker *w, float *x, const float *like, int32_t n, int32_t ld, float least, int32_t tokens) {
  llmc_range r = llmc_share(w, tokens);
  for (int32_t t = r.lo; t < r.hi; t++) {
    float *row = x + (int64_t)t * ld;
    double mine = mean_square(row, n, 0), theirs = mean_square(like + (int64_t)t * ld, n, 0);
    float factor = (float)sqrt(theirs / (mine < least ? least : mine));
    for (int32_t j = 0; j < n; j++) row[j] *= factor;
  }
}

void llmc_op_sparsify(const llmc_worker *w, float *x, int32_t n, int32_t ld, float deviations, int32_t tokens) {
  llmc_range r = llmc_share(w, tokens);
  for (int32_t t = r.lo; t < r.hi; t++) {
    float *row = x + (int64_t)t * ld;
    double middle = mean(row, n);
    float cut = (float)(middle + deviations * sqrt(mean_square(row, n, middle)));
    for (int32_t j = 0; j < n; j++) row[j] = row[j] > cut ? row[j] - cut : 0;
  }
}

void llmc_op_scale(const llmc_worker *w, float *x, float factor, int32_t ld, int32_t tokens) {
  llmc_range r = llmc_share(w, tokens);
  for (int64_t i = (int64_t)r.lo * ld; i < (int64_t)r.hi * ld; i++) x[i] *= factor;
}

void llmc_op_scale_by_id(const llmc_worker *w, float *x, const int32_t *ids, const float *factors, int32_t n, int32_t ld, int32_t tokens) {
  llmc_range r = llmc_share(w, tokens);
  for (int32_t t = r.lo; t < r.hi; t++)
    for (int32_t j = 0; j < n; j++) x[(int64_t)t * ld + j] *= factors[ids[(int64_t)t * ld + j]];
}

void llmc_op_known_ids(const llmc_worker *w, const int32_t *ids, int32_t *known, int32_t count, int32_t tokens) {
  llmc_range r = llmc_share(w, tokens);
  for (int32_t t = r.lo; t < r.hi; t++) known[t] = ids[t] < count ? ids[t] : 0;
}
