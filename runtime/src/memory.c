#define _POSIX_C_SOURCE 200809L
#include "memory.h"

#include <stdlib.h>
#include <string.h>

enum { ANY_TYPE = 16 };

static void *system_alloc(void *user, size_t size, size_t align) {
  (void)user;
  void *memory = NULL;
  return posix_memalign(&memory, align, size) ? NULL : memory;
}

static void system_free(void *user, void *memory) {
  (void)user;
  free(memory);
}

bool llmc_allocator_choose(const llmc_allocator *given, llmc_allocator *out) {
  *out = given ? *given : (llmc_allocator){system_alloc, system_free, NULL};
  return out->alloc && out->free;
}

void *llmc_alloc(const llmc_allocator *a, size_t count, size_t size, size_t align) {
  if (size && count > (size_t)PTRDIFF_MAX / size) return NULL;
  size_t bytes = count * size;
  return a->alloc(a->user, bytes ? bytes : 1, align);
}

void *llmc_alloc_zeroed(const llmc_allocator *a, size_t count, size_t size) {
  void *memory = llmc_alloc(a, count, size, ANY_TYPE);
  if (memory) memset(memory, 0, count * size);
  return memory;
}

bool llmc_allocator_is_lazy(const llmc_allocator *a) { return a->alloc == system_alloc; }

void llmc_free(const llmc_allocator *a, void *memory) {
  if (memory) a->free(a->user, memory);
}
