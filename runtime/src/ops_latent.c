#include "ops_latent.h"

#include <string.h>

/* What follows a head's product, once all of its columns are there: the last tile of rows may have written past them. */
static void append_tail(const llmc_head_linear *p, int32_t head) {
  int32_t rest = p->width - p->n - p->tail;
  for (int32_t t = 0; t < p->tokens; t++) {
    float *y = p->y + (int64_t)t * p->ldy + (int64_t)head * p->width + p->n;
    if (p->tail) memcpy(y, p->beside + (int64_t)t * p->ldb + (int64_t)head * p->tail, (size_t)p->tail * sizeof *y);
    if (rest) memset(y + p->tail, 0, (size_t)rest * sizeof *y);
  }
}

static void head_tiles(const llmc_head_linear *p, int32_t head, int32_t all, llmc_range tiles) {
  llmc_linear part = {p->kernels, p->w + head * p->bytes, NULL, p->y + (int64_t)head * p->width, all, p->ldy};
  llmc_activations in = {.x = p->x + (int64_t)head * p->k, .ldx = p->ldx, .k = p->k, .tokens = p->tokens};
  llmc_linear_tiles(&part, &in, 1.0f, tiles);
  if (tiles.hi == all) append_tail(p, head);
}

void llmc_op_head_linear(llmc_worker *w, const llmc_head_linear *p) {
  int32_t all = (p->n + 15) / 16;
  llmc_range mine = llmc_share(w, p->heads * all);
  for (int32_t at = mine.lo; at < mine.hi;) {
    int32_t head = at / all, lo = at % all, hi = mine.hi - head * all < all ? mine.hi - head * all : all;
    head_tiles(p, head, all, (llmc_range){lo, hi});
    at = head * all + hi;
  }
}
