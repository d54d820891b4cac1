/* Normalisation: the steps of frontend/tokenizer_normalizer.py, which says what each does and how its tables are made. */
#ifndef LLMC_TOKENIZER_NORMALIZE_H
#define LLMC_TOKENIZER_NORMALIZE_H

#include "tokenizer_merge.h"

/* Whether every step is known and its maps and texts lie inside their sections. */
bool llmc_steps_fit(const llmc_tokenizer *tokenizer);

/* Runs all steps over a stretch of text; `first`: it begins the text. *text and *size become the result, which lies in one of the two blocks, or is the text as it was
** where there is no step. The result is repaired UTF-8 (utf8.h) where there is one. False: no memory. */
bool llmc_normalize(const llmc_tokenizer *tokenizer, llmc_block blocks[2], bool first, const uint8_t **text, size_t *size);

#endif
