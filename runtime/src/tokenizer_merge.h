/* What both BPE tokenizers share: working memory, and a heap of merges to be done, best first and of equal ones leftmost first. */
#ifndef LLMC_TOKENIZER_MERGE_H
#define LLMC_TOKENIZER_MERGE_H

#include "tokenizer_blob.h"

#define LLMC_NO_NODE UINT32_MAX

typedef struct llmc_candidate {
  uint32_t key, left; /* smaller keys first, then smaller left */
  uint32_t what; /* tells a merge that is still possible from one whose parts have gone */
} llmc_candidate;

/* A symbol of the word being merged, in a list. Its place in the word never changes: a merge gives the left node what both held. */
typedef struct llmc_node {
  uint32_t symbol; /* BPE: symbol, LLMC_NO_SYMBOL once merged into the left one. SentencePiece: bytes, 0 once merged */
  uint32_t start; /* SentencePiece: offset of its first byte */
  uint32_t prev, next; /* LLMC_NO_NODE at the ends */
} llmc_node;

/* Ids on their way to the caller: counted all, stored as far as there is room. */
typedef struct llmc_ids {
  int32_t *ids;
  size_t capacity, count;
} llmc_ids;

/* A block that grows and is reused from word to word. */
typedef struct llmc_block {
  void *memory;
  size_t bytes;
} llmc_block;

typedef struct llmc_merger {
  const llmc_tokenizer *tokenizer;
  llmc_ids ids;
  llmc_block nodes_block, heap_block, text_block, normal_blocks[2];
  llmc_node *nodes;
  llmc_candidate *heap;
  size_t queued;
} llmc_merger;

void llmc_merger_close(llmc_merger *m);

/* Makes a block at least count * size bytes large; what it held is lost. False: no memory. */
bool llmc_block_reserve(const llmc_allocator *a, llmc_block *block, size_t count, size_t size);

/* Nodes 0 .. count - 1 in a row, with an empty heap that holds every candidate they can give. count > 0. False: no memory. */
bool llmc_merger_begin(llmc_merger *m, size_t count);

void llmc_merger_push(llmc_merger *m, llmc_candidate candidate);
bool llmc_merger_pop(llmc_merger *m, llmc_candidate *best);

/* Takes the node after `left` out of the list. */
void llmc_merger_join(llmc_merger *m, uint32_t left);

void llmc_ids_add(llmc_ids *ids, uint32_t id);

/* Makes a text repaired UTF-8 (utf8.h), in the text block if it was not. False: no memory. */
bool llmc_merger_repair(llmc_merger *m, const uint8_t **text, size_t *size);

/* The ids of a piece of text that holds no special token. False: no memory. */
bool llmc_encode_bpe(llmc_merger *m, const uint8_t *text, size_t size);
bool llmc_encode_unigram(llmc_merger *m, const uint8_t *text, size_t size);
bool llmc_encode_wordpiece(llmc_merger *m, const uint8_t *text, size_t size);
bool llmc_encode_spm(llmc_merger *m, const uint8_t *text, size_t size, bool space_before);

#endif
