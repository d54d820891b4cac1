/* A session on a device: working memory, cache pages, and the queue its steps go to. */
#include "gpu_session.h"

#include <string.h>

#include "memory.h"

/* A step's numbers travel in one copy: tokens, positions, segments, rows, sequence of each token, first token of each sequence, then
** the page tables of each group. */
enum { ARRAYS = 5 };
enum { RECORDED_TOKENS = 64 }; /* of the largest step worth recording: a larger one keeps the device busier than its launches the host */

static uint64_t numbers_bytes(const llmc_gpu_needs *n) {
  uint64_t tables = (uint64_t)n->n_cache_groups * (uint64_t)n->max_sequences * (uint64_t)n->table_stride;
  return (ARRAYS * (uint64_t)n->max_tokens + (uint64_t)n->max_sequences + 1 + tables) * sizeof(int32_t);
}

int llmc_gpu_fail_once(struct llmc_gpu_queue *q, int code) {
  if (!q->code) q->code = code;
  return q->code;
}

llmc_status llmc_gpu_report(llmc_gpu_session *s, llmc_error *error, const char *what) {
  int code = s->queue.code;
  s->queue.code = 0;
  return code ? llmc_gpu_fail(s->gpu, code, error, what) : LLMC_OK;
}

void llmc_gpu_weights(struct llmc_gpu_queue *q, uint64_t end) {
  if (!q->code) llmc_gpu_fail_once(q, llmc_gpu_upload_wait(q->gpu->upload, end, q->stream, &q->waited));
}

void llmc_gpu_launch(struct llmc_gpu_queue *q, int32_t kernel, llmc_grid grid, void **arguments) {
  llmc_gpu *gpu = q->gpu;
  if (q->code || !grid.x || !grid.y || !grid.z) return;
  llmc_gpu_fail_once(q, gpu->driver->launch(gpu->device, gpu->functions[kernel], grid, arguments, q->stream));
}

static llmc_status make_room(llmc_gpu_session *s, llmc_error *error) {
  llmc_gpu *gpu = s->gpu;
  size_t groups = (size_t)s->needs.n_cache_groups;
  s->pools = llmc_alloc_zeroed(&gpu->allocator, groups, sizeof *s->pools);
  s->tables = llmc_alloc_zeroed(&gpu->allocator, groups, sizeof *s->tables);
  if (!s->pools || !s->tables) return llmc_fail(error, LLMC_ERR_NOMEM, "no memory for the session");
  int code = gpu->driver->open_stream(gpu->device, &s->queue.stream);
  for (int i = 0; i < LLMC_GPU_SLOTS && !code; i++) {
    void *staged = NULL;
    code = gpu->driver->alloc_host(gpu->device, numbers_bytes(&s->needs), &staged);
    s->staged[i] = staged;
    if (!code) code = gpu->driver->open_event(gpu->device, &s->sent[i]);
  }
  if (code) return llmc_gpu_fail(gpu, code, error, "opening a session");
  llmc_status status = llmc_gpu_alloc(gpu, "a step's values", gpu->plan->arena_bytes, &s->arena, error);
  return status ? status : llmc_gpu_alloc(gpu, "a step's numbers", numbers_bytes(&s->needs), &s->numbers, error);
}

llmc_status llmc_gpu_session_open(llmc_gpu *gpu, const llmc_gpu_needs *needs, llmc_gpu_session **out, llmc_error *error) {
  llmc_gpu_session *s = llmc_alloc_zeroed(&gpu->allocator, 1, sizeof *s);
  *out = NULL;
  if (!s) return llmc_fail(error, LLMC_ERR_NOMEM, "no memory for the session");
  s->gpu = gpu;
  s->needs = *needs;
  s->queue.gpu = gpu;
  int code = gpu->driver->enter(gpu->device);
  llmc_status status = code ? llmc_gpu_fail(gpu, code, error, "opening a session") : make_room(s, error);
  if (status) llmc_gpu_session_close(s);
  else *out = s;
  return status;
}

void llmc_gpu_session_close(llmc_gpu_session *s) {
  if (!s) return;
  llmc_gpu *gpu = s->gpu;
  const llmc_driver *d = gpu->driver;
  const llmc_address blocks[] = {s->picks, s->logits, s->numbers, s->arena};
  d->enter(gpu->device);
  if (s->queue.stream) d->wait(gpu->device, s->queue.stream);
  llmc_gpu_graphs_clear(&s->graphs, d, gpu->device);
  for (int32_t g = 0; s->pools && g < s->needs.n_cache_groups; g++) llmc_gpu_memory_give(gpu->memory, s->pools[g]);
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) llmc_gpu_memory_give(gpu->memory, blocks[i]);
  for (int i = 0; i < LLMC_GPU_SLOTS; i++) {
    d->close_event(gpu->device, s->sent[i]);
    d->release_host(gpu->device, s->staged[i]);
  }
  d->release_host(gpu->device, s->host_logits.data);
  d->release_host(gpu->device, s->host_picks.data);
  d->close_stream(gpu->device, s->queue.stream);
  llmc_free(&gpu->allocator, s->pools);
  llmc_free(&gpu->allocator, s->tables);
  llmc_free(&gpu->allocator, s);
}

llmc_status llmc_gpu_reserve(llmc_gpu_session *s, int32_t group, uint64_t page_bytes, int64_t kept, int64_t capacity, llmc_error *error) {
  llmc_gpu *gpu = s->gpu;
  llmc_address pool = 0;
  int code = gpu->driver->enter(gpu->device);
  if (code) return llmc_gpu_fail(gpu, code, error, "making room for cache pages");
  llmc_status status = llmc_gpu_alloc(gpu, "cache pages", (uint64_t)capacity * page_bytes, &pool, error);
  if (status) return status;
  if (kept) code = gpu->driver->copy(gpu->device, pool, s->pools[group], (uint64_t)kept * page_bytes, s->queue.stream);
  if (!code) code = gpu->driver->wait(gpu->device, s->queue.stream); /* the old pages are read until then */
  if (code) {
    llmc_gpu_memory_give(gpu->memory, pool);
    return llmc_gpu_fail(gpu, code, error, "moving cache pages");
  }
  llmc_gpu_graphs_clear(&s->graphs, gpu->driver, gpu->device);
  llmc_gpu_memory_give(gpu->memory, s->pools[group]);
  s->pools[group] = pool;
  return LLMC_OK;
}

void llmc_gpu_zero_page(llmc_gpu_session *s, int32_t group, uint64_t page_bytes, int32_t page) {
  llmc_gpu *gpu = s->gpu;
  int code = gpu->driver->enter(gpu->device);
  if (!code) code = gpu->driver->zero(gpu->device, s->pools[group] + (uint64_t)page * page_bytes, page_bytes, s->queue.stream);
  llmc_gpu_fail_once(&s->queue, code);
}

static llmc_status reserve_logits(llmc_gpu_session *s, int32_t rows, llmc_error *error) {
  llmc_gpu *gpu = s->gpu;
  if (rows <= s->logits_rows) return LLMC_OK;
  int code = gpu->driver->wait(gpu->device, s->queue.stream);
  if (code) return llmc_gpu_fail(gpu, code, error, "a step");
  llmc_gpu_graphs_clear(&s->graphs, gpu->driver, gpu->device);
  llmc_gpu_memory_give(gpu->memory, s->logits);
  s->logits = 0;
  s->logits_rows = 0;
  uint64_t bytes = (uint64_t)rows * (uint64_t)s->needs.row_stride * sizeof(float);
  llmc_status status = llmc_gpu_alloc(gpu, "logits", bytes, &s->logits, error);
  if (!status) s->logits_rows = rows;
  return status;
}

/* Lays a step's numbers out in `staged`; returns how many there are. */
static size_t stage(llmc_gpu_session *s, const llmc_gpu_batch *b, int32_t *staged, llmc_gpu_step *step) {
  size_t at = 0, n = (size_t)b->n_tokens, stride = (size_t)s->needs.table_stride;
  const int32_t *const arrays[] = {b->tokens, b->positions, b->segments, b->rows};
  llmc_address *const places[] = {&step->tokens, &step->positions, &step->segments, &step->rows};
  const size_t counts[] = {n, n, n, (size_t)b->n_rows};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    *places[i] = s->numbers + at * sizeof(int32_t);
    if (counts[i]) memcpy(staged + at, arrays[i], counts[i] * sizeof(int32_t));
    at += counts[i];
  }
  step->sequence = s->numbers + at * sizeof(int32_t);
  for (int32_t i = 0; i < b->n_seqs; i++)
    for (int32_t t = b->starts[i]; t < b->starts[i + 1]; t++) staged[at++] = i;
  step->starts = s->numbers + at * sizeof(int32_t);
  memcpy(staged + at, b->starts, ((size_t)b->n_seqs + 1) * sizeof(int32_t));
  at += (size_t)b->n_seqs + 1;
  for (int32_t g = 0; g < s->needs.n_cache_groups; g++) {
    s->tables[g] = s->numbers + at * sizeof(int32_t);
    memcpy(staged + at, b->caches[g].tables, (size_t)b->n_seqs * stride * sizeof(int32_t));
    at += (size_t)b->n_seqs * stride;
  }
  return at;
}

/* Puts the numbers on their way. They are staged in turns: the host goes on while those of the step before still travel. */
static void send(llmc_gpu_session *s, const llmc_gpu_batch *b, llmc_gpu_step *step) {
  llmc_gpu *gpu = s->gpu;
  const llmc_driver *d = gpu->driver;
  struct llmc_gpu_queue *q = &s->queue;
  int32_t slot = s->slot;
  s->slot = (slot + 1) % LLMC_GPU_SLOTS;
  if (llmc_gpu_fail_once(q, d->wait_event(gpu->device, s->sent[slot]))) return;
  size_t numbers = stage(s, b, s->staged[slot], step);
  llmc_gpu_fail_once(q, d->upload(gpu->device, s->numbers, s->staged[slot], numbers * sizeof(int32_t), q->stream));
  if (!q->code) llmc_gpu_fail_once(q, d->mark(gpu->device, s->sent[slot], q->stream));
}

/* Launches of a step into a graph. What fails inside shows at its end. */
static void record(llmc_gpu_session *s, const llmc_gpu_step *step, void **recorded) {
  llmc_gpu *gpu = s->gpu;
  struct llmc_gpu_queue *q = &s->queue;
  if (llmc_gpu_fail_once(q, gpu->driver->begin_recording(gpu->device, q->stream))) return;
  gpu->plan->step(step);
  llmc_gpu_fail_once(q, gpu->driver->end_recording(gpu->device, q->stream, recorded));
}

/* Recorded is what decodes, one token a sequence, once all weights are there: a recording must not wait for their events. */
static void launch(llmc_gpu_session *s, const llmc_gpu_batch *b, const llmc_gpu_step *step) {
  llmc_gpu *gpu = s->gpu;
  struct llmc_gpu_queue *q = &s->queue;
  llmc_gpu_graph *graph = NULL;
  if (!s->needs.eager && b->n_tokens <= RECORDED_TOKENS && b->n_tokens == b->n_seqs && llmc_gpu_upload_finished(gpu->upload)) {
    int code;
    llmc_gpu_shape shape = {b->n_tokens, b->n_seqs, b->n_rows, step->length};
    graph = llmc_gpu_graphs_find(&s->graphs, shape, gpu->driver, gpu->device, q->stream, &code);
    if (llmc_gpu_fail_once(q, code)) return;
  }
  if (!graph) {
    gpu->plan->step(step);
    return;
  }
  if (!graph->recorded) record(s, step, &graph->recorded);
  if (!q->code) llmc_gpu_fail_once(q, gpu->driver->replay(gpu->device, graph->recorded, q->stream));
}

/* The longest sequence in pages that are a power of two: one number, and so one recording, serves many lengths. */
static int32_t bucket(int32_t length) {
  int64_t tokens = LLMC_PAGE_TOKENS;
  while (tokens < length) tokens *= 2;
  return tokens > INT32_MAX ? INT32_MAX : (int32_t)tokens;
}

llmc_status llmc_gpu_run(llmc_gpu_session *s, const llmc_gpu_batch *b, llmc_error *error) {
  llmc_gpu *gpu = s->gpu;
  struct llmc_gpu_queue *q = &s->queue;
  s->last.n_rows = 0; /* until it has succeeded there is nothing to ask about */
  if (llmc_gpu_fail_once(q, gpu->driver->enter(gpu->device))) return llmc_gpu_report(s, error, "a step");
  llmc_status status = reserve_logits(s, b->n_rows, error);
  if (status) return status;
  llmc_gpu_step step = {.queue = q, .n_tokens = b->n_tokens, .n_seqs = b->n_seqs, .n_rows = b->n_rows, .context = b->context,
                        .length = bucket(b->length), .table_stride = s->needs.table_stride,
                        .processors = gpu->driver->processors(gpu->device), .matrix_units = gpu->matrix_units,
                        .logits = s->logits,
                        .arena = s->arena, .weights = gpu->weights, .constants = gpu->constants, .pools = s->pools, .tables = s->tables};
  send(s, b, &step);
  if (!q->code) launch(s, b, &step);
  if (q->code) gpu->driver->wait(gpu->device, q->stream); /* nothing of the failed step is left in the queue */
  status = llmc_gpu_report(s, error, "a step");
  if (status) return status;
  s->last = step;
  s->fetched = false;
  return LLMC_OK;
}
