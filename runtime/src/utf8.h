/* UTF-8 as byte-level tokenizers read it: leniently on the way in, strictly afterwards. */
#ifndef LLMC_UTF8_H
#define LLMC_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length of the sequence that a byte begins, by its high bits alone; 1 for a byte that begins none. */
size_t llmc_utf8_length(uint8_t lead);

/* The code point at the start of repaired text; returns its length. */
size_t llmc_utf8_next(const uint8_t *text, uint32_t *code_point);

/* Whether the code point at the start of repaired text is a blank: Unicode's White_Space. */
bool llmc_is_blank(const uint8_t *text);

/* The shortest sequence of a code point up to U+10FFFF into `out`, which has room for 4 bytes; returns its length. */
size_t llmc_utf8_write(uint32_t code_point, uint8_t *out);

/* Makes every code point its shortest sequence. A byte that begins no complete sequence, or one beyond U+10FFFF, becomes U+FFFD;
** overlong sequences and surrogates are taken for what they spell. out NULL: only counts. Returns the size, at most 3 * size. */
size_t llmc_utf8_repair(const uint8_t *text, size_t size, uint8_t *out);

/* Whether llmc_utf8_repair() would leave the text as it is. */
bool llmc_utf8_is_repaired(const uint8_t *text, size_t size);

#endif
