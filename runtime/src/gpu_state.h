/* What the files of the GPU runtime share. */
#ifndef LLMC_GPU_STATE_H
#define LLMC_GPU_STATE_H

#include "gpu.h"
#include "gpu_memory.h"
#include "gpu_upload.h"

enum { LLMC_GPU_MAX_CODES = 32 };

struct llmc_gpu {
  const llmc_gpu_plan *plan;
  const llmc_driver *driver;
  llmc_allocator allocator;
  llmc_device *device;
  char name[48]; /* "cuda:sm_90a" */
  bool matrix_units; /* whether the code holds more than the plan's common kernels */
  void *module;
  void **functions; /* [plan->n_kernels] */
  llmc_gpu_memory *memory;
  llmc_address weights, constants;
  llmc_gpu_upload *upload; /* of the weights */
};

llmc_status llmc_gpu_fail(llmc_gpu *gpu, int code, llmc_error *error, const char *what);
llmc_status llmc_gpu_alloc(llmc_gpu *gpu, const char *what, uint64_t bytes, llmc_address *out, llmc_error *error);
void llmc_gpu_close(llmc_gpu *gpu);

llmc_status llmc_gpu_session_open(llmc_gpu *gpu, const llmc_gpu_needs *needs, llmc_gpu_session **out, llmc_error *error);
void llmc_gpu_session_close(llmc_gpu_session *session);
llmc_status llmc_gpu_reserve(llmc_gpu_session *session, int32_t group, uint64_t page_bytes, int64_t kept, int64_t capacity, llmc_error *error);
void llmc_gpu_zero_page(llmc_gpu_session *session, int32_t group, uint64_t page_bytes, int32_t page);
llmc_status llmc_gpu_run(llmc_gpu_session *session, const llmc_gpu_batch *batch, llmc_error *error);
llmc_status llmc_gpu_finish(llmc_gpu_session *session, llmc_error *error);
llmc_status llmc_gpu_logits(llmc_gpu_session *session, const float **out, llmc_error *error);
llmc_status llmc_gpu_best(llmc_gpu_session *session, int32_t count, const float **scores, const int32_t **ids, llmc_error *error);

#endif
