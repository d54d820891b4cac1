/* A libcuda.so.1 without a GPU (fake_gpu.h). */
#define _GNU_SOURCE
#include "fake_gpu.h"

#define MEMORY(address) ((void *)(uintptr_t)(address))

EXPORT int cuInit(unsigned flags) { CALL(flags ? INVALID : 0); }
EXPORT int cuDeviceGetCount(int *count) { CALL(*count = 1, 0); }
EXPORT int cuDeviceGet(int *device, int index) { CALL(*device = index, index ? INVALID : 0); }

EXPORT int cuDeviceGetAttribute(int *value, int attribute, int device) {
  CALL(*value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : attribute == 16 ? 4 : 0, device ? INVALID : 0);
}

EXPORT int cuDevicePrimaryCtxRetain(void **context, int device) { CALL(*context = &used, device ? INVALID : 0); }
EXPORT int cuDevicePrimaryCtxRelease_v2(int device) { GIVE_BACK(device ? INVALID : 0); }
EXPORT int cuCtxSetCurrent(void *context) { CALL(context == &used ? 0 : INVALID); }
EXPORT int cuGetErrorString(int code, const char **text) { return *text = gpu_error(code), 0; }
EXPORT int cuMemGetInfo_v2(size_t *free, size_t *total) { CALL(*free = memory_limit - used, *total = memory_limit, 0); }

EXPORT int cuMemAlloc_v2(uint64_t *out, size_t n) {
  void *memory = NULL;
  int code = enter(__func__);
  if (!code) code = gpu_alloc(&memory, n);
  return *out = (uintptr_t)memory, leave(code);
}

EXPORT int cuMemFree_v2(uint64_t memory) { GIVE_BACK(gpu_free(MEMORY(memory))); }
EXPORT int cuMemHostAlloc(void **out, size_t n, unsigned flags) { CALL(gpu_alloc_host(out, n, flags)); }
EXPORT int cuMemFreeHost(void *memory) { GIVE_BACK(gpu_free_host(memory)); }
EXPORT int cuStreamCreate(void **out, unsigned flags) { CALL(gpu_stream_create(out, flags)); }
EXPORT int cuStreamDestroy_v2(void *stream) { GIVE_BACK(gpu_stream_destroy(stream)); }
EXPORT int cuStreamSynchronize(void *stream) { CALL(gpu_stream_synchronize(stream)); }
EXPORT int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t n, void *stream) { CALL(gpu_upload(MEMORY(to), from, n, stream)); }
EXPORT int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t n, void *stream) { CALL(gpu_download(to, MEMORY(from), n, stream)); }
EXPORT int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t n, void *stream) { CALL(gpu_copy(MEMORY(to), MEMORY(from), n, stream)); }
EXPORT int cuMemsetD8Async(uint64_t to, unsigned char value, size_t n, void *stream) { CALL(gpu_set(MEMORY(to), value, n, stream)); }
EXPORT int cuModuleLoadData(void **module, const void *image) { CALL(gpu_module_load(module, image)); }
EXPORT int cuModuleUnload(void *module) { GIVE_BACK(gpu_module_unload(module)); }
EXPORT int cuModuleGetFunction(void **function, void *module, const char *name) { CALL(gpu_function(function, module, name)); }

EXPORT int cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                          void *stream, void **arguments, void **extra) {
  CALL(gpu_launch(function, x, y, z, bx, by, bz, shared, stream, arguments, extra));
}

EXPORT int cuEventCreate(void **out, unsigned flags) { CALL(gpu_event_create(out, flags)); }
EXPORT int cuEventDestroy_v2(void *event) { GIVE_BACK(gpu_event_destroy(event)); }
EXPORT int cuEventRecord(void *event, void *stream) { CALL(gpu_event_record(event, stream)); }
EXPORT int cuEventSynchronize(void *event) { CALL(gpu_event_synchronize(event)); }
EXPORT int cuStreamWaitEvent(void *stream, void *event, unsigned flags) { CALL(gpu_wait_event(stream, event, flags)); }
EXPORT int cuStreamBeginCapture_v2(void *stream, int mode) { CALL(gpu_capture_begin(stream, mode)); }
EXPORT int cuStreamEndCapture(void *stream, void **graph) { GIVE_BACK(gpu_capture_end(stream, graph)); }
EXPORT int cuGraphInstantiateWithFlags(void **out, void *graph, unsigned long long flags) {
  CALL(flags ? INVALID : gpu_graph_instantiate(out, graph));
}
EXPORT int cuGraphDestroy(void *graph) { GIVE_BACK(gpu_graph_destroy(graph)); }
EXPORT int cuGraphLaunch(void *graph, void *stream) { CALL(gpu_graph_launch(graph, stream)); }
EXPORT int cuGraphExecDestroy(void *graph) { GIVE_BACK(gpu_graph_destroy(graph)); }
