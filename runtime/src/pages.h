/* Cache pages of one group: equal blocks of one growing buffer, handed out zeroed and taken back through a free list. The buffer is
** host memory, or a GPU session's. */
#ifndef LLMC_PAGES_H
#define LLMC_PAGES_H

#include "gpu.h"
#include "llmc_plan.h"
#include "status.h"

typedef struct llmc_pages {
  llmc_allocator allocator;
  uint64_t page_bytes;
  const llmc_gpu_runtime *gpu_runtime; /* NULL: pages are host memory */
  llmc_gpu_session *gpu;
  int32_t group; /* of the GPU session */
  uint8_t *pool; /* [capacity] pages, aligned to 64; moves when it grows. NULL on a GPU */
  int32_t *free_list; /* [capacity]: pages that were given back, n_free of them */
  int32_t capacity;
  int32_t limit; /* most pages ever */
  int32_t n_free;
  int32_t n_fresh; /* pages 0 .. n_fresh - 1 have been handed out before */
} llmc_pages;

/* Holds no memory yet. */
void llmc_pages_open(llmc_pages *pages, const llmc_allocator *allocator, uint64_t page_bytes, int32_t limit);
void llmc_pages_close(llmc_pages *pages);

/* Pages of a new, empty pool are to be memory of a GPU session. */
void llmc_pages_on_gpu(llmc_pages *pages, const llmc_gpu_runtime *runtime, llmc_gpu_session *session, int32_t group);

/* Makes sure that the next n calls of llmc_pages_take() succeed. LLMC_ERR_FULL: the limit; LLMC_ERR_NOMEM, LLMC_ERR_DEVICE. */
llmc_status llmc_pages_reserve(llmc_pages *pages, int64_t n, llmc_error *error);

/* A page filled with zeros. Only after llmc_pages_reserve(). */
int32_t llmc_pages_take(llmc_pages *pages);

void llmc_pages_give(llmc_pages *pages, int32_t page);

#endif
