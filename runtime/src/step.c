/* Steps: everything about a batch is checked here, because the plan trusts it. */
#include <string.h>

#include "memory.h"
#include "sampler.h"
#include "session.h"

enum { LOGITS_ALIGN = 64 };
enum { SHARED_BYTES = 32768 }; /* of weights between two barriers, from which on two workers are faster than one: 2 us each */
enum { TOKENS_PER_READ = 8 }; /* whose arithmetic takes as long as reading the weights */

#define REFUSE(...) return llmc_fail(&s->error, LLMC_ERR_ARG, __VA_ARGS__)

static llmc_status check_sequence(llmc_session *s, int32_t sequence, int32_t count) {
  llmc_sequence *q = llmc_session_sequence(s, sequence);
  if (!q) return LLMC_ERR_ARG;
  if (s->plan->encoder && q->length) REFUSE("sequence %d holds tokens: an encoder reads a whole text in one step", sequence);
  if (q->in_batch) REFUSE("sequence %d is in the batch twice", sequence);
  q->in_batch = true;
  if (count < 1) REFUSE("sequence %d: %d tokens", sequence, count);
  if (count > s->context - q->length)
    return llmc_fail(&s->error, LLMC_ERR_CONTEXT, "sequence %d holds %d tokens: %d more exceed the context of %d", sequence, q->length,
                     count, s->context);
  return LLMC_OK;
}

/* n_tokens: of the batch. */
static llmc_status check_sequences(llmc_session *s, const llmc_batch *b, int64_t *n_tokens) {
  llmc_status status = LLMC_OK;
  int32_t seen = 0;
  for (; seen < b->n_sequences && !status; seen++) {
    status = check_sequence(s, b->sequences[seen], b->counts[seen]);
    *n_tokens += b->counts[seen];
  }
  for (int32_t i = 0; i < seen; i++)
    if (b->sequences[i] >= 0 && b->sequences[i] < s->max_sequences) s->sequences[b->sequences[i]].in_batch = false;
  return status;
}

static llmc_status check_tokens(llmc_session *s, const int32_t *tokens, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (tokens[i] < 0 || tokens[i] >= s->plan->vocab)
      REFUSE("token %zu is %d: ids go from 0 to %d", i, tokens[i], s->plan->vocab - 1);
  return LLMC_OK;
}

static llmc_status check_segments(llmc_session *s, const int32_t *segments, int32_t n) {
  for (int32_t i = 0; segments && i < n; i++)
    if (segments[i] < 0 || segments[i] >= s->plan->segments)
      REFUSE("segment %d of token %d: the model knows %d", segments[i], i, s->plan->segments);
  return LLMC_OK;
}

static llmc_status check_rows(llmc_session *s, const llmc_batch *b, int32_t n_tokens) {
  if (b->n_rows < -1 || b->n_rows > n_tokens) REFUSE("%d rows of %d tokens", b->n_rows, n_tokens);
  if (b->n_rows > 0 && !b->rows) REFUSE("rows is NULL");
  for (int32_t i = 0; i < b->n_rows; i++)
    if (b->rows[i] < (i ? b->rows[i - 1] + 1 : 0) || b->rows[i] >= n_tokens)
      REFUSE("row %d is token %d: rows ascend, below %d", i, b->rows[i], n_tokens);
  return LLMC_OK;
}

/* Pages that a sequence takes from a group for `count` tokens, in steps: those before the window come back after each. */
static int64_t pages_needed(const llmc_session *s, int32_t g, int32_t sequence, int64_t count) {
  const llmc_cache_group *group = &s->plan->cache_groups[g];
  int32_t length = s->sequences[sequence].length, had = llmc_group_end(group, length), given = *llmc_session_kept(s, g, sequence);
  int64_t kept = given, most = 0;
  for (int64_t done = 0; done < count;) {
    done = count - done < s->step_tokens ? count : done + s->step_tokens;
    int32_t after = length + (int32_t)done;
    int64_t taken = llmc_group_end(group, after) - had - (kept - given);
    if (taken > most) most = taken;
    if (llmc_group_kept(group, after) > kept) kept = llmc_group_kept(group, after);
  }
  return most;
}

static llmc_status reserve_pages(llmc_session *s, const int32_t *sequences, const int32_t *counts, int32_t n_sequences) {
  for (int32_t g = 0; g < s->plan->n_cache_groups; g++) {
    int64_t n = 0;
    for (int32_t i = 0; i < n_sequences; i++) n += pages_needed(s, g, sequences[i], counts[i]);
    llmc_status status = llmc_pages_reserve(&s->pages[g], n, &s->error);
    if (status == LLMC_ERR_FULL)
      return llmc_fail(&s->error, status, "%lld more cache pages needed: the session has %d", (long long)n, s->pages[g].limit);
    if (status == LLMC_ERR_DEVICE) return status;
    if (status) return llmc_fail(&s->error, status, "no memory for %lld cache pages", (long long)n);
  }
  return LLMC_OK;
}

static llmc_status reserve_logits(llmc_session *s, int32_t n_rows) {
  int32_t rows = llmc_padded_rows(n_rows);
  if (s->gpu || rows <= s->logits_rows) return LLMC_OK;
  float *logits = llmc_alloc(&s->allocator, (size_t)rows * (size_t)s->plan->row_stride, sizeof *logits, LOGITS_ALIGN);
  if (!logits) return llmc_fail(&s->error, LLMC_ERR_NOMEM, "no memory for %d rows of logits", rows);
  llmc_free(&s->allocator, s->logits);
  s->logits = logits;
  s->logits_rows = rows;
  return LLMC_OK;
}

/* Appends sequence i of the batch: positions, and pages where the old ones end. */
static void place(llmc_session *s, int32_t i, int32_t sequence, int32_t count) {
  llmc_sequence *q = &s->sequences[sequence];
  int32_t start = s->starts[i];
  for (int32_t t = 0; t < count; t++) s->positions[start + t] = q->length + t;
  for (int32_t g = 0; g < s->plan->n_cache_groups; g++) {
    const llmc_cache_group *group = &s->plan->cache_groups[g];
    int32_t *table = llmc_session_table(s, g, sequence), end = llmc_group_end(group, q->length + count);
    for (int32_t p = llmc_group_end(group, q->length); p < end; p++) table[p] = llmc_pages_take(&s->pages[g]);
    int32_t *row = (int32_t *)(uintptr_t)s->caches[g].tables + (size_t)i * (size_t)s->table_stride;
    int32_t kept = *llmc_session_kept(s, g, sequence);
    for (int32_t p = 0; p < kept; p++) row[p] = table[kept];
    memcpy(row + kept, table + kept, (size_t)(end - kept) * sizeof *table);
    s->caches[g].pool = s->pages[g].pool;
  }
  q->length += count;
  s->starts[i + 1] = start + count;
}

/* Gives back the pages that no later token of the sequence sees. */
static void retire(llmc_session *s, int32_t sequence) {
  for (int32_t g = 0; g < s->plan->n_cache_groups; g++) {
    const int32_t *table = llmc_session_table(s, g, sequence);
    int32_t *kept = llmc_session_kept(s, g, sequence), now = llmc_group_kept(&s->plan->cache_groups[g], s->sequences[sequence].length);
    for (; *kept < now; ++*kept) llmc_pages_give(&s->pages[g], table[*kept]);
  }
}

/* Copies n values and zeroes the rows that kernels touch beyond them. */
static void fill(int32_t *dst, const int32_t *src, int32_t n) {
  for (int32_t i = 0; i < n; i++) dst[i] = src ? src[i] : i;
  for (int32_t i = n; i < llmc_padded_rows(n); i++) dst[i] = 0;
}

typedef struct job {
  const llmc_step *step;
  void (*run)(const llmc_step *, llmc_worker *);
} job;

static void run_job(void *arg, llmc_worker *worker) {
  const job *j = arg;
  if (worker->trace) llmc_trace_begin(worker->trace);
  j->run(j->step, worker);
}

/* Waking the others and meeting them at barriers must cost less than it saves. A step of few tokens takes the time of reading the
** weights; of many, time in proportion to them. */
static bool worth_sharing(const llmc_plan *plan, int32_t n_tokens) {
  uint64_t work = plan->step_bytes * (uint64_t)(TOKENS_PER_READ + n_tokens) / TOKENS_PER_READ;
  return work >= (uint64_t)plan->syncs * SHARED_BYTES;
}

static llmc_status execute_on_gpu(llmc_session *s, int32_t n_tokens, int32_t n_seqs) {
  int32_t length = 0;
  for (int32_t t = 0; t < n_tokens; t++) length = s->positions[t] >= length ? s->positions[t] + 1 : length;
  llmc_gpu_batch batch = {.n_tokens = n_tokens, .n_seqs = n_seqs, .n_rows = s->n_rows, .context = s->context, .length = length,
                          .tokens = s->tokens, .segments = s->segments, .positions = s->positions, .starts = s->starts, .rows = s->rows,
                          .caches = s->caches};
  return s->model->gpu_runtime->step(s->gpu, &batch, &s->error);
}

/* Rows that stay on the GPU are copied when they are asked for. A step without rows is waited for with the next one that has some. */
static llmc_status fetch(llmc_session *s, bool stay) {
  const float *logits;
  return s->gpu && s->n_rows && !stay ? s->model->gpu_runtime->logits(s->gpu, &logits, &s->error) : LLMC_OK;
}

static llmc_status execute(llmc_session *s, int32_t n_tokens, int32_t n_seqs) {
  if (s->gpu) return execute_on_gpu(s, n_tokens, n_seqs);
  llmc_step step = {.n_tokens = n_tokens,
                    .n_seqs = n_seqs,
                    .n_rows = s->n_rows,
                    .context = s->context,
                    .tokens = s->tokens,
                    .segments = s->segments,
                    .positions = s->positions,
                    .sequence_start = s->starts,
                    .rows = s->rows,
                    .caches = s->caches,
                    .logits = s->logits,
                    .arena = s->arena,
                    .weights = s->model->weights.data,
                    .kernels = s->model->isa->kernels};
  job j = {&step, s->plan->step};
  llmc_pool_run(s->pool, run_job, &j, worth_sharing(s->plan, n_tokens));
  return LLMC_OK;
}

llmc_status llmc_rt_session_step(llmc_session *s, const llmc_batch *given) {
  llmc_batch b = {.struct_size = sizeof b};
  int64_t n_tokens = 0;
  if (!given || !llmc_struct_read(&b, sizeof b, given)) REFUSE("batch: NULL, wrong struct_size, or a field this version does not know");
  if (!b.tokens || !b.sequences || !b.counts) REFUSE("batch: a NULL array");
  if (b.n_sequences < 1 || b.n_sequences > s->step_tokens) REFUSE("batch: %d sequences", b.n_sequences);
  llmc_status status = check_sequences(s, &b, &n_tokens);
  if (status) return status;
  if (n_tokens > s->step_tokens)
    REFUSE("batch: %lld tokens, a step takes %d", (long long)n_tokens, s->step_tokens);
  int32_t n = (int32_t)n_tokens, n_rows = b.n_rows < 0 ? n : b.n_rows;
  if ((status = check_tokens(s, b.tokens, (size_t)n)) || (status = check_rows(s, &b, n)) ||
      (status = check_segments(s, b.segments, n)) ||
      (status = reserve_pages(s, b.sequences, b.counts, b.n_sequences)) || (status = reserve_logits(s, n_rows)))
    return status;
  s->n_rows = n_rows;
  fill(s->tokens, b.tokens, n);
  if (b.segments) fill(s->segments, b.segments, n);
  else memset(s->segments, 0, (size_t)llmc_padded_rows(n) * sizeof *s->segments);
  fill(s->rows, b.n_rows < 0 ? NULL : b.rows, n_rows);
  for (int32_t i = 0; i < b.n_sequences; i++) place(s, i, b.sequences[i], b.counts[i]);
  for (int32_t i = n; i < llmc_padded_rows(n); i++) s->positions[i] = 0;
  status = execute(s, n, b.n_sequences);
  for (int32_t i = 0; i < b.n_sequences; i++) retire(s, b.sequences[i]);
  if (!status) status = fetch(s, b.on_device);
  if (status) s->n_rows = 0;
  return status;
}

/* Refuses all of the tokens or none, and gets all memory at once: after this no step fails. */
static llmc_status check_prefill(llmc_session *s, int32_t sequence, const int32_t *tokens, size_t count) {
  llmc_sequence *q = llmc_session_sequence(s, sequence);
  if (!q) return LLMC_ERR_ARG;
  if (s->plan->embeds) REFUSE("the model gives embeddings: llmc_embed() runs it");
  if (!tokens || !count) REFUSE("no tokens");
  if (count > (size_t)(s->context - q->length))
    return llmc_fail(&s->error, LLMC_ERR_CONTEXT, "sequence %d holds %d tokens: %zu more exceed the context of %d", sequence, q->length,
                     count, s->context);
  llmc_status status = check_tokens(s, tokens, count);
  int32_t all = (int32_t)count;
  if (!status) status = reserve_pages(s, &sequence, &all, 1);
  return status ? status : reserve_logits(s, 1);
}

static llmc_status append(llmc_session *s, int32_t sequence, const int32_t *tokens, size_t count, bool on_device) {
  llmc_status status = check_prefill(s, sequence, tokens, count);
  for (size_t done = 0, n; done < count && !status; done += n) {
    if (llmc_session_take_cancel(s)) return llmc_fail(&s->error, LLMC_ERR_CANCELLED, "cancelled after %zu of %zu tokens", done, count);
    n = count - done < (size_t)s->step_tokens ? count - done : (size_t)s->step_tokens;
    int32_t length = (int32_t)n, last = length - 1;
    llmc_batch batch = {.struct_size = sizeof batch, .tokens = tokens + done, .sequences = &sequence, .counts = &length, .n_sequences = 1,
                        .n_rows = done + n == count, .rows = &last, .on_device = on_device};
    status = llmc_rt_session_step(s, &batch);
  }
  return status;
}

llmc_status llmc_rt_session_prefill(llmc_session *s, int32_t sequence, const int32_t *tokens, size_t count) {
  return append(s, sequence, tokens, count, false);
}

llmc_status llmc_session_append(llmc_session *s, int32_t sequence, const int32_t *tokens, size_t count) {
  return append(s, sequence, tokens, count, true);
}

llmc_status llmc_session_finish(llmc_session *s) { return s->gpu ? s->model->gpu_runtime->finish(s->gpu, &s->error) : LLMC_OK; }

const float *llmc_rt_session_logits(const llmc_session *s, int32_t row) {
  const float *logits = s->logits;
  if (row < 0 || row >= s->n_rows) return NULL;
  if (s->gpu && s->model->gpu_runtime->logits(s->gpu, &logits, NULL)) return NULL;
  return logits + (size_t)row * (size_t)s->plan->row_stride;
}

llmc_status llmc_rt_session_sample(llmc_session *s, int32_t row, llmc_sampler *sampler, int32_t *token) {
  if (row < 0 || row >= s->n_rows) REFUSE("row %d: the last step gave %d", row, s->n_rows);
  if (!token || !llmc_sampler_fits(sampler, s->model)) REFUSE("sampling: no sampler of this model, or no place for the token");
  int32_t n = s->gpu ? llmc_sampler_needs(sampler) : 0;
  if (n) {
    const float *scores;
    const int32_t *ids;
    llmc_status status = s->model->gpu_runtime->best(s->gpu, n, &scores, &ids, &s->error);
    return status ? status : llmc_sample_best(sampler, scores + (size_t)row * (size_t)n, ids + (size_t)row * (size_t)n, n, token);
  }
  const float *logits = s->logits;
  llmc_status status = s->gpu ? s->model->gpu_runtime->logits(s->gpu, &logits, &s->error) : LLMC_OK;
  return status ? status : llmc_rt_sample(sampler, logits + (size_t)row * (size_t)s->plan->row_stride, token);
}
