/* Byte-level BPE: a word's bytes are symbols, and of all adjacent pairs that have a merge, the one with the best rank is merged, until
** none is left. Sennrich et al., arXiv:1508.07909; the byte alphabet is that of GPT-2. */
#include "pretokenize.h"
#include "tokenizer_merge.h"
#include "utf8.h"

static void consider(llmc_merger *m, uint32_t left) {
  uint32_t right = m->nodes[left].next;
  if (right == LLMC_NO_NODE) return;
  uint32_t merge = llmc_find_merge(m->tokenizer, m->nodes[left].symbol, m->nodes[right].symbol);
  if (merge == LLMC_NO_SYMBOL) return;
  llmc_merger_push(m, (llmc_candidate){.key = m->tokenizer->merge_entries[merge].rank, .left = left, .what = merge});
}

/* Does a merge if its two symbols still stand side by side. */
static void merge(llmc_merger *m, llmc_candidate candidate) {
  const llmc_merge_entry *e = &m->tokenizer->merge_entries[candidate.what];
  llmc_node *left = &m->nodes[candidate.left];
  if (left->symbol != e->left || left->next == LLMC_NO_NODE || m->nodes[left->next].symbol != e->right) return;
  m->nodes[left->next].symbol = LLMC_NO_SYMBOL;
  left->symbol = e->result;
  llmc_merger_join(m, candidate.left);
  if (left->prev != LLMC_NO_NODE) consider(m, left->prev);
  consider(m, candidate.left);
}

/* A symbol is a token, or a string that merges made and no token is. */
static void emit(llmc_merger *m, uint32_t symbol) {
  const llmc_tokenizer *t = m->tokenizer;
  if (symbol < t->header->tokens) {
    llmc_ids_add(&m->ids, symbol);
    return;
  }
  size_t string = symbol - t->header->tokens;
  if (string + 1 >= t->n_expansion_ends || t->expansion_ends[string + 1] > t->n_expansions) return;
  for (uint32_t i = t->expansion_ends[string]; i < t->expansion_ends[string + 1]; i++)
    if (t->expansions[i] < t->header->tokens) llmc_ids_add(&m->ids, t->expansions[i]);
}

static bool encode_word(llmc_merger *m, const uint8_t *word, size_t size) {
  const llmc_tokenizer *t = m->tokenizer;
  uint32_t whole = t->header->flags & LLMC_FLAG_IGNORE_MERGES ? llmc_find_text(t, word, size) : LLMC_NO_SYMBOL;
  if (whole != LLMC_NO_SYMBOL) {
    llmc_ids_add(&m->ids, whole);
    return true;
  }
  if (!llmc_merger_begin(m, size)) return false;
  for (size_t i = 0; i < size; i++) m->nodes[i].symbol = t->bytes[word[i]];
  for (size_t i = 0; i + 1 < size; i++) consider(m, (uint32_t)i);
  for (llmc_candidate best; llmc_merger_pop(m, &best);) merge(m, best);
  for (uint32_t i = 0; i != LLMC_NO_NODE; i = m->nodes[i].next) emit(m, m->nodes[i].symbol);
  return true;
}

bool llmc_encode_bpe(llmc_merger *m, const uint8_t *text, size_t size) {
  if (!llmc_utf8_is_repaired(text, size)) {
    size_t repaired = llmc_utf8_repair(text, size, NULL);
    if (!llmc_block_reserve(&m->tokenizer->allocator, &m->text_block, repaired, 1)) return false;
    llmc_utf8_repair(text, size, m->text_block.memory);
    text = m->text_block.memory;
    size = repaired;
  }
  llmc_words words = llmc_words_of(m->tokenizer, text, size);
  const uint8_t *word;
  while (llmc_words_next(&words, &word, &size))
    if (!encode_word(m, word, size)) return false;
  return true;
}
