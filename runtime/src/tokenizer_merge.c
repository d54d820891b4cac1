#include "tokenizer_merge.h"

#include "memory.h"
#include "utf8.h"

enum { LEAST_BYTES = 4096 };

void llmc_merger_close(llmc_merger *m) {
  llmc_free(&m->tokenizer->allocator, m->nodes_block.memory);
  llmc_free(&m->tokenizer->allocator, m->heap_block.memory);
  llmc_free(&m->tokenizer->allocator, m->text_block.memory);
  for (int i = 0; i < 2; i++) llmc_free(&m->tokenizer->allocator, m->normal_blocks[i].memory);
}

bool llmc_block_reserve(const llmc_allocator *a, llmc_block *block, size_t count, size_t size) {
  if (count > SIZE_MAX / 2 / size) return false;
  size_t bytes = count * size < LEAST_BYTES ? LEAST_BYTES : count * size;
  if (bytes <= block->bytes) return true;
  llmc_free(a, block->memory);
  block->memory = llmc_alloc(a, bytes, 1, 16);
  block->bytes = block->memory ? bytes : 0;
  return block->memory != NULL;
}

bool llmc_merger_begin(llmc_merger *m, size_t count) {
  const llmc_allocator *a = &m->tokenizer->allocator;
  /* Neighbours give count - 1 candidates; each of at most count - 1 merges takes one out and puts two in. */
  if (!llmc_block_reserve(a, &m->nodes_block, count, sizeof *m->nodes)) return false;
  if (!llmc_block_reserve(a, &m->heap_block, 2 * count, sizeof *m->heap)) return false;
  m->nodes = m->nodes_block.memory;
  m->heap = m->heap_block.memory;
  m->queued = 0;
  for (size_t i = 0; i < count; i++) m->nodes[i] = (llmc_node){.prev = (uint32_t)i - 1, .next = (uint32_t)i + 1};
  m->nodes[0].prev = LLMC_NO_NODE;
  m->nodes[count - 1].next = LLMC_NO_NODE;
  return true;
}

static bool before(llmc_candidate a, llmc_candidate b) { return a.key != b.key ? a.key < b.key : a.left < b.left; }

void llmc_merger_push(llmc_merger *m, llmc_candidate candidate) {
  size_t at = m->queued++;
  for (; at > 0 && before(candidate, m->heap[(at - 1) / 2]); at = (at - 1) / 2) m->heap[at] = m->heap[(at - 1) / 2];
  m->heap[at] = candidate;
}

bool llmc_merger_pop(llmc_merger *m, llmc_candidate *best) {
  if (m->queued == 0) return false;
  *best = m->heap[0];
  llmc_candidate last = m->heap[--m->queued];
  size_t at = 0;
  for (size_t child = 1; child < m->queued; child = 2 * at + 1) {
    if (child + 1 < m->queued && before(m->heap[child + 1], m->heap[child])) child++;
    if (!before(m->heap[child], last)) break;
    m->heap[at] = m->heap[child];
    at = child;
  }
  m->heap[at] = last;
  return true;
}

void llmc_merger_join(llmc_merger *m, uint32_t left) {
  uint32_t right = m->nodes[left].next;
  m->nodes[left].next = m->nodes[right].next;
  if (m->nodes[left].next != LLMC_NO_NODE) m->nodes[m->nodes[left].next].prev = left;
}

void llmc_ids_add(llmc_ids *ids, uint32_t id) {
  if (ids->count < ids->capacity) ids->ids[ids->count] = (int32_t)id;
  ids->count++;
}

bool llmc_merger_repair(llmc_merger *m, const uint8_t **text, size_t *size) {
  if (llmc_utf8_is_repaired(*text, *size)) return true;
  size_t repaired = llmc_utf8_repair(*text, *size, NULL);
  if (!llmc_block_reserve(&m->tokenizer->allocator, &m->text_block, repaired, 1)) return false;
  llmc_utf8_repair(*text, *size, m->text_block.memory);
  *text = m->text_block.memory;
  *size = repaired;
  return true;
}
