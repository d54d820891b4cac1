#include "pretokenize.h"

#include "utf8.h"

enum { START = 1 };

llmc_words llmc_words_of(const llmc_tokenizer *tokenizer, const uint8_t *text, size_t size) {
  llmc_words words = {.tokenizer = tokenizer, .text = text};
  words.level[0].end = size;
  return words;
}

/* Length of the match that begins at `at`; 0 if none does. */
static size_t match(const llmc_tokenizer *t, size_t pattern, const uint8_t *text, size_t at, size_t end) {
  const uint32_t symbols = t->header->symbols;
  const uint16_t *machine = t->machines + (size_t)t->machine_starts[pattern] * symbols;
  uint32_t state = START;
  size_t start = at, matched = at;
  while (at < end) {
    uint32_t code_point;
    size_t length = llmc_utf8_next(text + at, &code_point);
    uint32_t class = t->classes[t->class_pages[code_point >> 8] * 256u + (code_point & 0xFF)];
    uint32_t entry = machine[state * symbols + class];
    if (entry & LLMC_MATCH_BIT) matched = at;
    state = entry & ~LLMC_MATCH_BIT;
    if (!state) return matched - start;
    at += length;
  }
  return (machine[state * symbols + symbols - 1] & LLMC_MATCH_BIT ? end : matched) - start;
}

/* Length of the piece at `at`: a match, or everything before the next one. */
static size_t piece(const llmc_tokenizer *t, size_t pattern, const uint8_t *text, size_t at, size_t end) {
  size_t length = match(t, pattern, text, at, end), next = at;
  if (length) return length;
  do {
    uint32_t code_point;
    next += llmc_utf8_next(text + next, &code_point);
  } while (next < end && !match(t, pattern, text, next, end));
  return next - at;
}

/* A match of the first pattern is cut in threes of code points; the first piece takes what is over, and what stands before the match.
** Length of the next piece; 0 where there is no match any more. */
static size_t triple(llmc_words *w, size_t at, size_t end) {
  size_t length = 0, count = 3;
  if (at >= w->triples_end) {
    if (!match(w->tokenizer, 0, w->text, at, end)) length = piece(w->tokenizer, 0, w->text, at, end);
    if (at + length == end) return 0;
    w->triples_end = at + length + match(w->tokenizer, 0, w->text, at + length, end);
    count = 0;
    for (size_t i = at + length; i < w->triples_end; i += llmc_utf8_length(w->text[i])) count++;
    count = (count - 1) % 3 + 1;
  }
  while (count--) length += llmc_utf8_length(w->text[at + length]);
  return length;
}

bool llmc_words_next(llmc_words *w, const uint8_t **word, size_t *size) {
  for (;;) {
    size_t at = w->level[w->depth].at, end = w->level[w->depth].end;
    if (at == end) {
      if (w->depth == 0) return false;
      w->depth--;
      continue;
    }
    size_t length = w->depth == 0 && w->tokenizer->header->flags & LLMC_FLAG_TRIPLES ? triple(w, at, end) : 0;
    if (!length) length = piece(w->tokenizer, w->depth, w->text, at, end);
    w->level[w->depth].at += length;
    if (w->depth + 1 == w->tokenizer->n_patterns) {
      *word = w->text + at;
      *size = length;
      return true;
    }
    w->depth++;
    w->level[w->depth].at = at;
    w->level[w->depth].end = at + length;
  }
}
