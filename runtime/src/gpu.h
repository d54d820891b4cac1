/* Models and sessions on a GPU. The CPU part of the runtime reaches all of this through one struct of functions that a plan with GPU
** code names, so an artifact without such code contains none of it. */
#ifndef LLMC_GPU_H
#define LLMC_GPU_H

#include "device.h"
#include "file.h"

typedef struct llmc_gpu llmc_gpu; /* a device with a model on it */
typedef struct llmc_gpu_session llmc_gpu_session; /* working memory and cache pages there */

/* What a session must know to make room on the device. */
typedef struct llmc_gpu_needs {
  int32_t max_tokens, max_sequences, table_stride, n_cache_groups, row_stride;
  bool eager; /* launch every kernel of every step: record and replay nothing */
} llmc_gpu_needs;

/* One step, in host memory. */
typedef struct llmc_gpu_batch {
  int32_t n_tokens, n_seqs, n_rows, context, length;
  const int32_t *tokens, *segments, *positions, *starts, *rows;
  const llmc_step_cache *caches; /* their tables; their pools are not looked at */
} llmc_gpu_batch;

typedef struct llmc_gpu_runtime {
  /* Opens the device called `name` ("cuda", "cuda:1", "rocm"; "gpu": the first that works) and copies the model there.
  ** LLMC_ERR_DEVICE: no such device, no code for it, or too little memory: the text says what there is and what is needed. */
  llmc_status (*open)(const llmc_gpu_plan *plan, const char *dir, const char *name, const llmc_map *weights,
                      const llmc_allocator *allocator, llmc_gpu **out, llmc_error *error);
  void (*close)(llmc_gpu *gpu);
  const char *(*name)(const llmc_gpu *gpu); /* "cuda:sm_90a": the code in use */

  llmc_status (*session_open)(llmc_gpu *gpu, const llmc_gpu_needs *needs, llmc_gpu_session **out, llmc_error *error);
  void (*session_close)(llmc_gpu_session *session);

  /* Gives cache group `group` room for `capacity` pages; the first `kept` keep what is in them. */
  llmc_status (*reserve)(llmc_gpu_session *session, int32_t group, uint64_t page_bytes, int64_t kept, int64_t capacity, llmc_error *error);
  void (*zero_page)(llmc_gpu_session *session, int32_t group, uint64_t page_bytes, int32_t page); /* a failure shows in the next step */

  /* Queues a step and returns; what fails on the device shows in a later call. Its rows stay there until the next step. */
  llmc_status (*step)(llmc_gpu_session *session, const llmc_gpu_batch *batch, llmc_error *error);
  llmc_status (*finish)(llmc_gpu_session *session, llmc_error *error); /* waits for what is queued */

  /* The rows of the last step in host memory, [n_rows][row_stride], until the next step: copied by the first call. */
  llmc_status (*logits)(llmc_gpu_session *session, const float **out, llmc_error *error);

  /* Of each row of the last step the `count` best (1 .. LLMC_GPU_MOST_PICKS, at most vocab), found on the device: [n_rows][count], as
  ** llmc_gpu_picks says, until the next call. */
  llmc_status (*best)(llmc_gpu_session *session, int32_t count, const float **scores, const int32_t **ids, llmc_error *error);
} llmc_gpu_runtime;

extern const llmc_gpu_runtime llmc_gpu_functions;

#endif
