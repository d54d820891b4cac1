/* Recorded steps of a session, by their shape.
**
** A step of few tokens is hundreds of launches of a few microseconds each. The second step of a shape is recorded, it and later ones
** are replayed with one call; nothing is recorded at start. All that changes between two steps of a shape (tokens, positions, page
** tables) lies in device memory, so a recording stays right until an address changes: then llmc_gpu_graphs_clear(). */
#ifndef LLMC_GPU_GRAPHS_H
#define LLMC_GPU_GRAPHS_H

#include "device.h"

enum { LLMC_GPU_GRAPHS = 64 };

/* What the launches of a step depend on, beside the session's addresses. */
typedef struct llmc_gpu_shape {
  int32_t n_tokens, n_seqs, n_rows, length;
} llmc_gpu_shape;

typedef struct llmc_gpu_graph {
  llmc_gpu_shape shape;
  void *recorded; /* NULL: the shape was seen once */
  uint64_t used; /* when, counted in steps; 0: an empty entry */
} llmc_gpu_graph;

typedef struct llmc_gpu_graphs {
  llmc_gpu_graph entries[LLMC_GPU_GRAPHS];
  uint64_t steps;
} llmc_gpu_graphs;

/* The entry of a shape. NULL: it is new, and now it has one, in place of the shape that was not used for longest. What was recorded
** for that must have run to its end, so `stream` is waited for. *code: what the driver said to that, else 0. */
llmc_gpu_graph *llmc_gpu_graphs_find(llmc_gpu_graphs *graphs, llmc_gpu_shape shape, const llmc_driver *driver, llmc_device *device,
                                     void *stream, int *code);

/* Forgets everything; nothing may be running. */
void llmc_gpu_graphs_clear(llmc_gpu_graphs *graphs, const llmc_driver *driver, llmc_device *device);

#endif
