/* A session on a device, as the files about it see it. */
#ifndef LLMC_GPU_SESSION_H
#define LLMC_GPU_SESSION_H

#include "gpu_graphs.h"
#include "gpu_state.h"

enum { LLMC_GPU_SLOTS = 2 }; /* steps whose numbers may be on their way at once */

struct llmc_gpu_queue {
  llmc_gpu *gpu;
  void *stream;
  int32_t waited; /* pieces of the weights that are waited for */
  int code; /* of the first call that failed since the last report */
};

/* Pinned memory that grows. */
typedef struct llmc_gpu_pinned {
  void *data;
  uint64_t bytes;
} llmc_gpu_pinned;

struct llmc_gpu_session {
  llmc_gpu *gpu;
  llmc_gpu_needs needs;
  struct llmc_gpu_queue queue;
  llmc_address arena;
  llmc_address numbers; /* i32, the device's copy of what was staged last */
  int32_t *staged[LLMC_GPU_SLOTS]; /* pinned */
  void *sent[LLMC_GPU_SLOTS]; /* events: the slot has been copied */
  int32_t slot; /* of the next step */
  llmc_address logits;
  int32_t logits_rows; /* it has room for */
  llmc_address *pools; /* [n_cache_groups] */
  llmc_address *tables; /* [n_cache_groups] */
  llmc_gpu_graphs graphs;
  llmc_gpu_step last; /* the last step, for what is asked about it */
  llmc_gpu_pinned host_logits;
  bool fetched; /* host_logits are those of the last step */
  llmc_address picks; /* llmc_gpu_picks, one array after the other */
  uint64_t picks_bytes;
  llmc_gpu_pinned host_picks;
};

/* The session's first failure since the last report, with a text; LLMC_OK if there is none. */
llmc_status llmc_gpu_report(llmc_gpu_session *session, llmc_error *error, const char *what);

/* Remembers the driver's code if it is the first that says failure; returns what is remembered. */
int llmc_gpu_fail_once(struct llmc_gpu_queue *queue, int code);

#endif
