#include "vocabulary.h"

#include <string.h>

#include "memory.h"
#include "status.h"
#include "tokenizer.h"

enum { BLOB_ALIGN = 64 };

struct llmc_vocabulary {
  llmc_handle head;
  llmc_allocator allocator;
  llmc_tokenizer *tokenizer;
  void *copy; /* the caller's data; NULL: it is mapped, and the model's */
};

llmc_status llmc_vocabulary_map(const llmc_allocator *a, const void *data, size_t size, llmc_error *error, llmc_vocabulary **out) {
  *out = NULL;
  llmc_vocabulary *v = llmc_alloc_zeroed(a, 1, sizeof *v);
  if (!v) return llmc_fail(error, LLMC_ERR_NOMEM, "no memory for the vocabulary");
  v->head = (llmc_handle){&llmc_functions, NULL, LLMC_MAGIC_VOCABULARY};
  v->allocator = *a;
  llmc_status status = llmc_tokenizer_from_memory(data, size, a, &v->tokenizer);
  if (status) {
    llmc_vocabulary_unmap(v);
    return llmc_fail(error, status, status == LLMC_ERR_NOMEM ? "no memory for the vocabulary" : "the vocabulary is malformed");
  }
  *out = v;
  return LLMC_OK;
}

void llmc_vocabulary_unmap(llmc_vocabulary *v) {
  if (!v) return;
  llmc_allocator a = v->allocator;
  llmc_tokenizer_close(v->tokenizer);
  llmc_free(&a, v->copy);
  v->head.magic = 0;
  llmc_free(&a, v);
}

bool llmc_vocabulary_ends(const llmc_vocabulary *v, int32_t token) { return llmc_tokenizer_is_end(v->tokenizer, token); }

void llmc_vocabulary_piece(const llmc_vocabulary *v, int32_t token, uint32_t flags, const char **text, size_t *size) {
  if (llmc_tokenizer_piece(v->tokenizer, token, flags, text, size)) *size = 0;
}

llmc_status llmc_rt_vocabulary_open(const void *data, size_t size, const llmc_allocator *given, llmc_error *error, llmc_vocabulary **out) {
  llmc_allocator a;
  if (!out) return llmc_fail(error, LLMC_ERR_ARG, "no place for the vocabulary");
  *out = NULL;
  llmc_error_clear(error);
  if (!data) return llmc_fail(error, LLMC_ERR_ARG, "no data");
  if (!llmc_allocator_choose(given, &a)) return llmc_fail(error, LLMC_ERR_ARG, "allocator: a function is NULL");
  void *copy = llmc_alloc(&a, size, 1, BLOB_ALIGN);
  if (!copy) return llmc_fail(error, LLMC_ERR_NOMEM, "no memory for the vocabulary");
  memcpy(copy, data, size);
  llmc_status status = llmc_vocabulary_map(&a, copy, size, error, out);
  if (status) llmc_free(&a, copy);
  else (*out)->copy = copy;
  return status;
}

llmc_status llmc_rt_vocabulary_close(llmc_vocabulary *v) {
  if (!v->copy) return LLMC_ERR_ARG; /* the model's */
  llmc_vocabulary_unmap(v);
  return LLMC_OK;
}

llmc_status llmc_rt_tokenize(const llmc_vocabulary *v, const char *text, size_t size, uint32_t flags, int32_t *tokens, size_t capacity,
                             size_t *count) {
  if ((!text && size) || (!tokens && capacity) || !count || flags & ~(uint32_t)(LLMC_ADD_SPECIAL | LLMC_PARSE_SPECIAL)) return LLMC_ERR_ARG;
  return llmc_tokenizer_encode(v->tokenizer, text ? text : "", size, flags, tokens, capacity, count);
}

llmc_status llmc_rt_tokenize_pair(const llmc_vocabulary *v, const char *text, size_t text_size, const char *pair, size_t pair_size,
                                  uint32_t flags, int32_t *tokens, int32_t *segments, size_t capacity, size_t *count) {
  if ((!text && text_size) || (!pair && pair_size) || (!tokens && capacity) || !count) return LLMC_ERR_ARG;
  if (flags & ~(uint32_t)(LLMC_ADD_SPECIAL | LLMC_PARSE_SPECIAL)) return LLMC_ERR_ARG;
  return llmc_tokenizer_encode_pair(v->tokenizer, text ? text : "", text_size, pair ? pair : "", pair_size, flags & LLMC_PARSE_SPECIAL,
                                    tokens, segments, capacity, count);
}

llmc_status llmc_rt_detokenize(const llmc_vocabulary *v, const int32_t *tokens, size_t count, uint32_t flags, char *text, size_t capacity,
                               size_t *size) {
  if ((!tokens && count) || (!text && capacity) || !size || flags & ~(uint32_t)LLMC_SHOW_SPECIAL) return LLMC_ERR_ARG;
  return llmc_tokenizer_decode(v->tokenizer, tokens, count, flags, text, capacity, size);
}
