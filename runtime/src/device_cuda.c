/* CUDA through the driver API: libcuda.so.1, which comes with the driver, opened at run time. */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "memory.h"

/* What of cuda.h is used; the ABI is stable. Functions that changed carry the _v2 of their present form. Every driver that loads our
** cubins (r525 and later) has all of them, so one that lacks a name is refused as too old, and no step goes another way. */
typedef struct cuda_functions {
  int (*init)(unsigned);
  int (*device_get_count)(int *);
  int (*device_get)(int *, int);
  int (*device_get_attribute)(int *, int, int);
  int (*context_retain)(void **, int);
  int (*context_release)(int);
  int (*context_set)(void *);
  int (*error_string)(int, const char **);
  int (*mem_get_info)(size_t *, size_t *);
  int (*mem_alloc)(uint64_t *, size_t);
  int (*mem_free)(uint64_t);
  int (*mem_host_alloc)(void **, size_t, unsigned);
  int (*mem_free_host)(void *);
  int (*stream_create)(void **, unsigned);
  int (*stream_destroy)(void *);
  int (*stream_synchronize)(void *);
  int (*upload)(uint64_t, const void *, size_t, void *);
  int (*download)(void *, uint64_t, size_t, void *);
  int (*copy)(uint64_t, uint64_t, size_t, void *);
  int (*set)(uint64_t, unsigned char, size_t, void *);
  int (*module_load)(void **, const void *);
  int (*module_unload)(void *);
  int (*module_function)(void **, void *, const char *);
  int (*launch)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **);
  int (*event_create)(void **, unsigned);
  int (*event_destroy)(void *);
  int (*event_record)(void *, void *);
  int (*event_synchronize)(void *);
  int (*stream_wait_event)(void *, void *, unsigned);
  int (*capture_begin)(void *, int);
  int (*capture_end)(void *, void **);
  int (*graph_instantiate)(void **, void *, unsigned long long);
  int (*graph_destroy)(void *);
  int (*graph_launch)(void *, void *);
  int (*graph_exec_destroy)(void *);
} cuda_functions;

static const char *const names[] = {
    "cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetAttribute", "cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease_v2",
    "cuCtxSetCurrent", "cuGetErrorString", "cuMemGetInfo_v2", "cuMemAlloc_v2", "cuMemFree_v2", "cuMemHostAlloc", "cuMemFreeHost",
    "cuStreamCreate", "cuStreamDestroy_v2", "cuStreamSynchronize", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoDAsync_v2", "cuMemsetD8Async", "cuModuleLoadData", "cuModuleUnload", "cuModuleGetFunction", "cuLaunchKernel",
    "cuEventCreate", "cuEventDestroy_v2", "cuEventRecord", "cuEventSynchronize", "cuStreamWaitEvent", "cuStreamBeginCapture_v2",
    "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "cuGraphDestroy", "cuGraphLaunch", "cuGraphExecDestroy",
};
_Static_assert(sizeof(cuda_functions) == sizeof names / sizeof *names * sizeof(void (*)(void)), "a name for every function");

enum { MULTIPROCESSORS = 16, CAPABILITY_MAJOR = 75, CAPABILITY_MINOR = 76, STREAM_NON_BLOCKING = 1, EVENT_WITHOUT_TIME = 2 };
enum { OLDEST_MAJOR = 8, PTX_BELOW = 1 << 20 /* in rank */, CAPTURE_THREAD_LOCAL = 1 }; /* other threads may go on allocating */

struct llmc_device {
  void *library;
  cuda_functions f;
  void *context;
  int device, major, minor, multiprocessors;
};

static void cuda_close(const llmc_allocator *a, llmc_device *d) {
  if (!d) return;
  if (d->context) d->f.context_release(d->device);
  if (d->library) dlclose(d->library);
  llmc_free(a, d);
}

static llmc_status open_library(llmc_device *d, llmc_error *error) {
  d->library = dlopen(llmc_driver_cuda.library, RTLD_NOW | RTLD_LOCAL);
  if (!d->library)
    return llmc_fail(error, LLMC_ERR_DEVICE, "no NVIDIA driver: %s cannot be opened", llmc_driver_cuda.library);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    void *symbol = dlsym(d->library, names[i]);
    if (!symbol) return llmc_fail(error, LLMC_ERR_DEVICE, "the NVIDIA driver lacks %s: it is too old", names[i]);
    memcpy((char *)&d->f + i * sizeof symbol, &symbol, sizeof symbol);
  }
  return LLMC_OK;
}

static const char *cuda_describe(llmc_device *d, int code) {
  const char *text = NULL;
  return !d->f.error_string(code, &text) && text ? text : "unknown error";
}

static llmc_status open_device(llmc_device *d, int32_t index, llmc_error *error) {
  int count = 0, code = d->f.init(0);
  if (!code) code = d->f.device_get_count(&count);
  if (!code && index >= count) return llmc_fail(error, LLMC_ERR_DEVICE, "no CUDA device %d: there are %d", index, count);
  if (!code) code = d->f.device_get(&d->device, index);
  if (!code) code = d->f.device_get_attribute(&d->major, CAPABILITY_MAJOR, d->device);
  if (!code) code = d->f.device_get_attribute(&d->minor, CAPABILITY_MINOR, d->device);
  if (!code) code = d->f.device_get_attribute(&d->multiprocessors, MULTIPROCESSORS, d->device);
  if (!code) code = d->f.context_retain(&d->context, d->device);
  if (code) return llmc_fail(error, LLMC_ERR_DEVICE, "CUDA device %d cannot be opened: %s", index, cuda_describe(d, code));
  return LLMC_OK;
}

static llmc_status cuda_open(const llmc_allocator *a, int32_t index, llmc_device **out, llmc_error *error) {
  llmc_device *d = llmc_alloc_zeroed(a, 1, sizeof *d);
  *out = NULL;
  if (!d) return llmc_fail(error, LLMC_ERR_NOMEM, "no memory for a device");
  llmc_status status = open_library(d, error);
  if (!status) status = open_device(d, index, error);
  if (status) cuda_close(a, d);
  else *out = d;
  return status;
}

/* sm_MN runs on devices of the same major number and at least that minor one; sm_90a on 9.0 alone. PTX for compute_MN is compiled by
** the driver for any device from M.N on; it ranks below all machine code. */
static bool cuda_runs(llmc_device *d, const char *arch, int32_t *rank) {
  char *end;
  if (!strncmp(arch, "compute_", 8)) {
    long least = strtol(arch + 8, NULL, 10);
    *rank = (int32_t)least - PTX_BELOW;
    return least >= 10 && least <= 10 * d->major + d->minor;
  }
  long number = strncmp(arch, "sm_", 3) ? 0 : strtol(arch + 3, &end, 10);
  if (number < 10) return false;
  bool exact = *end != 0;
  *rank = (int32_t)number * 2 + exact;
  return number / 10 == d->major && (exact ? number % 10 == d->minor : number % 10 <= d->minor);
}

static void cuda_architecture(llmc_device *d, char out[32]) { snprintf(out, 32, "sm_%d%d", d->major, d->minor); }
static bool cuda_supported(llmc_device *d) { return d->major >= OLDEST_MAJOR; }
static int32_t cuda_processors(llmc_device *d) { return d->multiprocessors; }
static int cuda_enter(llmc_device *d) { return d->f.context_set(d->context); }

static int cuda_memory(llmc_device *d, uint64_t *free, uint64_t *total) {
  size_t f = 0, t = 0;
  int code = d->f.mem_get_info(&f, &t);
  *free = f;
  *total = t;
  return code;
}

static int cuda_alloc(llmc_device *d, uint64_t n, llmc_address *out) { return d->f.mem_alloc(out, (size_t)n); }
static int cuda_release(llmc_device *d, llmc_address m) { return m ? d->f.mem_free(m) : 0; }
static int cuda_alloc_host(llmc_device *d, uint64_t n, void **out) { return d->f.mem_host_alloc(out, (size_t)n, 0); }
static int cuda_release_host(llmc_device *d, void *m) { return m ? d->f.mem_free_host(m) : 0; }
static int cuda_open_stream(llmc_device *d, void **out) { return d->f.stream_create(out, STREAM_NON_BLOCKING); }
static int cuda_close_stream(llmc_device *d, void *stream) { return stream ? d->f.stream_destroy(stream) : 0; }
static int cuda_wait(llmc_device *d, void *stream) { return d->f.stream_synchronize(stream); }

static int cuda_upload(llmc_device *d, llmc_address to, const void *from, uint64_t n, void *stream) {
  return d->f.upload(to, from, (size_t)n, stream);
}

static int cuda_download(llmc_device *d, void *to, llmc_address from, uint64_t n, void *stream) {
  return d->f.download(to, from, (size_t)n, stream);
}

static int cuda_copy(llmc_device *d, llmc_address to, llmc_address from, uint64_t n, void *stream) {
  return d->f.copy(to, from, (size_t)n, stream);
}

static int cuda_zero(llmc_device *d, llmc_address m, uint64_t n, void *stream) { return d->f.set(m, 0, (size_t)n, stream); }
static int cuda_load(llmc_device *d, const void *code, void **module) { return d->f.module_load(module, code); }
static int cuda_unload(llmc_device *d, void *module) { return module ? d->f.module_unload(module) : 0; }

static int cuda_find(llmc_device *d, void *module, const char *name, void **function) {
  return d->f.module_function(function, module, name);
}

static int cuda_launch(llmc_device *d, void *function, llmc_grid g, void **arguments, void *stream) {
  return d->f.launch(function, (unsigned)g.x, (unsigned)g.y, (unsigned)g.z, (unsigned)g.threads, 1, 1, 0, stream, arguments, NULL);
}

static int cuda_open_event(llmc_device *d, void **out) { return d->f.event_create(out, EVENT_WITHOUT_TIME); }
static int cuda_close_event(llmc_device *d, void *event) { return event ? d->f.event_destroy(event) : 0; }
static int cuda_mark(llmc_device *d, void *event, void *stream) { return d->f.event_record(event, stream); }
static int cuda_wait_event(llmc_device *d, void *event) { return d->f.event_synchronize(event); }
static int cuda_queue_wait(llmc_device *d, void *stream, void *event) { return d->f.stream_wait_event(stream, event, 0); }
static int cuda_begin_recording(llmc_device *d, void *stream) { return d->f.capture_begin(stream, CAPTURE_THREAD_LOCAL); }

static int cuda_end_recording(llmc_device *d, void *stream, void **graph) {
  void *recorded = NULL;
  int code = d->f.capture_end(stream, &recorded);
  *graph = NULL;
  if (!code) code = d->f.graph_instantiate(graph, recorded, 0);
  if (recorded) d->f.graph_destroy(recorded);
  return code;
}

static int cuda_replay(llmc_device *d, void *graph, void *stream) { return d->f.graph_launch(graph, stream); }
static int cuda_close_graph(llmc_device *d, void *graph) { return graph ? d->f.graph_exec_destroy(graph) : 0; }

const llmc_driver llmc_driver_cuda = {
    .name = "cuda", .library = "libcuda.so.1", .oldest = "llmc needs sm_80 or later", .supported = cuda_supported, .open = cuda_open, .close = cuda_close, .describe = cuda_describe, .runs = cuda_runs,
    .architecture = cuda_architecture, .processors = cuda_processors, .enter = cuda_enter, .memory = cuda_memory, .alloc = cuda_alloc,
    .release = cuda_release, .alloc_host = cuda_alloc_host, .release_host = cuda_release_host, .open_stream = cuda_open_stream,
    .close_stream = cuda_close_stream, .wait = cuda_wait, .upload = cuda_upload, .download = cuda_download, .copy = cuda_copy,
    .zero = cuda_zero, .load = cuda_load, .unload = cuda_unload, .find = cuda_find, .launch = cuda_launch,
    .open_event = cuda_open_event, .close_event = cuda_close_event, .mark = cuda_mark, .wait_event = cuda_wait_event,
    .queue_wait = cuda_queue_wait, .begin_recording = cuda_begin_recording, .end_recording = cuda_end_recording,
    .replay = cuda_replay, .close_graph = cuda_close_graph,
};
