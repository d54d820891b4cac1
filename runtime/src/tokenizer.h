/* Text to token ids and back, with tables that frontend/tokenizer.py compiled.
**
** A tokenizer reads its tables where they lie (mapped, usually) and keeps nothing else: opening costs the same for every vocabulary.
** It is immutable: any number of threads may use one at once. Working memory comes from the allocator and is given back before a
** call returns. */
#ifndef LLMC_TOKENIZER_H
#define LLMC_TOKENIZER_H

#include <stdbool.h>

#include "llmc.h"

typedef struct llmc_tokenizer llmc_tokenizer;

/* Flags of decode beside llmc.h's LLMC_ADD_SPECIAL and LLMC_PARSE_SPECIAL (encode), LLMC_SHOW_SPECIAL (decode). */
enum {
  LLMC_REMOVE_SPECIAL = 8 /* leave out the BOS and EOS that encode adds */
};

typedef enum llmc_token_role {
  LLMC_TOKEN_BOS, /* begins a text */
  LLMC_TOKEN_EOS, /* ends one */
  LLMC_TOKEN_EOT, /* ends a turn of a chat */
  LLMC_TOKEN_EOM, /* ends a message that is to be continued */
  LLMC_TOKEN_UNKNOWN,
  LLMC_TOKEN_SEP,
  LLMC_TOKEN_PAD,
  LLMC_TOKEN_ROLES
} llmc_token_role;

/* Opens tables in memory.
**
** blob, size  what compile_tokenizer() wrote, aligned to 16 bytes; stays the caller's and must outlive the tokenizer.
** allocator   copied; NULL means malloc and free.
** out         on LLMC_OK a tokenizer the caller closes with llmc_tokenizer_close(); otherwise NULL.
**
** Checked are sizes, offsets and whatever is cheap to check; a table that was altered may give wrong tokens but is never read beyond
** its end. Returns LLMC_ERR_FORMAT (no tables, truncated, or another version), LLMC_ERR_NOMEM, LLMC_ERR_ARG. */
llmc_status llmc_tokenizer_from_memory(const void *blob, size_t size, const llmc_allocator *allocator, llmc_tokenizer **out);

void llmc_tokenizer_close(llmc_tokenizer *tokenizer); /* NULL is fine */

/* Text to token ids.
**
** text, size  any bytes, 0 included, at most 1 GiB. What is not UTF-8 becomes U+FFFD byte by byte (byte-level BPE) or stays as it is
**             (SentencePiece, which spells it in byte tokens).
** flags       LLMC_ADD_SPECIAL: the BOS and EOS that the model expects; LLMC_PARSE_SPECIAL: text that spells a control token is that
**             token. User-defined tokens are always recognised.
** ids         room for `capacity` ids; may be NULL if capacity is 0.
** count       on LLMC_OK and LLMC_ERR_SPACE the number of ids of the whole text. At most 3 * size + 5 ids come out, unless
**             normalisation makes longer texts of characters.
**
** Returns LLMC_ERR_SPACE if they do not fit (ids then holds the first `capacity`), LLMC_ERR_NOMEM, LLMC_ERR_ARG.
** Time grows with size * log(size), whatever the text. Working memory is about 40 bytes per byte of the longest word (of the longest
** stretch between special tokens, for SentencePiece), and 4 bytes per byte of a text that holds special tokens and per such token. */
llmc_status llmc_tokenizer_encode(const llmc_tokenizer *tokenizer, const char *text, size_t size, unsigned flags, int32_t *ids,
                                  size_t capacity, size_t *count);

/* As llmc_tokenizer_encode(), of two texts as one, with the tokens that the model expects between and around them; segments
** [capacity], which of the two a token belongs to, may be NULL. LLMC_ERR_ARG where the tokenizer has no template for two. flags:
** LLMC_PARSE_SPECIAL. */
llmc_status llmc_tokenizer_encode_pair(const llmc_tokenizer *tokenizer, const char *text, size_t text_size, const char *pair,
                                       size_t pair_size, unsigned flags, int32_t *ids, int32_t *segments, size_t capacity,
                                       size_t *count);

/* Token ids to bytes, not ended by a 0. The bytes of one token may be part of a UTF-8 character.
**
** flags     LLMC_SHOW_SPECIAL: control tokens give their text instead of nothing; LLMC_REMOVE_SPECIAL.
** out       room for `capacity` bytes; may be NULL if capacity is 0. Undefined after a failure.
** out_size  on LLMC_OK and LLMC_ERR_SPACE the number of bytes of the whole text.
**
** Returns LLMC_ERR_SPACE if they do not fit, LLMC_ERR_ARG also for an id outside the vocabulary, LLMC_ERR_NOMEM. */
llmc_status llmc_tokenizer_decode(const llmc_tokenizer *tokenizer, const int32_t *ids, size_t n, unsigned flags, char *out,
                                  size_t capacity, size_t *out_size);

/* Number of tokens: ids are 0 .. size - 1. */
int32_t llmc_tokenizer_size(const llmc_tokenizer *tokenizer);

/* Id of the token that plays a role, -1 if none does. */
int32_t llmc_tokenizer_token(const llmc_tokenizer *tokenizer, llmc_token_role role);

/* Whether a generation is over when the model chooses this token. False for an id outside the vocabulary. */
bool llmc_tokenizer_is_end(const llmc_tokenizer *tokenizer, int32_t id);

/* The bytes of one token, for streaming: *bytes points into the tables. flags: LLMC_SHOW_SPECIAL. A text is its pieces one after the
** other, but for the leading space and the cleaned spaces that decode leaves out. LLMC_ERR_ARG for an id outside the vocabulary. */
llmc_status llmc_tokenizer_piece(const llmc_tokenizer *tokenizer, int32_t id, unsigned flags, const char **bytes, size_t *size);

#endif
