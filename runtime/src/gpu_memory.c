#define _POSIX_C_SOURCE 200809L
#include "gpu_memory.h"

#include <pthread.h>

#include "memory.h"

enum { MAX_KEPT = 16 };

typedef struct block {
  struct block *next;
  llmc_address address;
  uint64_t bytes;
} block;

struct llmc_gpu_memory {
  const llmc_driver *driver;
  llmc_device *device;
  llmc_allocator allocator;
  pthread_mutex_t lock;
  block *taken, *kept; /* of kept ones, the one given back last is first */
  int32_t n_kept;
};

llmc_gpu_memory *llmc_gpu_memory_open(const llmc_driver *driver, llmc_device *device, const llmc_allocator *allocator) {
  llmc_gpu_memory *m = llmc_alloc_zeroed(allocator, 1, sizeof *m);
  if (!m) return NULL;
  *m = (llmc_gpu_memory){.driver = driver, .device = device, .allocator = *allocator};
  pthread_mutex_init(&m->lock, NULL);
  return m;
}

/* Gives all but the first `n` kept blocks back to the driver. */
static void trim(llmc_gpu_memory *m, int32_t n) {
  block **link = &m->kept;
  for (int32_t i = 0; i < n && *link; i++) link = &(*link)->next;
  while (*link) {
    block *b = *link;
    *link = b->next;
    m->n_kept--;
    m->driver->release(m->device, b->address);
    llmc_free(&m->allocator, b);
  }
}

void llmc_gpu_memory_close(llmc_gpu_memory *m) {
  if (!m) return;
  llmc_allocator a = m->allocator;
  trim(m, 0);
  pthread_mutex_destroy(&m->lock);
  llmc_free(&a, m);
}

/* The kept block that wastes least, at most a quarter of what was asked for. */
static block *unkeep(llmc_gpu_memory *m, uint64_t bytes) {
  block **best = NULL;
  for (block **link = &m->kept; *link; link = &(*link)->next)
    if ((*link)->bytes >= bytes && (*link)->bytes - bytes <= bytes / 4 && (!best || (*link)->bytes < (*best)->bytes)) best = link;
  if (!best) return NULL;
  block *b = *best;
  *best = b->next;
  m->n_kept--;
  return b;
}

/* A new block; where the device is full, after giving back what is kept. */
static int allocate(llmc_gpu_memory *m, block *b) {
  int code = m->driver->alloc(m->device, b->bytes, &b->address);
  if (!code || !m->kept) return code;
  trim(m, 0);
  return m->driver->alloc(m->device, b->bytes, &b->address);
}

static int take(llmc_gpu_memory *m, uint64_t bytes, llmc_address *out) {
  block *b = unkeep(m, bytes);
  if (!b) {
    b = llmc_alloc_zeroed(&m->allocator, 1, sizeof *b);
    if (!b) return -1;
    b->bytes = bytes;
    int code = allocate(m, b);
    if (code) {
      llmc_free(&m->allocator, b);
      return code;
    }
  }
  b->next = m->taken;
  m->taken = b;
  *out = b->address;
  return 0;
}

int llmc_gpu_memory_take(llmc_gpu_memory *m, uint64_t bytes, llmc_address *out) {
  *out = 0;
  pthread_mutex_lock(&m->lock);
  int code = take(m, bytes ? bytes : 1, out);
  pthread_mutex_unlock(&m->lock);
  return code;
}

void llmc_gpu_memory_give(llmc_gpu_memory *m, llmc_address address) {
  if (!address) return;
  pthread_mutex_lock(&m->lock);
  block **link = &m->taken;
  while ((*link)->address != address) link = &(*link)->next;
  block *b = *link;
  *link = b->next;
  b->next = m->kept;
  m->kept = b;
  m->n_kept++;
  trim(m, MAX_KEPT);
  pthread_mutex_unlock(&m->lock);
}
