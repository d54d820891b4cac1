/* Columns in an order that a file says: each is taken, and an index that is none reads nothing beyond the row. */
#include <stdlib.h>

#include "check.h"
#include "ops.h"
#include "pool.h"

enum { N = 5, LD = 16, TOKENS = 3 };

int main(int argc, char **argv) {
  (void)argc, (void)argv;
  float *x = calloc(LD * TOKENS, sizeof *x), *y = calloc(LD * TOKENS, sizeof *y); /* of their own, so that a sanitizer guards them */
  const int32_t inside[N] = {4, 2, 0, 1, 3}, outside[N] = {N, -1, INT32_MAX, INT32_MIN, 3};
  CHECK(x && y);
  for (int i = 0; i < LD * TOKENS; i++) x[i] = (float)i;
  llmc_worker w = {.index = 0, .count = 1};
  llmc_op_take_columns(&w, x, inside, y, N, LD, TOKENS);
  for (int t = 0; t < TOKENS; t++)
    for (int j = 0; j < N; j++) CHECK(y[t * LD + j] == (float)(t * LD + inside[j]));
  llmc_op_take_columns(&w, x, outside, y, N, LD, TOKENS);
  for (int t = 0; t < TOKENS; t++)
    for (int j = 0; j < N; j++) CHECK(y[t * LD + j] == (float)(t * LD + (j == N - 1 ? 3 : 0)));
  free(x);
  free(y);
  return 0;
}
