/* Unigram: of all ways to cut a text into tokens the one whose scores add up to most, found by dynamic programming over its bytes
** (Viterbi). What no token covers is one unknown token, or byte tokens. Kudo, arXiv:1804.10959. */
#include "pretokenize.h"
#include "tokenizer_merge.h"
#include "utf8.h"

/* The best way to cut the bytes before a place: the last token's first byte, the token, and the sum of all scores. */
typedef struct best {
  double score;
  uint32_t start, token; /* LLMC_NO_SYMBOL: there is no way */
} best;

static void offer(best *place, double score, size_t start, uint32_t token) {
  if (place->token == LLMC_NO_SYMBOL || score > place->score) *place = (best){score, (uint32_t)start, token};
}

/* Offers every token that begins at `at`, and the unknown one where none covers just the character there. */
static void extend(const llmc_tokenizer *t, const uint8_t *text, size_t at, size_t length, size_t size, best *places) {
  uint32_t node = 0, unknown = (uint32_t)t->header->roles[LLMC_TOKEN_UNKNOWN];
  bool covered = false;
  for (size_t i = at; i < size && (node = llmc_trie_step(&t->word_trie, node, text[i])) != 0; i++) {
    uint32_t ending = t->word_trie.nodes[node].ending;
    if (ending == 0 || ending > t->header->tokens) continue;
    offer(&places[i + 1], places[at].score + t->scores[ending - 1], at, ending - 1);
    covered |= i + 1 == at + length;
  }
  if (!covered) offer(&places[at + length], places[at].score + t->scores[unknown], at, unknown);
}

static void emit(llmc_merger *m, const uint8_t *text, size_t size, uint32_t token) {
  const llmc_tokenizer *t = m->tokenizer;
  bool bytes = t->header->flags & LLMC_FLAG_BYTE_FALLBACK && token == (uint32_t)t->header->roles[LLMC_TOKEN_UNKNOWN];
  for (size_t i = 0; bytes && i < size; i++)
    if (t->bytes[text[i]] < t->header->tokens) llmc_ids_add(&m->ids, t->bytes[text[i]]);
  if (!bytes) llmc_ids_add(&m->ids, token);
}

static bool encode_word(llmc_merger *m, const uint8_t *text, size_t size) {
  const llmc_tokenizer *t = m->tokenizer;
  if (!llmc_block_reserve(&t->allocator, &m->nodes_block, size + 1, sizeof(best))) return false;
  best *places = m->nodes_block.memory;
  for (size_t i = 0; i <= size; i++) places[i].token = LLMC_NO_SYMBOL;
  places[0] = (best){0.0, 0, 0};
  for (size_t at = 0, length; at < size; at += length) {
    length = llmc_utf8_length(text[at]);
    extend(t, text, at, length, size, places);
  }
  /* Turned round, every place says where the token that begins there ends; runs of unknown ones become one. */
  uint32_t unknown = (uint32_t)t->header->roles[LLMC_TOKEN_UNKNOWN];
  best here = places[size], last = {0.0, (uint32_t)size, LLMC_NO_SYMBOL};
  for (size_t at = size; at > 0;) {
    bool run = here.token == unknown && last.token == unknown;
    last = (best){0.0, run ? last.start : (uint32_t)at, here.token};
    at = here.start;
    here = places[at];
    places[at] = last;
  }
  for (size_t at = 0; at < size; at = places[at].start) emit(m, text + at, places[at].start - at, places[at].token);
  return true;
}

bool llmc_encode_unigram(llmc_merger *m, const uint8_t *text, size_t size) {
  if (!llmc_merger_repair(m, &text, &size)) return false;
  if (m->tokenizer->n_patterns == 0) return encode_word(m, text, size);
  llmc_words words = llmc_words_of(m->tokenizer, text, size);
  const uint8_t *word;
  while (llmc_words_next(&words, &word, &size))
    if (!encode_word(m, word, size)) return false;
  return true;
}
