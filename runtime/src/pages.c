#include "pages.h"

#include <string.h>

#include "memory.h"

enum { FIRST_CAPACITY = 8, POOL_ALIGN = 64 };
enum { RESERVED_BYTES = 1 << 30 }; /* of address space, for a pool that then never moves */

void llmc_pages_open(llmc_pages *pages, const llmc_allocator *allocator, uint64_t page_bytes, int32_t limit) {
  *pages = (llmc_pages){.allocator = *allocator, .page_bytes = page_bytes, .limit = limit};
}

void llmc_pages_close(llmc_pages *pages) {
  llmc_free(&pages->allocator, pages->free_list);
  llmc_free(&pages->allocator, pages->pool);
  *pages = (llmc_pages){0};
}

void llmc_pages_on_gpu(llmc_pages *pages, const llmc_gpu_runtime *runtime, llmc_gpu_session *session, int32_t group) {
  pages->gpu_runtime = runtime;
  pages->gpu = session;
  pages->group = group;
}

/* The larger pool, with what the old one held. */
static llmc_status grow_pool(llmc_pages *pages, int64_t capacity, llmc_error *error) {
  if (pages->gpu)
    return pages->gpu_runtime->reserve(pages->gpu, pages->group, pages->page_bytes, pages->n_fresh, capacity, error);
  uint8_t *pool = llmc_alloc(&pages->allocator, (size_t)capacity, pages->page_bytes, POOL_ALIGN);
  if (!pool) return LLMC_ERR_NOMEM;
  if (pages->pool) memcpy(pool, pages->pool, (size_t)pages->n_fresh * pages->page_bytes);
  llmc_free(&pages->allocator, pages->pool);
  pages->pool = pool;
  return LLMC_OK;
}

/* Pages of the first pool. Growing holds two pools for a moment, half as much again as is needed: where memory that is not touched
** costs nothing, the whole pool is there from the start, unless it is very large. */
static int64_t first_capacity(const llmc_pages *pages) {
  bool lazy = !pages->gpu && pages->page_bytes && llmc_allocator_is_lazy(&pages->allocator);
  int64_t reserved = lazy ? (int64_t)(RESERVED_BYTES / pages->page_bytes) : 0;
  return reserved > FIRST_CAPACITY ? reserved : FIRST_CAPACITY;
}

/* Doubling keeps the copying cheap. Memory that no page was handed out from is never touched, so it costs no resident memory. */
static llmc_status grow(llmc_pages *pages, int64_t needed, llmc_error *error) {
  int64_t capacity = pages->capacity ? 2 * (int64_t)pages->capacity : first_capacity(pages);
  if (capacity < needed) capacity = needed;
  if (capacity > pages->limit) capacity = pages->limit;
  int32_t *list = llmc_alloc(&pages->allocator, (size_t)capacity, sizeof *list, sizeof(void *));
  llmc_status status = list ? grow_pool(pages, capacity, error) : LLMC_ERR_NOMEM;
  if (status) {
    llmc_free(&pages->allocator, list);
    return status;
  }
  if (pages->free_list) memcpy(list, pages->free_list, (size_t)pages->n_free * sizeof *list);
  llmc_free(&pages->allocator, pages->free_list);
  pages->free_list = list;
  pages->capacity = (int32_t)capacity;
  return LLMC_OK;
}

llmc_status llmc_pages_reserve(llmc_pages *pages, int64_t n, llmc_error *error) {
  int64_t needed = (int64_t)pages->n_fresh - pages->n_free + n;
  if (needed > pages->limit) return LLMC_ERR_FULL;
  return needed > pages->capacity ? grow(pages, needed, error) : LLMC_OK;
}

int32_t llmc_pages_take(llmc_pages *pages) {
  int32_t page = pages->n_free ? pages->free_list[--pages->n_free] : pages->n_fresh++;
  if (pages->gpu) pages->gpu_runtime->zero_page(pages->gpu, pages->group, pages->page_bytes, page);
  else memset(pages->pool + (uint64_t)page * pages->page_bytes, 0, pages->page_bytes);
  return page;
}

void llmc_pages_give(llmc_pages *pages, int32_t page) { pages->free_list[pages->n_free++] = page; }
