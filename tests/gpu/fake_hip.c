/* A libamdhip64.so without a GPU (fake_gpu.h). */
#define _GNU_SOURCE
#include <stdio.h>

#include "fake_gpu.h"

EXPORT int hipGetDeviceCount(int *count) { CALL(*count = 1, 0); }
EXPORT int hipSetDevice(int device) { CALL(device ? INVALID : 0); }
EXPORT int hipDeviceGetName(char *name, int size, int device) { CALL(snprintf(name, (size_t)size, "Fake MI%d", capability), device ? INVALID : 0); }
EXPORT const char *hipGetErrorString(int code) { return gpu_error(code); }
EXPORT int hipMemGetInfo(size_t *free, size_t *total) { CALL(*free = memory_limit - used, *total = memory_limit, 0); }
EXPORT int hipMalloc(void **out, size_t n) { CALL(gpu_alloc(out, n)); }
EXPORT int hipFree(void *memory) { GIVE_BACK(gpu_free(memory)); }
EXPORT int hipHostMalloc(void **out, size_t n, unsigned flags) { CALL(gpu_alloc_host(out, n, flags)); }
EXPORT int hipHostFree(void *memory) { GIVE_BACK(gpu_free_host(memory)); }
EXPORT int hipStreamCreateWithFlags(void **out, unsigned flags) { CALL(gpu_stream_create(out, flags)); }
EXPORT int hipStreamDestroy(void *stream) { GIVE_BACK(gpu_stream_destroy(stream)); }
EXPORT int hipStreamSynchronize(void *stream) { CALL(gpu_stream_synchronize(stream)); }
EXPORT int hipMemcpyHtoDAsync(void *to, const void *from, size_t n, void *stream) { CALL(gpu_upload(to, from, n, stream)); }
EXPORT int hipMemcpyDtoHAsync(void *to, void *from, size_t n, void *stream) { CALL(gpu_download(to, from, n, stream)); }
EXPORT int hipMemcpyDtoDAsync(void *to, void *from, size_t n, void *stream) { CALL(gpu_copy(to, from, n, stream)); }
EXPORT int hipMemsetAsync(void *to, int value, size_t n, void *stream) { CALL(gpu_set(to, value, n, stream)); }
EXPORT int hipModuleLoadData(void **module, const void *image) { CALL(gpu_module_load(module, image)); }
EXPORT int hipModuleUnload(void *module) { GIVE_BACK(gpu_module_unload(module)); }
EXPORT int hipModuleGetFunction(void **function, void *module, const char *name) { CALL(gpu_function(function, module, name)); }

EXPORT int hipModuleLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz,
                                 unsigned shared, void *stream, void **arguments, void **extra) {
  CALL(gpu_launch(function, x, y, z, bx, by, bz, shared, stream, arguments, extra));
}

EXPORT int hipEventCreateWithFlags(void **out, unsigned flags) { CALL(gpu_event_create(out, flags)); }
EXPORT int hipEventDestroy(void *event) { GIVE_BACK(gpu_event_destroy(event)); }
EXPORT int hipEventRecord(void *event, void *stream) { CALL(gpu_event_record(event, stream)); }
EXPORT int hipEventSynchronize(void *event) { CALL(gpu_event_synchronize(event)); }
EXPORT int hipStreamWaitEvent(void *stream, void *event, unsigned flags) { CALL(gpu_wait_event(stream, event, flags)); }
EXPORT int hipStreamBeginCapture(void *stream, int mode) { CALL(gpu_capture_begin(stream, mode)); }
EXPORT int hipStreamEndCapture(void *stream, void **graph) { GIVE_BACK(gpu_capture_end(stream, graph)); }
EXPORT int hipGraphInstantiate(void **out, void *graph, void **node, char *log, size_t size) {
  CALL(node || log || size ? INVALID : gpu_graph_instantiate(out, graph));
}
EXPORT int hipGraphDestroy(void *graph) { GIVE_BACK(gpu_graph_destroy(graph)); }
EXPORT int hipGraphLaunch(void *graph, void *stream) { CALL(gpu_graph_launch(graph, stream)); }
EXPORT int hipGraphExecDestroy(void *graph) { GIVE_BACK(gpu_graph_destroy(graph)); }
