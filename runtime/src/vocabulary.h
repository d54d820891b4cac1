/* The handle of llmc.h around a compiled tokenizer. Part of artifacts and of libllmc. */
#ifndef LLMC_VOCABULARY_H
#define LLMC_VOCABULARY_H

#include <stdbool.h>

#include "llmc_api.h"

/* Functions of vocabularies that were made by this library; a library defines it once. */
extern const llmc_api_table llmc_functions;

/* A vocabulary over memory that stays where it is. */
llmc_status llmc_vocabulary_map(const llmc_allocator *allocator, const void *data, size_t size, llmc_error *error, llmc_vocabulary **out);
void llmc_vocabulary_unmap(llmc_vocabulary *vocabulary); /* NULL is fine */

/* Whether the token ends a text. */
bool llmc_vocabulary_ends(const llmc_vocabulary *vocabulary, int32_t token);

/* Bytes of one token inside a text, inside the vocabulary's own memory. flags: LLMC_SHOW_SPECIAL. An unknown id has none. */
void llmc_vocabulary_piece(const llmc_vocabulary *vocabulary, int32_t token, uint32_t flags, const char **text, size_t *size);

llmc_status llmc_rt_vocabulary_open(const void *data, size_t size, const llmc_allocator *allocator, llmc_error *error,
                                    llmc_vocabulary **out);
llmc_status llmc_rt_vocabulary_close(llmc_vocabulary *vocabulary);
llmc_status llmc_rt_tokenize(const llmc_vocabulary *vocabulary, const char *text, size_t size, uint32_t flags, int32_t *tokens,
                             size_t capacity, size_t *count);
llmc_status llmc_rt_tokenize_pair(const llmc_vocabulary *vocabulary, const char *text, size_t text_size, const char *pair,
                                  size_t pair_size, uint32_t flags, int32_t *tokens, int32_t *segments, size_t capacity, size_t *count);
llmc_status llmc_rt_detokenize(const llmc_vocabulary *vocabulary, const int32_t *tokens, size_t count, uint32_t flags, char *text,
                               size_t capacity, size_t *size);

#endif
