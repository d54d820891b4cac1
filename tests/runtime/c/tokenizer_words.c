/* What the tokenizer tests need beside tokenizer.h: the words of a text, and a count of the basic blocks that were run. */
#include "pretokenize.h"

/* Stores the sizes of a text's words. Returns how many there are. The text must be repaired; `sizes` has room for `size`. */
size_t llmc_test_words(const llmc_tokenizer *tokenizer, const uint8_t *text, size_t size, uint32_t *sizes) {
  llmc_words words = llmc_words_of(tokenizer, text, size);
  const uint8_t *word;
  size_t count = 0, length;
  while (llmc_words_next(&words, &word, &length)) sizes[count++] = (uint32_t)length;
  return count;
}

static uint64_t blocks;

void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void) { blocks++; }

uint64_t llmc_test_blocks(void) { return blocks; }
