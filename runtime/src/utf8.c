#include "utf8.h"

enum { REPLACEMENT = 0xFFFD, LAST_CODE_POINT = 0x10FFFF };

size_t llmc_utf8_length(uint8_t lead) {
  static const uint8_t by_high_bits[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
  return by_high_bits[lead >> 4];
}

size_t llmc_utf8_next(const uint8_t *text, uint32_t *code_point) {
  uint32_t lead = text[0];
  if (lead < 0x80) {
    *code_point = lead;
    return 1;
  }
  size_t length = llmc_utf8_length(text[0]);
  uint32_t value = lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; i++) value = value << 6 | (text[i] & 0x3F);
  *code_point = value;
  return length;
}

bool llmc_is_blank(const uint8_t *text) {
  uint32_t c;
  llmc_utf8_next(text, &c);
  return c == 0x20 || (c >= 9 && c <= 13) || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/* Length of the sequence at the start of any text, or 0 if there is none that has a code point. */
static size_t read(const uint8_t *text, size_t size, uint32_t *code_point) {
  if (text[0] >= 0x80 && (text[0] < 0xC0 || text[0] >= 0xF8)) return 0;
  size_t length = llmc_utf8_length(text[0]);
  if (length > size) return 0;
  for (size_t i = 1; i < length; i++)
    if ((text[i] & 0xC0) != 0x80) return 0;
  llmc_utf8_next(text, code_point);
  return *code_point <= LAST_CODE_POINT ? length : 0;
}

static size_t shortest(uint32_t code_point) {
  return code_point < 0x80 ? 1 : code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
}

size_t llmc_utf8_write(uint32_t code_point, uint8_t *out) {
  size_t length = shortest(code_point);
  static const uint8_t lead[5] = {0, 0x00, 0xC0, 0xE0, 0xF0};
  for (size_t i = length - 1; i > 0; i--) {
    out[i] = (uint8_t)(0x80 | (code_point & 0x3F));
    code_point >>= 6;
  }
  out[0] = (uint8_t)(lead[length] | code_point);
  return length;
}

size_t llmc_utf8_repair(const uint8_t *text, size_t size, uint8_t *out) {
  size_t written = 0;
  for (size_t at = 0; at < size;) {
    uint32_t code_point;
    size_t length = read(text + at, size - at, &code_point);
    if (!length) {
      code_point = REPLACEMENT;
      length = 1;
    }
    size_t needed = shortest(code_point);
    if (out) llmc_utf8_write(code_point, out + written);
    written += needed;
    at += length;
  }
  return written;
}

bool llmc_utf8_is_repaired(const uint8_t *text, size_t size) {
  for (size_t at = 0; at < size;) {
    uint32_t code_point;
    size_t length = read(text + at, size - at, &code_point);
    if (!length || length != shortest(code_point)) return false;
    at += length;
  }
  return true;
}
