#include "tokenizer.h"

#include "memory.h"
#include "tokenizer_merge.h"
#include "tokenizer_normalize.h"
#include "tokenizer_special.h"

enum { BLOB_ALIGN = 16, MAX_TEXT = 1 << 30 };

llmc_status llmc_tokenizer_from_memory(const void *blob, size_t size, const llmc_allocator *allocator, llmc_tokenizer **out) {
  if (!out) return LLMC_ERR_ARG;
  *out = NULL;
  llmc_tokenizer t = {0};
  if (!blob || (uintptr_t)blob % BLOB_ALIGN || !llmc_allocator_choose(allocator, &t.allocator)) return LLMC_ERR_ARG;
  if (!llmc_tokenizer_map(&t, blob, size)) return LLMC_ERR_FORMAT;
  llmc_tokenizer *made = llmc_alloc(&t.allocator, 1, sizeof *made, BLOB_ALIGN);
  if (!made) return LLMC_ERR_NOMEM;
  *made = t;
  *out = made;
  return LLMC_OK;
}

void llmc_tokenizer_close(llmc_tokenizer *t) {
  if (!t) return;
  llmc_allocator allocator = t->allocator;
  llmc_free(&allocator, t);
}

/* The ids of a stretch of text between special tokens. False: no memory. */
static bool encode_stretch(llmc_merger *m, const uint8_t *text, size_t size, bool first, bool after_special) {
  const llmc_tokenizer_header *h = m->tokenizer->header;
  if (!llmc_normalize(m->tokenizer, m->normal_blocks, first, &text, &size)) return false;
  if (size == 0) return true;
  if (h->kind == LLMC_KIND_BPE) return llmc_encode_bpe(m, text, size);
  if (h->kind == LLMC_KIND_WORDPIECE) return llmc_encode_wordpiece(m, text, size);
  if (h->kind == LLMC_KIND_UNIGRAM) return llmc_encode_unigram(m, text, size);
  return llmc_encode_spm(m, text, size, after_special && h->flags & LLMC_FLAG_ADD_SPACE_PREFIX);
}

static bool encode_fragments(llmc_merger *m, llmc_fragments *fragments, const uint8_t *text) {
  const llmc_tokenizer_header *h = m->tokenizer->header;
  bool after_special = true; /* the start of a text counts as one */
  size_t start, size;
  uint32_t token;
  while (llmc_fragments_next(fragments, &start, &size, &token)) {
    if (token == LLMC_NO_SYMBOL && !encode_stretch(m, text + start, size, start == 0, after_special)) return false;
    if (token < h->tokens) llmc_ids_add(&m->ids, token); /* LLMC_NO_SYMBOL is none */
    after_special = token != LLMC_NO_SYMBOL;
  }
  return true;
}

llmc_status llmc_tokenizer_encode(const llmc_tokenizer *t, const char *text, size_t size, unsigned flags, int32_t *ids,
                                  size_t capacity, size_t *count) {
  if (!t || !count || (!text && size) || (!ids && capacity) || size > MAX_TEXT) return LLMC_ERR_ARG;
  if (flags & ~(unsigned)(LLMC_ADD_SPECIAL | LLMC_PARSE_SPECIAL)) return LLMC_ERR_ARG;
  const llmc_tokenizer_header *h = t->header;
  const uint8_t *bytes = (const uint8_t *)text;
  llmc_merger m = {.tokenizer = t, .ids = {ids, capacity, 0}};
  llmc_fragments fragments;
  if (!llmc_fragments_open(&fragments, t, bytes, size, flags & LLMC_PARSE_SPECIAL)) return LLMC_ERR_NOMEM;
  if (flags & LLMC_ADD_SPECIAL && h->flags & LLMC_FLAG_ADD_BOS) llmc_ids_add(&m.ids, (uint32_t)h->roles[LLMC_TOKEN_BOS]);
  bool fine = encode_fragments(&m, &fragments, bytes);
  if (flags & LLMC_ADD_SPECIAL && h->flags & LLMC_FLAG_ADD_EOS) llmc_ids_add(&m.ids, (uint32_t)h->roles[LLMC_TOKEN_EOS]);
  if (flags & LLMC_ADD_SPECIAL && h->flags & LLMC_FLAG_ADD_SEP) llmc_ids_add(&m.ids, (uint32_t)h->roles[LLMC_TOKEN_SEP]);
  llmc_fragments_close(&fragments);
  llmc_merger_close(&m);
  if (!fine) return LLMC_ERR_NOMEM;
  *count = m.ids.count;
  return *count > capacity ? LLMC_ERR_SPACE : LLMC_OK;
}

int32_t llmc_tokenizer_size(const llmc_tokenizer *t) { return t ? (int32_t)t->header->tokens : 0; }

int32_t llmc_tokenizer_token(const llmc_tokenizer *t, llmc_token_role role) {
  return t && (unsigned)role < LLMC_TOKEN_ROLES ? t->header->roles[role] : -1;
}

bool llmc_tokenizer_is_end(const llmc_tokenizer *t, int32_t id) {
  return t && id >= 0 && (uint32_t)id < t->header->tokens && t->attributes[id] & LLMC_ATTRIBUTE_END;
}
