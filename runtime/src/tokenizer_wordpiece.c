/* WordPiece: a word is cut from left to right, each time the longest piece the vocabulary has, or is unknown as a whole.
** Wu et al., arXiv:1609.08144. */
#include <string.h>

#include "pretokenize.h"
#include "tokenizer_merge.h"
#include "utf8.h"

/* What begins the key of a piece that begins a word: U+2581 in GGUF files, else a byte that no text holds. */
static const uint8_t PHANTOM_SPACE[3] = {0xE2, 0x96, 0x81}, FIRST[1] = {0xFF};

/* Size of the longest key that the text begins with, and its token. */
static size_t longest_key(const llmc_tokenizer *t, const uint8_t *text, size_t size, uint32_t *token) {
  uint32_t node = 0;
  size_t longest = 0;
  for (size_t i = 0; i < size && (node = llmc_trie_step(&t->word_trie, node, text[i])) != 0; i++) {
    uint32_t ending = t->word_trie.nodes[node].ending;
    if (ending == 0 || ending > t->header->tokens) continue;
    longest = i + 1;
    *token = ending - 1;
  }
  return longest;
}

static bool too_long(const llmc_tokenizer *t, const uint8_t *word, size_t size) {
  size_t code_points = 0;
  for (size_t at = 0; at < size; at += llmc_utf8_length(word[at])) code_points++;
  return t->header->longest_word && code_points > t->header->longest_word;
}

/* `key` is the word with what begins a key before it. */
static void encode_word(llmc_merger *m, const uint8_t *key, size_t size, bool unknown) {
  size_t before = m->ids.count;
  for (size_t at = 0, length; at < size && !unknown; at += length) {
    uint32_t token = 0;
    length = longest_key(m->tokenizer, key + at, size - at, &token);
    if (length) llmc_ids_add(&m->ids, token);
    else unknown = true;
  }
  if (!unknown) return;
  m->ids.count = before;
  llmc_ids_add(&m->ids, (uint32_t)m->tokenizer->header->roles[LLMC_TOKEN_UNKNOWN]);
}

bool llmc_encode_wordpiece(llmc_merger *m, const uint8_t *text, size_t size) {
  const llmc_tokenizer *t = m->tokenizer;
  bool phantom = t->header->flags & LLMC_FLAG_PHANTOM_SPACE;
  const uint8_t *first = phantom ? PHANTOM_SPACE : FIRST, *word;
  size_t n_first = phantom ? sizeof PHANTOM_SPACE : sizeof FIRST;
  llmc_words words = llmc_words_of(t, text, size);
  while (llmc_words_next(&words, &word, &size)) {
    if (llmc_is_blank(word)) continue;
    if (!llmc_block_reserve(&t->allocator, &m->text_block, n_first + size, 1)) return false;
    uint8_t *key = m->text_block.memory;
    memcpy(key, first, n_first);
    memcpy(key + n_first, word, size);
    encode_word(m, key, n_first + size, too_long(t, word, size));
  }
  return true;
}
