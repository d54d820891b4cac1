/* A GPU driver as the runtime uses it: one struct of functions, one file per driver (device_cuda.c, device_hip.c).
**
** The driver's library is opened when a model is, never linked. Every function returns 0, or the driver's own code, which
** describe() puts into words. All but `open` need the device to be the calling thread's current one: call `enter` first. */
#ifndef LLMC_DEVICE_H
#define LLMC_DEVICE_H

#include "llmc_gpu_plan.h"
#include "status.h"

typedef struct llmc_device llmc_device; /* a driver's own state */

typedef struct llmc_driver {
  const char *name; /* "cuda": as in targets and in llmc_gpu_code.driver */
  const char *library; /* "libcuda.so.1": what must be there */
  const char *oldest; /* what is said of a device that is not `supported` */

  /* Opens the library and device number `index`. LLMC_ERR_DEVICE: no such library or device; LLMC_ERR_NOMEM. */
  llmc_status (*open)(const llmc_allocator *allocator, int32_t index, llmc_device **out, llmc_error *error);
  void (*close)(const llmc_allocator *allocator, llmc_device *device);
  const char *(*describe)(llmc_device *device, int code);

  /* True if code for `arch` runs on the device. Of several, the one with the highest rank is the best. */
  bool (*runs)(llmc_device *device, const char *arch, int32_t *rank);
  void (*architecture)(llmc_device *device, char out[32]); /* the device's own: "sm_90", "AMD Instinct MI300X" */
  bool (*supported)(llmc_device *device); /* whether a model can be compiled for it */
  int32_t (*processors)(llmc_device *device);

  int (*enter)(llmc_device *device);
  int (*memory)(llmc_device *device, uint64_t *free, uint64_t *total);
  int (*alloc)(llmc_device *device, uint64_t bytes, llmc_address *out);
  int (*release)(llmc_device *device, llmc_address memory);
  int (*alloc_host)(llmc_device *device, uint64_t bytes, void **out); /* pinned: what uploads and downloads go through */
  int (*release_host)(llmc_device *device, void *memory);

  int (*open_stream)(llmc_device *device, void **out);
  int (*close_stream)(llmc_device *device, void *stream);
  int (*wait)(llmc_device *device, void *stream);
  int (*open_event)(llmc_device *device, void **out);
  int (*close_event)(llmc_device *device, void *event);
  int (*mark)(llmc_device *device, void *event, void *stream); /* the event happens once all that is queued now is done */
  int (*wait_event)(llmc_device *device, void *event); /* on the host; an event that was never marked has happened */
  int (*queue_wait)(llmc_device *device, void *stream, void *event); /* what is queued later waits for the event */
  int (*upload)(llmc_device *device, llmc_address to, const void *from, uint64_t bytes, void *stream);
  int (*download)(llmc_device *device, void *to, llmc_address from, uint64_t bytes, void *stream);
  int (*copy)(llmc_device *device, llmc_address to, llmc_address from, uint64_t bytes, void *stream);
  int (*zero)(llmc_device *device, llmc_address memory, uint64_t bytes, void *stream);

  int (*load)(llmc_device *device, const void *code, void **module);
  int (*unload)(llmc_device *device, void *module);
  int (*find)(llmc_device *device, void *module, const char *name, void **function);
  int (*launch)(llmc_device *device, void *function, llmc_grid grid, void **arguments, void *stream);

  /* Recording: between the two calls what goes to the stream is noted and not done. `end_recording` gives the launches as one graph;
  ** it must follow `begin_recording` also after a failure, and gives NULL then. Of a session's thread: others go on working. */
  int (*begin_recording)(llmc_device *device, void *stream);
  int (*end_recording)(llmc_device *device, void *stream, void **graph);
  int (*replay)(llmc_device *device, void *graph, void *stream);
  int (*close_graph)(llmc_device *device, void *graph); /* one that is not running */
} llmc_driver;

extern const llmc_driver llmc_driver_cuda, llmc_driver_hip;

#endif
