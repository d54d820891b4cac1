/* Finds the special tokens that a text spells: longer ones first, each from left to right, never overlapping. */
#ifndef LLMC_TOKENIZER_SPECIAL_H
#define LLMC_TOKENIZER_SPECIAL_H

#include "tokenizer_blob.h"

/* A walk over a text as special tokens and the stretches between them. */
typedef struct llmc_fragments {
  const llmc_tokenizer *tokenizer;
  size_t size, at;
  uint32_t *taken; /* per byte: 0 free, 1 inside a token or swallowed by one, 2 + n where special token n begins. NULL: all free */
} llmc_fragments;

/* Begins a walk; `hidden` says whether control tokens count. False: no memory. */
bool llmc_fragments_open(llmc_fragments *f, const llmc_tokenizer *tokenizer, const uint8_t *text, size_t size, bool hidden);
void llmc_fragments_close(llmc_fragments *f);

/* The next stretch of text (*token is LLMC_NO_SYMBOL; *start, *size, not empty) or special token. False at the end. */
bool llmc_fragments_next(llmc_fragments *f, size_t *start, size_t *size, uint32_t *token);

#endif
