/* The interface between a generated plan and the GPU part of the runtime. Not installed, not public.
**
** A model compiled for GPUs holds, beside the plan of llmc_plan.h, machine code for each architecture and one function that
** launches the kernels of a step, in order, on one stream. Kernels are numbered; their names are looked up once, at opening. */
#ifndef LLMC_GPU_PLAN_H
#define LLMC_GPU_PLAN_H

#include "llmc_plan.h"

typedef uint64_t llmc_address; /* of device memory */

/* What a launch goes to; the runtime's, opaque here. */
struct llmc_gpu_queue;

/* Threads of one launch: blocks in x, y and z, threads in a block. */
typedef struct llmc_grid {
  int32_t x, y, z, threads;
} llmc_grid;

/* Queues kernel number `kernel`. `arguments` points at each argument, in the order of its parameters, and is read before returning.
** After a failure the rest of a step is skipped; the step reports it. */
void llmc_gpu_launch(struct llmc_gpu_queue *queue, int32_t kernel, llmc_grid grid, void **arguments);

/* What is queued from here on reads the weights file up to byte `end`, which may still be on its way to the device. */
void llmc_gpu_weights(struct llmc_gpu_queue *queue, uint64_t end);

/* One step as the device sees it; what llmc_step says of its arrays holds here too. A step is recorded and replayed for others that
** are equal in every number and address here: whatever else differs, launches must read from device memory. */
typedef struct llmc_gpu_step {
  struct llmc_gpu_queue *queue;
  int32_t n_tokens;
  int32_t n_seqs;
  int32_t n_rows;
  int32_t context;
  int32_t length; /* positions of the longest sequence, with this step's, rounded up to pages that are a power of two */
  int32_t table_stride;
  int32_t processors; /* of the device: thread blocks it runs side by side, at least */
  int32_t matrix_units; /* 1 where the code holds the kernels that are CUDA's alone */
  llmc_address tokens; /* i32 [n_tokens] */
  llmc_address positions; /* i32 [n_tokens] */
  llmc_address segments; /* i32 [n_tokens] */
  llmc_address sequence; /* i32 [n_tokens]: row of the page tables */
  llmc_address starts; /* i32 [n_seqs + 1]: the first token of each sequence, and n_tokens */
  llmc_address rows; /* i32 [n_rows] */
  llmc_address logits; /* f32 [n_rows][row_stride] */
  llmc_address arena;
  llmc_address weights; /* the weights file from its first byte */
  llmc_address constants;
  const llmc_address *pools; /* [n_cache_groups] */
  const llmc_address *tables; /* [n_cache_groups]: i32 [sequences][table_stride] */
} llmc_gpu_step;

/* Where the best tokens of each row of logits go, and what they are made of on the way. */
typedef struct llmc_gpu_picks {
  int32_t count; /* of each row, 1 .. LLMC_GPU_MOST_PICKS */
  llmc_address scores; /* f32 [n_rows][count], descending; of equals the lower id first; a NaN counts as minus infinity */
  llmc_address ids; /* i32 [n_rows][count] */
  llmc_address part_scores; /* f32 [n_rows][parts][count] */
  llmc_address part_ids; /* i32 [n_rows][parts][count] */
} llmc_gpu_picks;

enum { LLMC_GPU_MOST_PICKS = 128 };

/* Machine code for one architecture: a file beside the library. */
typedef struct llmc_gpu_code {
  const char *driver; /* "cuda" or "rocm" */
  const char *arch; /* "sm_90a", "gfx942"; "compute_90": PTX, ended by a 0 */
  const char *file;
  uint64_t size; /* bytes */
} llmc_gpu_code;

struct llmc_gpu_runtime; /* gpu.h */

typedef struct llmc_gpu_plan {
  const struct llmc_gpu_runtime *runtime; /* the runtime's functions: naming them here is what links them in */
  int32_t n_codes;
  int32_t n_kernels;
  int32_t n_common; /* the first kernels, which the code of every driver holds; the others are in CUDA's alone */
  const llmc_gpu_code *codes;
  const char *const *kernels; /* [n_kernels]: names in the code */
  int32_t max_step_tokens;
  uint64_t arena_bytes;
  const void *constants; /* what kernels read besides weights; copied to the device */
  uint64_t constants_bytes;
  void (*step)(const llmc_gpu_step *step);
  void (*pick)(const llmc_gpu_step *step, const llmc_gpu_picks *picks); /* NULL: nobody samples from the model */
  int32_t pick_parts; /* of a row, each of which gives its best */
} llmc_gpu_plan;

#endif
