#include "gpu_graphs.h"

static bool equal(llmc_gpu_shape a, llmc_gpu_shape b) {
  return a.n_tokens == b.n_tokens && a.n_seqs == b.n_seqs && a.n_rows == b.n_rows && a.length == b.length;
}

llmc_gpu_graph *llmc_gpu_graphs_find(llmc_gpu_graphs *graphs, llmc_gpu_shape shape, const llmc_driver *driver, llmc_device *device,
                                     void *stream, int *code) {
  llmc_gpu_graph *oldest = graphs->entries;
  uint64_t now = ++graphs->steps;
  *code = 0;
  for (llmc_gpu_graph *g = graphs->entries; g < graphs->entries + LLMC_GPU_GRAPHS; g++) {
    if (g->used && equal(g->shape, shape)) {
      g->used = now;
      return g;
    }
    if (g->used < oldest->used) oldest = g;
  }
  if (oldest->recorded) {
    *code = driver->wait(device, stream);
    driver->close_graph(device, oldest->recorded);
  }
  *oldest = (llmc_gpu_graph){.shape = shape, .used = now};
  return NULL;
}

void llmc_gpu_graphs_clear(llmc_gpu_graphs *graphs, const llmc_driver *driver, llmc_device *device) {
  for (llmc_gpu_graph *g = graphs->entries; g < graphs->entries + LLMC_GPU_GRAPHS; g++) driver->close_graph(device, g->recorded);
  *graphs = (llmc_gpu_graphs){.steps = graphs->steps};
}
