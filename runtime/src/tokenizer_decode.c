#include <string.h>

#include "memory.h"
#include "tokenizer_blob.h"

static const uint8_t *piece(const llmc_tokenizer *t, uint32_t id, unsigned flags, size_t *size) {
  *size = 0;
  bool hidden = t->attributes[id] & (LLMC_ATTRIBUTE_CONTROL | LLMC_ATTRIBUTE_UNKNOWN);
  return hidden && !(flags & LLMC_SHOW_SPECIAL) ? t->pieces : llmc_token_bytes(t, id, size);
}

llmc_status llmc_tokenizer_piece(const llmc_tokenizer *t, int32_t id, unsigned flags, const char **bytes, size_t *size) {
  if (!t || !bytes || !size || flags & ~(unsigned)LLMC_SHOW_SPECIAL) return LLMC_ERR_ARG;
  if (id < 0 || (uint32_t)id >= t->header->tokens) return LLMC_ERR_ARG;
  *bytes = (const char *)piece(t, (uint32_t)id, flags, size);
  return LLMC_OK;
}

/* The three passes below each rewrite text[0 .. n) without what they drop and return its size. They are a habit of early releases
** of Transformers, which llama.cpp keeps for these tokenizers, because people compare texts. */

/* " ?", " !", " .", " ," lose their space. */
static size_t clean_punctuation(char *text, size_t n) {
  size_t out = n ? 1 : 0;
  char before = n ? text[0] : 0;
  for (size_t i = 1; i < n; i++) {
    char c = text[i];
    if (before == ' ' && (c == '?' || c == '!' || c == '.' || c == ',')) out--;
    before = c;
    text[out++] = c;
  }
  return out;
}

/* " ' " loses both spaces. */
static size_t clean_lone_apostrophe(char *text, size_t n) {
  size_t out = n ? 1 : 0;
  char before = n ? text[0] : 0;
  for (size_t i = 1; i < n; i++) {
    char c = text[i];
    bool lone = c == '\'' && before == ' ' && i + 1 < n && text[i + 1] == ' ';
    if (lone) {
      out--;
      i++;
    }
    before = lone ? 0 : c;
    text[out++] = c;
  }
  return out;
}

/* " 's", " 'm", " 're", " 've" lose their space. */
static size_t clean_contractions(char *text, size_t n) {
  size_t out = n ? 1 : 0;
  char before = n ? text[0] : 0;
  for (size_t i = 1; i < n; i++) {
    char c = text[i], second = i + 1 < n ? text[i + 1] : 0, third = i + 2 < n ? text[i + 2] : 0;
    bool contraction = second == 's' || second == 'm' || ((second == 'r' || second == 'v') && third == 'e');
    if (before == ' ' && c == '\'' && contraction) out--;
    before = c;
    text[out++] = c;
  }
  return out;
}

typedef struct range {
  const int32_t *ids;
  size_t n;
  bool drop_space; /* of the first token */
} range;

/* The tokens that are printed, without the BOS and EOS that are to be left out. */
static range shown(const llmc_tokenizer *t, const int32_t *ids, size_t n, unsigned flags) {
  const llmc_tokenizer_header *h = t->header;
  range r = {ids, n, h->flags & LLMC_FLAG_ADD_SPACE_PREFIX};
  if (!(flags & LLMC_REMOVE_SPECIAL)) return r;
  if (h->flags & LLMC_FLAG_ADD_BOS && r.n && r.ids[0] == h->roles[LLMC_TOKEN_BOS]) r = (range){r.ids + 1, r.n - 1, false};
  if (h->flags & LLMC_FLAG_ADD_EOS && r.n && r.ids[r.n - 1] == h->roles[LLMC_TOKEN_EOS]) r.n--;
  return r;
}

/* Writes the pieces one after the other if out is there. Returns their size. */
static size_t join(const llmc_tokenizer *t, range r, unsigned flags, char *out) {
  size_t total = 0;
  for (size_t i = 0; i < r.n; i++) {
    size_t size;
    const uint8_t *bytes = piece(t, (uint32_t)r.ids[i], flags, &size);
    bool first = t->header->kind == LLMC_KIND_WORDPIECE ? total == 0 : i == 0;
    bool drop = first && r.drop_space && size && bytes[0] == ' ';
    if (out && size > drop) memcpy(out + total, bytes + drop, size - drop);
    total += size - drop;
  }
  return total;
}

static size_t join_cleaned(const llmc_tokenizer *t, range r, unsigned flags, char *out) {
  size_t n = join(t, r, flags, out);
  return clean_contractions(out, clean_lone_apostrophe(out, clean_punctuation(out, n)));
}

llmc_status llmc_tokenizer_decode(const llmc_tokenizer *t, const int32_t *ids, size_t n, unsigned flags, char *out, size_t capacity,
                                  size_t *out_size) {
  if (!t || !out_size || (!ids && n) || (!out && capacity)) return LLMC_ERR_ARG;
  if (flags & ~(unsigned)(LLMC_SHOW_SPECIAL | LLMC_REMOVE_SPECIAL)) return LLMC_ERR_ARG;
  for (size_t i = 0; i < n; i++)
    if (ids[i] < 0 || (uint32_t)ids[i] >= t->header->tokens) return LLMC_ERR_ARG;
  range r = shown(t, ids, n, flags);
  size_t joined = join(t, r, flags, NULL);
  bool clean = t->header->flags & LLMC_FLAG_CLEAN_SPACES;
  *out_size = joined;
  if (joined <= capacity) {
    if (joined) *out_size = clean ? join_cleaned(t, r, flags, out) : join(t, r, flags, out);
    return LLMC_OK;
  }
  if (!clean) return LLMC_ERR_SPACE;
  char *text = llmc_alloc(&t->allocator, joined, 1, 16); /* cleaned it may fit, and its size is to be said exactly */
  if (!text) return LLMC_ERR_NOMEM;
  *out_size = join_cleaned(t, r, flags, text);
  bool fits = *out_size <= capacity;
  if (fits && *out_size) memcpy(out, text, *out_size);
  llmc_free(&t->allocator, text);
  return fits ? LLMC_OK : LLMC_ERR_SPACE;
}
