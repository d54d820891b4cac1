/* A libcuda.so.1 without a GPU: device memory is host memory, calls are counted and checked, launches go to a callback.
**
** What a real driver would refuse is refused here too: a copy outside an allocation, a kernel without a name, a grid of nothing. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { MAX_BLOCKS = 4096, OUT_OF_MEMORY = 2, INVALID = 1, NOT_FOUND = 500 };

typedef int launch_callback(const char *name, unsigned x, unsigned y, unsigned z, unsigned threads, void **arguments);

static struct {
  uint8_t *start;
  size_t size;
} blocks[MAX_BLOCKS];
static launch_callback *launched;
static size_t memory_limit = (size_t)1 << 33, used;
static int capability = 80, launches, uploads;

EXPORT void fake_reset(launch_callback *callback, int sm, size_t memory) {
  launched = callback;
  capability = sm;
  memory_limit = memory;
  launches = uploads = 0;
}

EXPORT int fake_launches(void) { return launches; }
EXPORT int fake_uploads(void) { return uploads; }
EXPORT size_t fake_used(void) { return used; }

/* Index of the allocation that holds [memory, memory + n), or -1. */
static int find(uint64_t memory, size_t n) {
  for (int i = 0; i < MAX_BLOCKS; i++) {
    uint64_t start = (uintptr_t)blocks[i].start;
    if (blocks[i].start && memory >= start && memory + n <= start + blocks[i].size) return i;
  }
  return -1;
}

/* Bytes from an address to the end of its allocation; 0 if it is in none. */
EXPORT size_t fake_extent(uint64_t memory) {
  int i = find(memory, 0);
  return i < 0 ? 0 : (size_t)((uintptr_t)blocks[i].start + blocks[i].size - memory);
}

EXPORT int cuInit(unsigned flags) { return flags ? INVALID : 0; }
EXPORT int cuDeviceGetCount(int *count) { return *count = 1, 0; }
EXPORT int cuDeviceGet(int *device, int index) { return *device = index, index ? INVALID : 0; }

EXPORT int cuDeviceGetAttribute(int *value, int attribute, int device) {
  (void)device;
  *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : attribute == 16 ? 4 : 0;
  return 0;
}

EXPORT int cuDevicePrimaryCtxRetain(void **context, int device) { return (void)device, *context = &used, 0; }
EXPORT int cuDevicePrimaryCtxRelease_v2(int device) { return device ? INVALID : 0; }
EXPORT int cuCtxSetCurrent(void *context) { return context == &used ? 0 : INVALID; }

EXPORT int cuGetErrorString(int code, const char **text) {
  *text = code == OUT_OF_MEMORY ? "out of memory" : code == NOT_FOUND ? "named symbol not found" : "invalid argument";
  return 0;
}

EXPORT int cuMemGetInfo_v2(size_t *free, size_t *total) { return *free = memory_limit - used, *total = memory_limit, 0; }

EXPORT int cuMemAlloc_v2(uint64_t *out, size_t n) {
  int i = 0;
  while (i < MAX_BLOCKS && blocks[i].start) i++;
  if (!n || i == MAX_BLOCKS) return INVALID;
  if (used + n > memory_limit) return OUT_OF_MEMORY;
  blocks[i].start = aligned_alloc(256, (n + 255) / 256 * 256);
  blocks[i].size = n;
  used += n;
  memset(blocks[i].start, 0xCD, n); /* what a kernel forgets to write shows */
  return *out = (uintptr_t)blocks[i].start, 0;
}

EXPORT int cuMemFree_v2(uint64_t memory) {
  int i = find(memory, 0);
  if (i < 0 || (uintptr_t)blocks[i].start != memory) return INVALID;
  used -= blocks[i].size;
  free(blocks[i].start);
  blocks[i].start = NULL;
  return 0;
}

EXPORT int cuMemHostAlloc(void **out, size_t n, unsigned flags) { return *out = malloc(n), flags || !*out ? INVALID : 0; }
EXPORT int cuMemFreeHost(void *memory) { return free(memory), 0; }
EXPORT int cuStreamCreate(void **stream, unsigned flags) { return *stream = malloc(1), flags == 1 ? 0 : INVALID; }
EXPORT int cuStreamDestroy_v2(void *stream) { return free(stream), 0; }
EXPORT int cuStreamSynchronize(void *stream) { return stream ? 0 : INVALID; }

static int copy(void *to, const void *from, size_t n, int bad) { return bad ? INVALID : (memcpy(to, from, n), 0); }

EXPORT int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t n, void *stream) {
  uploads++;
  return copy((void *)(uintptr_t)to, from, n, !stream || find(to, n) < 0);
}

EXPORT int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t n, void *stream) {
  return copy(to, (void *)(uintptr_t)from, n, !stream || find(from, n) < 0);
}

EXPORT int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t n, void *stream) {
  return copy((void *)(uintptr_t)to, (void *)(uintptr_t)from, n, !stream || find(from, n) < 0 || find(to, n) < 0);
}

EXPORT int cuMemsetD8Async(uint64_t memory, unsigned char value, size_t n, void *stream) {
  if (!stream || find(memory, n) < 0) return INVALID;
  return memset((void *)(uintptr_t)memory, value, n), 0;
}

EXPORT int cuModuleLoadData(void **module, const void *image) {
  if (memcmp(image, "\177ELF", 4)) return INVALID;
  return *module = malloc(1), 0;
}

EXPORT int cuModuleUnload(void *module) { return free(module), 0; }
EXPORT int cuModuleGetFunction(void **function, void *module, const char *name) {
  return *function = (void *)(uintptr_t)name, module && *name ? 0 : NOT_FOUND;
}

EXPORT int cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                          void *stream, void **arguments, void **extra) {
  launches++;
  if (!function || !x || !y || !z || !bx || bx > 1024 || by != 1 || bz != 1 || y > 65535 || z > 65535 || shared || !stream || extra)
    return INVALID;
  return launched ? launched(function, x, y, z, bx, arguments) : 0;
}
