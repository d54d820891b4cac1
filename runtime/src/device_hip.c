/* ROCm through HIP: libamdhip64.so, which comes with ROCm, opened at run time. Device memory is a `void *` here. */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "device.h"
#include "memory.h"

/* What of hip_runtime_api.h is used: functions whose form is the same in every ROCm since 5.5. hipGetDeviceProperties is not one of
** them, so nobody is asked for the architecture: code that is not for the device does not load. */
typedef struct hip_functions {
  int (*get_device_count)(int *);
  int (*set_device)(int);
  int (*device_get_name)(char *, int, int);
  const char *(*error_string)(int);
  int (*mem_get_info)(size_t *, size_t *);
  int (*malloc)(void **, size_t);
  int (*free)(void *);
  int (*host_malloc)(void **, size_t, unsigned);
  int (*host_free)(void *);
  int (*stream_create)(void **, unsigned);
  int (*stream_destroy)(void *);
  int (*stream_synchronize)(void *);
  int (*upload)(void *, const void *, size_t, void *);
  int (*download)(void *, void *, size_t, void *);
  int (*copy)(void *, void *, size_t, void *);
  int (*set)(void *, int, size_t, void *);
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
  int (*graph_instantiate)(void **, void *, void **, char *, size_t);
  int (*graph_destroy)(void *);
  int (*graph_launch)(void *, void *);
  int (*graph_exec_destroy)(void *);
} hip_functions;

static const char *const names[] = {
    "hipGetDeviceCount", "hipSetDevice", "hipDeviceGetName", "hipGetErrorString", "hipMemGetInfo", "hipMalloc", "hipFree",
    "hipHostMalloc", "hipHostFree", "hipStreamCreateWithFlags", "hipStreamDestroy", "hipStreamSynchronize", "hipMemcpyHtoDAsync",
    "hipMemcpyDtoHAsync", "hipMemcpyDtoDAsync", "hipMemsetAsync", "hipModuleLoadData", "hipModuleUnload", "hipModuleGetFunction",
    "hipModuleLaunchKernel", "hipEventCreateWithFlags", "hipEventDestroy", "hipEventRecord", "hipEventSynchronize",
    "hipStreamWaitEvent", "hipStreamBeginCapture", "hipStreamEndCapture", "hipGraphInstantiate", "hipGraphDestroy", "hipGraphLaunch",
    "hipGraphExecDestroy",
};
_Static_assert(sizeof(hip_functions) == sizeof names / sizeof *names * sizeof(void (*)(void)), "a name for every function");

enum { STREAM_NON_BLOCKING = 1, EVENT_WITHOUT_TIME = 2, CAPTURE_THREAD_LOCAL = 1 };
enum { PROCESSORS = 96 /* about what the supported devices have; it only guides the split of attention */ };

struct llmc_device {
  void *library;
  hip_functions f;
  int device;
};

static void hip_close(const llmc_allocator *a, llmc_device *d) {
  if (d && d->library) dlclose(d->library);
  llmc_free(a, d);
}

static llmc_status open_library(llmc_device *d, llmc_error *error) {
  d->library = dlopen(llmc_driver_hip.library, RTLD_NOW | RTLD_LOCAL);
  if (!d->library) return llmc_fail(error, LLMC_ERR_DEVICE, "no ROCm: %s cannot be opened", llmc_driver_hip.library);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    void *symbol = dlsym(d->library, names[i]);
    if (!symbol) return llmc_fail(error, LLMC_ERR_DEVICE, "ROCm lacks %s: it is too old", names[i]);
    memcpy((char *)&d->f + i * sizeof symbol, &symbol, sizeof symbol);
  }
  return LLMC_OK;
}

static llmc_status open_device(llmc_device *d, int32_t index, llmc_error *error) {
  int count = 0, code = d->f.get_device_count(&count);
  if (!code && index >= count) return llmc_fail(error, LLMC_ERR_DEVICE, "no ROCm device %d: there are %d", index, count);
  d->device = index;
  if (!code) code = d->f.set_device(index);
  if (code) return llmc_fail(error, LLMC_ERR_DEVICE, "ROCm device %d cannot be opened: %s", index, d->f.error_string(code));
  return LLMC_OK;
}

static llmc_status hip_open(const llmc_allocator *a, int32_t index, llmc_device **out, llmc_error *error) {
  llmc_device *d = llmc_alloc_zeroed(a, 1, sizeof *d);
  *out = NULL;
  if (!d) return llmc_fail(error, LLMC_ERR_NOMEM, "no memory for a device");
  llmc_status status = open_library(d, error);
  if (!status) status = open_device(d, index, error);
  if (status) hip_close(a, d);
  else *out = d;
  return status;
}

static const char *hip_describe(llmc_device *d, int code) { return d->f.error_string(code); }

static bool hip_runs(llmc_device *d, const char *arch, int32_t *rank) {
  (void)d, (void)arch;
  *rank = 0;
  return true;
}

static void hip_architecture(llmc_device *d, char out[32]) {
  if (d->f.device_get_name(out, 32, d->device)) snprintf(out, 32, "ROCm device %d", d->device);
}

static bool hip_supported(llmc_device *d) { return (void)d, true; }
static int32_t hip_processors(llmc_device *d) { return (void)d, PROCESSORS; }
static int hip_enter(llmc_device *d) { return d->f.set_device(d->device); }

static int hip_memory(llmc_device *d, uint64_t *free, uint64_t *total) {
  size_t f = 0, t = 0;
  int code = d->f.mem_get_info(&f, &t);
  *free = f;
  *total = t;
  return code;
}

static void *pointer(llmc_address a) { return (void *)(uintptr_t)a; }

static int hip_alloc(llmc_device *d, uint64_t n, llmc_address *out) {
  void *memory = NULL;
  int code = d->f.malloc(&memory, (size_t)n);
  *out = (uintptr_t)memory;
  return code;
}

static int hip_release(llmc_device *d, llmc_address m) { return m ? d->f.free(pointer(m)) : 0; }
static int hip_alloc_host(llmc_device *d, uint64_t n, void **out) { return d->f.host_malloc(out, (size_t)n, 0); }
static int hip_release_host(llmc_device *d, void *m) { return m ? d->f.host_free(m) : 0; }
static int hip_open_stream(llmc_device *d, void **out) { return d->f.stream_create(out, STREAM_NON_BLOCKING); }
static int hip_close_stream(llmc_device *d, void *stream) { return stream ? d->f.stream_destroy(stream) : 0; }
static int hip_wait(llmc_device *d, void *stream) { return d->f.stream_synchronize(stream); }

static int hip_upload(llmc_device *d, llmc_address to, const void *from, uint64_t n, void *stream) {
  return d->f.upload(pointer(to), from, (size_t)n, stream);
}

static int hip_download(llmc_device *d, void *to, llmc_address from, uint64_t n, void *stream) {
  return d->f.download(to, pointer(from), (size_t)n, stream);
}

static int hip_copy(llmc_device *d, llmc_address to, llmc_address from, uint64_t n, void *stream) {
  return d->f.copy(pointer(to), pointer(from), (size_t)n, stream);
}

static int hip_zero(llmc_device *d, llmc_address m, uint64_t n, void *stream) { return d->f.set(pointer(m), 0, (size_t)n, stream); }
static int hip_load(llmc_device *d, const void *code, void **module) { return d->f.module_load(module, code); }
static int hip_unload(llmc_device *d, void *module) { return module ? d->f.module_unload(module) : 0; }

static int hip_find(llmc_device *d, void *module, const char *name, void **function) {
  return d->f.module_function(function, module, name);
}

static int hip_launch(llmc_device *d, void *function, llmc_grid g, void **arguments, void *stream) {
  return d->f.launch(function, (unsigned)g.x, (unsigned)g.y, (unsigned)g.z, (unsigned)g.threads, 1, 1, 0, stream, arguments, NULL);
}

static int hip_open_event(llmc_device *d, void **out) { return d->f.event_create(out, EVENT_WITHOUT_TIME); }
static int hip_close_event(llmc_device *d, void *event) { return event ? d->f.event_destroy(event) : 0; }
static int hip_mark(llmc_device *d, void *event, void *stream) { return d->f.event_record(event, stream); }
static int hip_wait_event(llmc_device *d, void *event) { return d->f.event_synchronize(event); }
static int hip_queue_wait(llmc_device *d, void *stream, void *event) { return d->f.stream_wait_event(stream, event, 0); }
static int hip_begin_recording(llmc_device *d, void *stream) { return d->f.capture_begin(stream, CAPTURE_THREAD_LOCAL); }

static int hip_end_recording(llmc_device *d, void *stream, void **graph) {
  void *recorded = NULL;
  int code = d->f.capture_end(stream, &recorded);
  *graph = NULL;
  if (!code) code = d->f.graph_instantiate(graph, recorded, NULL, NULL, 0);
  if (recorded) d->f.graph_destroy(recorded);
  return code;
}

static int hip_replay(llmc_device *d, void *graph, void *stream) { return d->f.graph_launch(graph, stream); }
static int hip_close_graph(llmc_device *d, void *graph) { return graph ? d->f.graph_exec_destroy(graph) : 0; }

const llmc_driver llmc_driver_hip = {
    .name = "rocm", .library = "libamdhip64.so", .oldest = "", .supported = hip_supported, .open = hip_open, .close = hip_close, .describe = hip_describe, .runs = hip_runs,
    .architecture = hip_architecture, .processors = hip_processors, .enter = hip_enter, .memory = hip_memory, .alloc = hip_alloc,
    .release = hip_release, .alloc_host = hip_alloc_host, .release_host = hip_release_host, .open_stream = hip_open_stream,
    .close_stream = hip_close_stream, .wait = hip_wait, .upload = hip_upload, .download = hip_download, .copy = hip_copy,
    .zero = hip_zero, .load = hip_load, .unload = hip_unload, .find = hip_find, .launch = hip_launch,
    .open_event = hip_open_event, .close_event = hip_close_event, .mark = hip_mark, .wait_event = hip_wait_event,
    .queue_wait = hip_queue_wait, .begin_recording = hip_begin_recording, .end_recording = hip_end_recording,
    .replay = hip_replay, .close_graph = hip_close_graph,
};
