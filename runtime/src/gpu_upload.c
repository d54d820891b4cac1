#define _POSIX_C_SOURCE 200809L
#include "gpu_upload.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "cpu.h"
#include "memory.h"

/* One thread copies about 10 GB/s into pinned memory, and a device takes up to 50. Pieces of a small file are small, so that early
** layers still arrive before late ones. */
enum { MAX_THREADS = 4, BUFFERS = 2, PIECE_ALIGN = 64 << 10, MAX_PIECE = 8 << 20, PIECES = 64 };

struct llmc_gpu_upload {
  const llmc_driver *driver;
  llmc_device *device;
  llmc_allocator allocator;
  const uint8_t *from;
  llmc_address to;
  uint64_t size, piece; /* bytes */
  int32_t pieces;
  int32_t threads;
  pthread_t ids[MAX_THREADS];
  void **events; /* [pieces] */
  pthread_mutex_t lock;
  pthread_cond_t moved;
  /* under the lock */
  bool *queued; /* [pieces] */
  int32_t next; /* piece */
  int32_t running; /* threads */
  int code; /* of the first call that failed */
  bool stop;
  _Atomic bool finished;
};

static int32_t take(llmc_gpu_upload *u) {
  pthread_mutex_lock(&u->lock);
  int32_t i = u->stop || u->code || u->next == u->pieces ? -1 : u->next++;
  pthread_mutex_unlock(&u->lock);
  return i;
}

static void tell(llmc_gpu_upload *u, int32_t piece, int code) {
  pthread_mutex_lock(&u->lock);
  if (code && !u->code) u->code = code;
  if (!code && piece >= 0) u->queued[piece] = true;
  pthread_cond_broadcast(&u->moved);
  pthread_mutex_unlock(&u->lock);
}

/* Queues piece i from `buffer`, whose last contents have left once `*used` has happened. */
static int send(llmc_gpu_upload *u, int32_t i, void *buffer, void **used, void *stream) {
  const llmc_driver *d = u->driver;
  uint64_t at = (uint64_t)i * u->piece, n = u->size - at < u->piece ? u->size - at : u->piece;
  int code = *used ? d->wait_event(u->device, *used) : 0;
  if (code) return code;
  memcpy(buffer, u->from + at, n);
  code = d->open_event(u->device, &u->events[i]);
  if (!code) code = d->upload(u->device, u->to + at, buffer, n, stream);
  if (!code) code = d->mark(u->device, u->events[i], stream);
  *used = u->events[i];
  return code;
}

static int copy_pieces(llmc_gpu_upload *u) {
  void *buffers[BUFFERS] = {NULL}, *used[BUFFERS] = {NULL}, *stream = NULL;
  const llmc_driver *d = u->driver;
  int code = d->enter(u->device);
  if (code) return code;
  code = d->open_stream(u->device, &stream);
  for (int i = 0; i < BUFFERS && !code; i++) code = d->alloc_host(u->device, u->piece, &buffers[i]);
  int32_t piece;
  for (int i = 0; !code && (piece = take(u)) >= 0; i = (i + 1) % BUFFERS) {
    code = send(u, piece, buffers[i], &used[i], stream);
    tell(u, piece, code);
  }
  if (stream) {
    int waited = d->wait(u->device, stream);
    if (!code) code = waited;
    d->close_stream(u->device, stream);
  }
  for (int i = 0; i < BUFFERS; i++) d->release_host(u->device, buffers[i]);
  return code;
}

static void *work(void *arg) {
  llmc_gpu_upload *u = arg;
  int code = copy_pieces(u);
  pthread_mutex_lock(&u->lock);
  if (code && !u->code) u->code = code;
  if (!--u->running && !u->code && u->next == u->pieces) atomic_store(&u->finished, true);
  pthread_cond_broadcast(&u->moved);
  pthread_mutex_unlock(&u->lock);
  return NULL;
}

static void release(llmc_gpu_upload *u) {
  llmc_allocator a = u->allocator;
  pthread_mutex_destroy(&u->lock);
  pthread_cond_destroy(&u->moved);
  llmc_free(&a, u->events);
  llmc_free(&a, u->queued);
  llmc_free(&a, u);
}

static void start(llmc_gpu_upload *u) {
  int32_t cores = llmc_cpu_cores(), wanted = cores < MAX_THREADS ? cores : MAX_THREADS;
  if (wanted > u->pieces) wanted = u->pieces;
  pthread_mutex_lock(&u->lock);
  while (u->threads < wanted && !pthread_create(&u->ids[u->threads], NULL, work, u)) u->threads++;
  u->running = u->threads;
  pthread_mutex_unlock(&u->lock);
}

static uint64_t piece_bytes(uint64_t size) {
  uint64_t piece = (size / PIECES + PIECE_ALIGN) / PIECE_ALIGN * PIECE_ALIGN;
  return piece < MAX_PIECE ? piece : MAX_PIECE;
}

llmc_status llmc_gpu_upload_open(const llmc_driver *driver, llmc_device *device, const llmc_allocator *allocator, const llmc_map *file,
                                 llmc_address to, llmc_gpu_upload **out, llmc_error *error) {
  llmc_gpu_upload *u = llmc_alloc_zeroed(allocator, 1, sizeof *u);
  *out = NULL;
  if (!u) return llmc_fail(error, LLMC_ERR_NOMEM, "no memory to copy the weights");
  *u = (llmc_gpu_upload){.driver = driver, .device = device, .allocator = *allocator, .from = file->data, .to = to, .size = file->size};
  u->piece = piece_bytes(u->size);
  u->pieces = (int32_t)((u->size + u->piece - 1) / u->piece);
  pthread_mutex_init(&u->lock, NULL);
  pthread_cond_init(&u->moved, NULL);
  u->events = llmc_alloc_zeroed(allocator, (size_t)u->pieces, sizeof *u->events);
  u->queued = llmc_alloc_zeroed(allocator, (size_t)u->pieces, sizeof *u->queued);
  if (u->events && u->queued) start(u);
  if (!u->threads) {
    release(u);
    return llmc_fail(error, LLMC_ERR_NOMEM, "no memory, or no thread, to copy the weights");
  }
  *out = u;
  return LLMC_OK;
}

int llmc_gpu_upload_wait(llmc_gpu_upload *u, uint64_t end, void *stream, int32_t *waited) {
  int32_t last = (int32_t)((end + u->piece - 1) / u->piece), first = *waited;
  int code = 0;
  if (last > u->pieces) last = u->pieces;
  if (first >= last) return 0;
  *waited = last;
  if (llmc_gpu_upload_finished(u)) return 0;
  pthread_mutex_lock(&u->lock);
  for (int32_t i = first; i < last && !code; i++) {
    while (!u->queued[i] && !u->code) pthread_cond_wait(&u->moved, &u->lock);
    code = u->code ? u->code : u->driver->queue_wait(u->device, stream, u->events[i]);
  }
  pthread_mutex_unlock(&u->lock);
  return code;
}

bool llmc_gpu_upload_finished(const llmc_gpu_upload *u) { return atomic_load(&((llmc_gpu_upload *)(uintptr_t)u)->finished); }

void llmc_gpu_upload_close(llmc_gpu_upload *u) {
  if (!u) return;
  pthread_mutex_lock(&u->lock);
  u->stop = true;
  pthread_mutex_unlock(&u->lock);
  for (int32_t i = 0; i < u->threads; i++) pthread_join(u->ids[i], NULL);
  for (int32_t i = 0; i < u->pieces; i++) u->driver->close_event(u->device, u->events[i]);
  release(u);
}
