#include "ops_encoder.h"

#define PIECE_TOKENS 16 /* tokens of one piece of attention work */

static int32_t pieces_of(const llmc_step *s) {
  int32_t pieces = 0;
  for (int32_t i = 0; i < s->n_seqs; i++) pieces += (s->sequence_start[i + 1] - s->sequence_start[i] + PIECE_TOKENS - 1) / PIECE_TOKENS;
  return pieces;
}

void llmc_op_attention_both(llmc_worker *w, const llmc_step *s, llmc_attention_both_fn *const fns[2], int32_t tile, const float *q,
                            float *o, llmc_layer_cache c, int32_t ldq, int32_t ldo, float scale, int32_t reach,
                            llmc_distance_bias bias) {
  const llmc_step_cache *cache = &s->caches[c.group];
  const uint8_t *kv = cache->pool + c.layer_offset;
  llmc_range mine = {0, 0};
  int32_t pieces = pieces_of(s) * c.kv_heads, piece = 0; /* counted through all sequences */
  if (!llmc_claim(w, pieces, 1, &mine)) return;
  for (int32_t i = 0; i < s->n_seqs; i++) {
    const int32_t *pages = cache->tables + (int64_t)i * cache->table_stride;
    int32_t start = s->sequence_start[i], end = s->sequence_start[i + 1], keys = end - start, far = reach ? reach : keys;
    for (int32_t t = start; t < end; t += PIECE_TOKENS) {
      int32_t hi = t + PIECE_TOKENS < end ? t + PIECE_TOKENS : end, tiled = t + (hi - t) / tile * tile;
      for (int32_t h = 0; h < c.kv_heads; h++) {
        if (piece >= mine.hi && !llmc_claim(w, pieces, 1, &mine)) return;
        if (piece++ < mine.lo) continue;
        if (t < tiled)
          fns[1](q, kv, pages, s->positions, bias.rows, o, c.kv_heads, ldq, ldo, c.page_bytes, scale, far, keys, bias.span, h, h + 1, t,
                 tiled);
        if (tiled < hi)
          fns[0](q, kv, pages, s->positions, bias.rows, o, c.kv_heads, ldq, ldo, c.page_bytes, scale, far, keys, bias.span, h, h + 1, tiled,
                 hi);
      }
    }
  }
}

/* One bias for each head and distance; heads are shared. */
void llmc_op_bucket_bias(const llmc_worker *w, const float *table, const int32_t *starts, int32_t buckets, int32_t heads, int32_t ldt,
                         float *bias, int32_t span) {
  llmc_range r = llmc_share(w, heads);
  for (int32_t h = r.lo; h < r.hi; h++) {
    float *row = bias + (int64_t)h * (2 * span - 1) + span - 1;
    for (int32_t d = 0, b = 0; d < span; d++) {
      while (b + 1 < buckets && starts[b + 1] <= d) b++;
      row[d] = table[h * ldt + (d ? buckets + b : 0)];
      row[-d] = table[h * ldt + b];
    }
  }
}

void llmc_op_mean_rows(const llmc_worker *w, const llmc_step *s, const float *x, float *y, int32_t n, int32_t ld) {
  llmc_range r = llmc_share(w, n);
  for (int32_t i = 0, of = 0; i < s->n_rows; i++) {
    while (s->sequence_start[of + 1] <= s->rows[i]) of++;
    int32_t start = s->sequence_start[of], end = s->sequence_start[of + 1];
    for (int32_t j = r.lo; j < r.hi; j++) {
      double sum = 0;
      for (int32_t t = start; t < end; t++) sum += (double)x[(int64_t)t * ld + j];
      y[(int64_t)i * ld + j] = (float)(sum / (end - start));
    }
  }
}
