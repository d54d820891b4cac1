/* tokenizer.h for the fake model: a token is a byte, but for a few. */
#include "tokenizer.h"

#include <string.h>

#include "fake_model.h"
#include "memory.h"

struct llmc_tokenizer {
  llmc_allocator allocator;
};

static const char long_text[] = "a token with a rather long text, to see what happens when one piece is larger than any buffer";
static const char smile[] = "\xf0\x9f\x98\x80";

llmc_status llmc_tokenizer_from_memory(const void *blob, size_t size, const llmc_allocator *allocator, llmc_tokenizer **out) {
  *out = NULL;
  if (size != 4 || memcmp(blob, "fake", 4) != 0) return LLMC_ERR_FORMAT;
  llmc_tokenizer *t = llmc_alloc_zeroed(allocator, 1, sizeof *t);
  if (!t) return LLMC_ERR_NOMEM;
  t->allocator = *allocator;
  *out = t;
  return LLMC_OK;
}

void llmc_tokenizer_close(llmc_tokenizer *t) {
  if (t) llmc_free(&(llmc_allocator){t->allocator.alloc, t->allocator.free, t->allocator.user}, t);
}

llmc_status llmc_tokenizer_encode(const llmc_tokenizer *t, const char *text, size_t size, unsigned flags, int32_t *ids, size_t capacity,
                                  size_t *count) {
  (void)t;
  size_t n = 0;
  if (flags & LLMC_ADD_SPECIAL) {
    if (n < capacity) ids[n] = FAKE_BOS;
    n++;
  }
  for (size_t i = 0; i < size; i++, n++)
    if (n < capacity) ids[n] = (unsigned char)text[i];
  *count = n;
  return n > capacity ? LLMC_ERR_SPACE : LLMC_OK;
}

/* Beginning, text, end, pair. */
llmc_status llmc_tokenizer_encode_pair(const llmc_tokenizer *t, const char *text, size_t text_size, const char *pair, size_t pair_size,
                                       unsigned flags, int32_t *ids, int32_t *segments, size_t capacity, size_t *count) {
  size_t first = 0, second = 0;
  llmc_tokenizer_encode(t, text, text_size, flags | LLMC_ADD_SPECIAL, ids, capacity, &first);
  if (first < capacity) ids[first] = FAKE_END;
  size_t used = first + 1 < capacity ? first + 1 : capacity;
  llmc_tokenizer_encode(t, pair, pair_size, flags, used ? ids + used : NULL, capacity - used, &second);
  *count = first + 1 + second;
  for (size_t i = 0; segments && i < *count && i < capacity; i++) segments[i] = i > first;
  return *count > capacity ? LLMC_ERR_SPACE : LLMC_OK;
}

llmc_status llmc_tokenizer_piece(const llmc_tokenizer *t, int32_t id, unsigned flags, const char **bytes, size_t *size) {
  static const char all[256] = {
#define ROW(x) (char)(x), (char)(x + 1), (char)(x + 2), (char)(x + 3), (char)(x + 4), (char)(x + 5), (char)(x + 6), (char)(x + 7)
      ROW(0),   ROW(8),   ROW(16),  ROW(24),  ROW(32),  ROW(40),  ROW(48),  ROW(56),  ROW(64),  ROW(72),  ROW(80),
      ROW(88),  ROW(96),  ROW(104), ROW(112), ROW(120), ROW(128), ROW(136), ROW(144), ROW(152), ROW(160), ROW(168),
      ROW(176), ROW(184), ROW(192), ROW(200), ROW(208), ROW(216), ROW(224), ROW(232), ROW(240), ROW(248)};
  (void)t;
  *bytes = "";
  *size = 0;
  if (id < 0 || id >= FAKE_VOCAB) return LLMC_ERR_ARG;
  if (id < 256) *bytes = &all[id], *size = 1;
  if (id == FAKE_CONTROL && flags & LLMC_SHOW_SPECIAL) *bytes = "<|control|>", *size = 11;
  if (id == FAKE_LONG) *bytes = long_text, *size = sizeof long_text - 1;
  if (id == FAKE_SMILE) *bytes = smile, *size = 4;
  return LLMC_OK;
}

llmc_status llmc_tokenizer_decode(const llmc_tokenizer *t, const int32_t *ids, size_t n, unsigned flags, char *out, size_t capacity,
                                  size_t *out_size) {
  *out_size = 0;
  for (size_t i = 0; i < n; i++) {
    const char *bytes;
    size_t size;
    llmc_status status = llmc_tokenizer_piece(t, ids[i], flags, &bytes, &size);
    if (status) return status;
    for (size_t b = 0; b < size; b++, ++*out_size)
      if (*out_size < capacity) out[*out_size] = bytes[b];
  }
  return *out_size > capacity ? LLMC_ERR_SPACE : LLMC_OK;
}

int32_t llmc_tokenizer_size(const llmc_tokenizer *t) { return t ? FAKE_VOCAB : 0; }

int32_t llmc_tokenizer_token(const llmc_tokenizer *t, llmc_token_role role) {
  return t && role == LLMC_TOKEN_EOS ? FAKE_END : -1;
}

bool llmc_tokenizer_is_end(const llmc_tokenizer *t, int32_t id) { return t && id == FAKE_END; }
