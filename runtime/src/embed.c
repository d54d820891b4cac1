#include "embed.h"

#include <math.h>
#include <string.h>

#include "memory.h"

/* What is wanted of a text's rows of results: all of them, one after the other (none) or summed (mean), or one. */
typedef struct wanted {
  llmc_pooling pooling;
  int32_t row; /* that one; -1: all */
  int32_t width;
  double *sums; /* [width] of a mean */
  float *out;
} wanted;

/* Layers that follow the pooling have pooled rows already: one row is all there is. */
static wanted wanted_rows(const llmc_plan *plan, llmc_pooling pooling, int32_t n, float *out) {
  llmc_pooling by = plan->pooled ? (llmc_pooling)plan->pooled : pooling;
  bool all = !plan->pooled && (by == LLMC_POOLING_NONE || by == LLMC_POOLING_MEAN);
  return (wanted){.pooling = plan->pooled ? LLMC_POOLING_CLS : by,
                  .row = all ? -1 : by == LLMC_POOLING_LAST ? n - 1 : 0,
                  .width = plan->row_floats,
                  .out = out};
}

/* The rows of a step over the text's tokens from `start` on. A mean is summed in double, so that it does not depend on their number. */
static void collect(const llmc_session *s, const wanted *w, int32_t start, int32_t rows) {
  for (int32_t i = 0; i < rows; i++) {
    const float *row = llmc_rt_session_logits(s, i);
    if (w->sums)
      for (int32_t j = 0; j < w->width; j++) w->sums[j] += (double)row[j];
    else memcpy(w->out + (w->row < 0 ? (size_t)(start + i) * (size_t)w->width : 0), row, (size_t)w->width * sizeof *row);
  }
}

/* To length 1; a row of zeros stays one. */
static void normalize(float *row, int32_t n) {
  double squares = 0;
  for (int32_t j = 0; j < n; j++) squares += (double)row[j] * (double)row[j];
  double length = sqrt(squares);
  for (int32_t j = 0; j < n && length > 0; j++) row[j] = (float)((double)row[j] / length);
}

static llmc_status check_pooling(llmc_session *s, llmc_pooling pooling) {
  const llmc_plan *plan = s->plan;
  if (pooling < LLMC_POOLING_DEFAULT || pooling > LLMC_POOLING_RANK)
    return llmc_fail(&s->error, LLMC_ERR_ARG, "pooling %d: no such kind", (int)pooling);
  if (pooling == LLMC_POOLING_DEFAULT || (int)pooling == plan->pooling) return LLMC_OK;
  if (pooling == LLMC_POOLING_RANK) return llmc_fail(&s->error, LLMC_ERR_ARG, "the model is no classifier: it gives no scores");
  if (plan->pooled) return llmc_fail(&s->error, LLMC_ERR_ARG, "layers of the model follow its own pooling: there is no other");
  return LLMC_OK;
}

static llmc_status check(llmc_session *s, const llmc_embed_options *o) {
  if (!s->plan->embeds) return llmc_fail(&s->error, LLMC_ERR_ARG, "the model generates text and has no embeddings: llmc_generate() runs it");
  if (!o->tokens || !o->n_tokens) return llmc_fail(&s->error, LLMC_ERR_ARG, "no tokens: an embedding needs at least one");
  int32_t most = s->plan->encoder && s->step_tokens < s->context ? s->step_tokens : s->context;
  if (o->n_tokens > (size_t)most)
    return llmc_fail(&s->error, LLMC_ERR_CONTEXT, "a text of %zu tokens: the model reads at most %d at once", o->n_tokens, most);
  return check_pooling(s, o->pooling);
}

/* The text in a sequence of its own: an encoder's in one step, in several where tokens see those before them alone. */
static llmc_status run(llmc_session *s, const llmc_embed_options *o, const wanted *w) {
  int32_t sequence, n = (int32_t)o->n_tokens;
  llmc_status status = llmc_rt_sequence_open(s, &sequence);
  if (status) return status;
  for (int32_t at = 0, count; at < n && !status; at += count) {
    count = n - at < s->step_tokens ? n - at : s->step_tokens;
    int32_t row = w->row - at, rows = w->row < 0 ? count : row >= 0 && row < count;
    llmc_batch batch = {.struct_size = sizeof batch, .tokens = o->tokens + at, .sequences = &sequence, .counts = &count, .n_sequences = 1,
                        .n_rows = w->row < 0 ? -1 : rows, .rows = &row, .segments = o->segments ? o->segments + at : NULL};
    if (llmc_session_take_cancel(s)) status = llmc_fail(&s->error, LLMC_ERR_CANCELLED, "cancelled after %d of %d tokens", at, n);
    else status = llmc_rt_session_step(s, &batch);
    if (!status) collect(s, w, at, rows);
  }
  llmc_rt_sequence_close(s, sequence);
  return status;
}

static llmc_status run_mean(llmc_session *s, const llmc_embed_options *o, wanted *w) {
  w->sums = llmc_alloc_zeroed(&s->allocator, (size_t)w->width, sizeof *w->sums);
  if (!w->sums) return llmc_fail(&s->error, LLMC_ERR_NOMEM, "no memory for %d sums", w->width);
  llmc_status status = run(s, o, w);
  for (int32_t j = 0; j < w->width && !status; j++) w->out[j] = (float)(w->sums[j] / (double)o->n_tokens);
  llmc_free(&s->allocator, w->sums);
  return status;
}

llmc_status llmc_rt_embed(llmc_session *s, const llmc_embed_options *given, float *out, size_t capacity, size_t *size) {
  llmc_embed_options o = {.struct_size = sizeof o};
  if (!given || !llmc_struct_read(&o, sizeof o, given) || !size || (!out && capacity))
    return llmc_fail(&s->error, LLMC_ERR_ARG, "embed: a NULL argument, wrong struct_size, or an option this version does not know");
  llmc_status status = check(s, &o);
  if (status) return status;
  wanted w = wanted_rows(s->plan, o.pooling ? o.pooling : (llmc_pooling)s->plan->pooling, (int32_t)o.n_tokens, out);
  size_t rows = w.pooling == LLMC_POOLING_NONE ? o.n_tokens : 1;
  *size = rows * (size_t)w.width;
  if (*size > capacity) return llmc_fail(&s->error, LLMC_ERR_SPACE, "room for %zu floats, %zu are needed", capacity, *size);
  if ((status = w.pooling == LLMC_POOLING_MEAN ? run_mean(s, &o, &w) : run(s, &o, &w))) return status;
  bool unit = o.normalize ? o.normalize > 0 : w.pooling != LLMC_POOLING_NONE && s->plan->normalize;
  for (size_t i = 0; unit && i < rows; i++) normalize(out + i * (size_t)w.width, w.width);
  return LLMC_OK;
}
