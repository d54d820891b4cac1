/* Cuts a text into words with a tokenizer's machines (frontend/tokenizer_automaton.py says how they were made). */
#ifndef LLMC_PRETOKENIZE_H
#define LLMC_PRETOKENIZE_H

#include "tokenizer_blob.h"

/* A walk over the words of a text. level[i] is what is left of a piece that pattern i cuts. triples_end: where the match ends that
** is being cut in threes (LLMC_FLAG_TRIPLES). */
typedef struct llmc_words {
  const llmc_tokenizer *tokenizer;
  const uint8_t *text;
  size_t depth, triples_end;
  struct {
    size_t at, end;
  } level[LLMC_MAX_PATTERNS];
} llmc_words;

/* Begins a walk. text must be repaired (llmc_utf8_repair); it is not copied. */
llmc_words llmc_words_of(const llmc_tokenizer *tokenizer, const uint8_t *text, size_t size);

/* The next word, never empty. False at the end of the text. Together the words are the text. */
bool llmc_words_next(llmc_words *words, const uint8_t **word, size_t *size);

#endif
