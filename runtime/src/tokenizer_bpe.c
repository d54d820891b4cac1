/* BPE: a word's bytes (or characters, as SentencePiece has it) are symbols, and of all adjacent pairs that have a merge, the one with the best rank is merged, until
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

/* Number of symbols that a word begins as: its bytes, or its characters, those without a token byte by byte. */
static size_t symbols(const llmc_tokenizer *t, const uint8_t *word, size_t size, llmc_node *nodes) {
  bool characters = t->header->flags & LLMC_FLAG_CHARACTERS;
  size_t count = 0;
  for (size_t at = 0, length; at < size; at += length) {
    length = characters ? llmc_utf8_length(word[at]) : 1;
    uint32_t token = characters ? llmc_find_text(t, word + at, length) : LLMC_NO_SYMBOL;
    if (token == LLMC_NO_SYMBOL) length = 1;
    if (nodes) nodes[count].symbol = token == LLMC_NO_SYMBOL ? t->bytes[word[at]] : token;
    count++;
  }
  return count;
}

static bool encode_word(llmc_merger *m, const uint8_t *word, size_t size) {
  const llmc_tokenizer *t = m->tokenizer;
  uint32_t whole = t->header->flags & LLMC_FLAG_IGNORE_MERGES ? llmc_find_text(t, word, size) : LLMC_NO_SYMBOL;
  if (whole != LLMC_NO_SYMBOL) {
    llmc_ids_add(&m->ids, whole);
    return true;
  }
  size_t count = symbols(t, word, size, NULL);
  if (!llmc_merger_begin(m, count)) return false;
  symbols(t, word, size, m->nodes);
  for (size_t i = 0; i + 1 < count; i++) consider(m, (uint32_t)i);
  for (llmc_candidate best; llmc_merger_pop(m, &best);) merge(m, best);
  for (uint32_t i = 0; i != LLMC_NO_NODE; i = m->nodes[i].next) emit(m, m->nodes[i].symbol);
  return true;
}

bool llmc_encode_bpe(llmc_merger *m, const uint8_t *text, size_t size) {
  if (!llmc_merger_repair(m, &text, &size)) return false;
  llmc_words words = llmc_words_of(m->tokenizer, text, size);
  const uint8_t *word;
  while (llmc_words_next(&words, &word, &size))
    if (!encode_word(m, word, size)) return false;
  return true;
}
