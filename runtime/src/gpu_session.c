/* A session on a device: working memory, cache pages, and the queue its steps go to. */
#include <string.h>

#include "gpu_state.h"
#include "memory.h"

/* A step's numbers travel in one copy: tokens, positions, sequence of each token, rows, then the page tables of each group. */
enum { ARRAYS = 4 };

struct llmc_gpu_queue {
  llmc_gpu *gpu;
  void *stream;
  int code; /* of the first call that failed in this step */
};

struct llmc_gpu_session {
  llmc_gpu *gpu;
  llmc_gpu_needs needs;
  struct llmc_gpu_queue queue;
  llmc_address arena;
  llmc_address numbers; /* i32, the device's copy of `staged` */
  int32_t *staged; /* pinned */
  llmc_address logits;
  int32_t logits_rows;
  llmc_address *pools; /* [n_cache_groups] */
  llmc_address *tables; /* [n_cache_groups] */
};

static uint64_t numbers_bytes(const llmc_gpu_needs *n) {
  uint64_t tables = (uint64_t)n->n_cache_groups * (uint64_t)n->max_sequences * (uint64_t)n->table_stride;
  return (ARRAYS * (uint64_t)n->max_tokens + tables) * sizeof(int32_t);
}

static int fail_once(struct llmc_gpu_queue *q, int code) {
  if (!q->code) q->code = code;
  return q->code;
}

void llmc_gpu_launch(struct llmc_gpu_queue *q, int32_t kernel, llmc_grid grid, void **arguments) {
  llmc_gpu *gpu = q->gpu;
  if (q->code || !grid.x || !grid.y || !grid.z) return;
  fail_once(q, gpu->driver->launch(gpu->device, gpu->functions[kernel], grid, arguments, q->stream));
}

static llmc_status make_room(llmc_gpu_session *s, llmc_error *error) {
  llmc_gpu *gpu = s->gpu;
  size_t groups = (size_t)s->needs.n_cache_groups;
  void *staged = NULL;
  s->pools = llmc_alloc_zeroed(&gpu->allocator, groups, sizeof *s->pools);
  s->tables = llmc_alloc_zeroed(&gpu->allocator, groups, sizeof *s->tables);
  if (!s->pools || !s->tables) return llmc_fail(error, LLMC_ERR_NOMEM, "no memory for the session");
  int code = gpu->driver->open_stream(gpu->device, &s->queue.stream);
  if (!code) code = gpu->driver->alloc_host(gpu->device, numbers_bytes(&s->needs), &staged);
  s->staged = staged;
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
  if (!d->enter(gpu->device)) {
    if (s->queue.stream) d->wait(gpu->device, s->queue.stream);
    for (int32_t g = 0; s->pools && g < s->needs.n_cache_groups; g++) d->release(gpu->device, s->pools[g]);
    d->release(gpu->device, s->logits);
    d->release(gpu->device, s->numbers);
    d->release(gpu->device, s->arena);
    d->release_host(gpu->device, s->staged);
    d->close_stream(gpu->device, s->queue.stream);
  }
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
    gpu->driver->release(gpu->device, pool);
    return llmc_gpu_fail(gpu, code, error, "moving cache pages");
  }
  gpu->driver->release(gpu->device, s->pools[group]);
  s->pools[group] = pool;
  return LLMC_OK;
}

void llmc_gpu_zero_page(llmc_gpu_session *s, int32_t group, uint64_t page_bytes, int32_t page) {
  llmc_gpu *gpu = s->gpu;
  int code = gpu->driver->enter(gpu->device);
  if (!code) code = gpu->driver->zero(gpu->device, s->pools[group] + (uint64_t)page * page_bytes, page_bytes, s->queue.stream);
  fail_once(&s->queue, code);
}

static llmc_status reserve_logits(llmc_gpu_session *s, int32_t rows, llmc_error *error) {
  llmc_gpu *gpu = s->gpu;
  if (rows <= s->logits_rows) return LLMC_OK;
  gpu->driver->release(gpu->device, s->logits); /* nothing is queued: a step ends by waiting */
  s->logits = 0;
  s->logits_rows = 0;
  uint64_t bytes = (uint64_t)rows * (uint64_t)s->needs.row_stride * sizeof(float);
  llmc_status status = llmc_gpu_alloc(gpu, "logits", bytes, &s->logits, error);
  if (!status) s->logits_rows = rows;
  return status;
}

/* Lays a step's numbers out in `staged`; returns how many there are. */
static size_t stage(llmc_gpu_session *s, const llmc_gpu_batch *b, llmc_gpu_step *step) {
  size_t at = 0, n = (size_t)b->n_tokens, stride = (size_t)s->needs.table_stride;
  const int32_t *const arrays[] = {b->tokens, b->positions, b->rows};
  llmc_address *const places[] = {&step->tokens, &step->positions, &step->rows};
  const size_t counts[] = {n, n, (size_t)b->n_rows};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    *places[i] = s->numbers + at * sizeof(int32_t);
    if (counts[i]) memcpy(s->staged + at, arrays[i], counts[i] * sizeof(int32_t));
    at += counts[i];
  }
  step->sequence = s->numbers + at * sizeof(int32_t);
  for (int32_t i = 0; i < b->n_seqs; i++)
    for (int32_t t = b->starts[i]; t < b->starts[i + 1]; t++) s->staged[at++] = i;
  for (int32_t g = 0; g < s->needs.n_cache_groups; g++) {
    s->tables[g] = s->numbers + at * sizeof(int32_t);
    memcpy(s->staged + at, b->caches[g].tables, (size_t)b->n_seqs * stride * sizeof(int32_t));
    at += (size_t)b->n_seqs * stride;
  }
  return at;
}

llmc_status llmc_gpu_run(llmc_gpu_session *s, const llmc_gpu_batch *b, llmc_error *error) {
  llmc_gpu *gpu = s->gpu;
  const llmc_driver *d = gpu->driver;
  struct llmc_gpu_queue *q = &s->queue;
  if (fail_once(q, d->enter(gpu->device))) goto fail;
  llmc_status status = reserve_logits(s, b->n_rows, error);
  if (status) return status;
  llmc_gpu_step step = {.queue = q, .n_tokens = b->n_tokens, .n_rows = b->n_rows, .context = b->context, .length = b->length,
                        .table_stride = s->needs.table_stride, .processors = d->processors(gpu->device), .logits = s->logits,
                        .arena = s->arena, .weights = gpu->weights, .constants = gpu->constants, .pools = s->pools, .tables = s->tables};
  size_t numbers = stage(s, b, &step);
  fail_once(q, d->upload(gpu->device, s->numbers, s->staged, numbers * sizeof(int32_t), q->stream));
  if (!q->code) gpu->plan->step(&step);
  uint64_t bytes = (uint64_t)b->n_rows * (uint64_t)s->needs.row_stride * sizeof(float);
  if (!q->code && bytes) fail_once(q, d->download(gpu->device, b->logits, s->logits, bytes, q->stream));
  int waited = d->wait(gpu->device, q->stream);
  if (!fail_once(q, waited)) return LLMC_OK;
fail:;
  int code = q->code;
  q->code = 0;
  return llmc_gpu_fail(gpu, code, error, "a step");
}
