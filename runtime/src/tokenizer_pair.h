/* Two texts as the tokens of one, by the template that lies in the blob. */
#ifndef LLMC_TOKENIZER_PAIR_H
#define LLMC_TOKENIZER_PAIR_H

#include "tokenizer_blob.h"

/* What an entry of the template stands for, beside a token. */
#define LLMC_PAIR_FIRST (UINT32_MAX - 1)
#define LLMC_PAIR_SECOND UINT32_MAX

/* Whether the template names tokens there are, and texts twice; an empty one is fine. */
bool llmc_pair_template_fits(const llmc_tokenizer *tokenizer);

#endif
