/* SentencePiece BPE: a text's characters are symbols, and of all adjacent pairs that spell a token, the one with the best score is
** merged, until none is left. Characters that are no token are spelt in byte tokens. Kudo and Richardson, arXiv:1808.06226. */
#include <string.h>

#include "tokenizer_merge.h"
#include "utf8.h"

static const uint8_t SPACE[3] = {0xE2, 0x96, 0x81}; /* how SentencePiece spells a space */

static void consider(llmc_merger *m, uint32_t left) {
  const llmc_node *a = &m->nodes[left];
  if (a->next == LLMC_NO_NODE) return;
  uint32_t size = a->symbol + m->nodes[a->next].symbol;
  uint32_t token = llmc_find_text(m->tokenizer, (const uint8_t *)m->text_block.memory + a->start, size);
  if (token == LLMC_NO_SYMBOL) return;
  llmc_merger_push(m, (llmc_candidate){.key = m->tokenizer->score_keys[token], .left = left, .what = size});
}

/* Does a merge if its two symbols still stand side by side: their sizes only grow, and a merged symbol has none. */
static void merge(llmc_merger *m, llmc_candidate candidate) {
  llmc_node *left = &m->nodes[candidate.left];
  if (left->symbol == 0 || left->next == LLMC_NO_NODE || left->symbol + m->nodes[left->next].symbol != candidate.what) return;
  m->nodes[left->next].symbol = 0;
  left->symbol = candidate.what;
  llmc_merger_join(m, candidate.left);
  if (left->prev != LLMC_NO_NODE) consider(m, left->prev);
  consider(m, candidate.left);
}

static void emit(llmc_merger *m, const uint8_t *text, size_t size) {
  uint32_t token = llmc_find_text(m->tokenizer, text, size);
  if (token != LLMC_NO_SYMBOL) llmc_ids_add(&m->ids, token);
  for (size_t i = 0; token == LLMC_NO_SYMBOL && i < size; i++) {
    uint32_t of_byte = m->tokenizer->bytes[text[i]];
    if (of_byte < m->tokenizer->header->tokens) llmc_ids_add(&m->ids, of_byte);
  }
}

/* Copies a text into the text block with its spaces spelt as SentencePiece does. Returns the size. */
static size_t escape(const uint8_t *text, size_t size, bool space_before, uint8_t *out) {
  size_t written = 0;
  if (space_before) {
    memcpy(out, SPACE, sizeof SPACE);
    written = sizeof SPACE;
  }
  for (size_t i = 0; i < size; i++) {
    if (text[i] != ' ') {
      out[written++] = text[i];
    } else {
      memcpy(out + written, SPACE, sizeof SPACE);
      written += sizeof SPACE;
    }
  }
  return written;
}

static size_t character(const uint8_t *text, size_t left) {
  size_t length = llmc_utf8_length(text[0]);
  return length < left ? length : left;
}

bool llmc_encode_spm(llmc_merger *m, const uint8_t *text, size_t size, bool space_before) {
  if (!llmc_block_reserve(&m->tokenizer->allocator, &m->text_block, size + 1, sizeof SPACE)) return false;
  uint8_t *escaped = m->text_block.memory;
  size = escape(text, size, space_before, escaped);
  size_t count = 0;
  for (size_t at = 0; at < size; at += character(escaped + at, size - at)) count++;
  if (!llmc_merger_begin(m, count)) return false;
  for (size_t i = 0, at = 0; i < count; at += m->nodes[i++].symbol) {
    m->nodes[i].start = (uint32_t)at;
    m->nodes[i].symbol = (uint32_t)character(escaped + at, size - at);
  }
  for (size_t i = 0; i + 1 < count; i++) consider(m, (uint32_t)i);
  for (llmc_candidate best; llmc_merger_pop(m, &best);) merge(m, best);
  for (uint32_t i = 0; i != LLMC_NO_NODE; i = m->nodes[i].next) emit(m, escaped + m->nodes[i].start, m->nodes[i].symbol);
  return true;
}
