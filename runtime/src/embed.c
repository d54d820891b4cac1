#include "embed.h"

#include <math.h>
#include <string.h>

#include "memory.h"

/* Rows of the step's results that a pooling needs, of n tokens: [*first, *first + *count). */
static void rows_of(llmc_pooling pooling, int32_t n, int32_t *first, int32_t *count) {
  *first = pooling == LLMC_POOLING_LAST ? n - 1 : 0;
  *count = pooling == LLMC_POOLING_NONE || pooling == LLMC_POOLING_MEAN ? n : 1;
}

/* The mean of all rows, summed in double so that it does not depend on their number. */
static void mean(const llmc_session *s, int32_t n, float *out) {
  for (int32_t j = 0; j < s->plan->row_floats; j++) {
    double sum = 0;
    for (int32_t i = 0; i < n; i++) sum += (double)llmc_rt_session_logits(s, i)[j];
    out[j] = (float)(sum / n);
  }
}

/* To length 1; a row of zeros stays one. */
static void normalize(float *row, int32_t n) {
  double squares = 0;
  for (int32_t j = 0; j < n; j++) squares += (double)row[j] * (double)row[j];
  double length = sqrt(squares);
  for (int32_t j = 0; j < n && length > 0; j++) row[j] = (float)((double)row[j] / length);
}

static llmc_status check(llmc_session *s, const llmc_embed_options *o) {
  if (!s->plan->encoder) return llmc_fail(&s->error, LLMC_ERR_ARG, "the model generates text and has no embeddings: llmc_generate() runs it");
  if (!o->tokens || !o->n_tokens) return llmc_fail(&s->error, LLMC_ERR_ARG, "no tokens: an embedding needs at least one");
  if (o->pooling < LLMC_POOLING_DEFAULT || o->pooling > LLMC_POOLING_LAST)
    return llmc_fail(&s->error, LLMC_ERR_ARG, "pooling %d: no such kind", (int)o->pooling);
  int32_t most = s->context < s->plan->max_step_tokens ? s->context : s->plan->max_step_tokens;
  if (o->n_tokens > (size_t)most)
    return llmc_fail(&s->error, LLMC_ERR_CONTEXT, "a text of %zu tokens: the model reads at most %d at once", o->n_tokens, most);
  return LLMC_OK;
}

/* One step over the whole text, in a sequence of its own; the rows that the pooling needs stay in the session. */
static llmc_status step(llmc_session *s, const llmc_embed_options *o, llmc_pooling pooling) {
  int32_t sequence, n = (int32_t)o->n_tokens, first, count;
  llmc_status status = llmc_rt_sequence_open(s, &sequence);
  if (status) return status;
  rows_of(pooling, n, &first, &count);
  llmc_batch batch = {.struct_size = sizeof batch, .tokens = o->tokens, .sequences = &sequence, .counts = &n, .n_sequences = 1,
                      .n_rows = count == n ? -1 : 1, .rows = &first, .segments = o->segments};
  status = llmc_rt_session_step(s, &batch);
  llmc_rt_sequence_close(s, sequence);
  return status;
}

llmc_status llmc_rt_embed(llmc_session *s, const llmc_embed_options *given, float *out, size_t capacity, size_t *size) {
  llmc_embed_options o = {.struct_size = sizeof o};
  if (!given || !llmc_struct_read(&o, sizeof o, given) || !size || (!out && capacity))
    return llmc_fail(&s->error, LLMC_ERR_ARG, "embed: a NULL argument, wrong struct_size, or an option this version does not know");
  llmc_status status = check(s, &o);
  if (status) return status;
  llmc_pooling pooling = o.pooling ? o.pooling : (llmc_pooling)s->plan->pooling;
  int32_t first, count, width = s->plan->row_floats;
  rows_of(pooling, (int32_t)o.n_tokens, &first, &count);
  int32_t rows = pooling == LLMC_POOLING_NONE ? count : 1;
  *size = (size_t)rows * (size_t)width;
  if (*size > capacity) return llmc_fail(&s->error, LLMC_ERR_SPACE, "room for %zu floats, %zu are needed", capacity, *size);
  if ((status = step(s, &o, pooling))) return status;
  if (pooling == LLMC_POOLING_MEAN) mean(s, count, out);
  else
    for (int32_t i = 0; i < rows; i++) memcpy(out + (size_t)i * (size_t)width, llmc_rt_session_logits(s, i), (size_t)width * sizeof *out);
  bool unit = o.normalize ? o.normalize > 0 : pooling != LLMC_POOLING_NONE && s->plan->normalize;
  for (int32_t i = 0; unit && i < rows; i++) normalize(out + (size_t)i * (size_t)width, width);
  return LLMC_OK;
}
