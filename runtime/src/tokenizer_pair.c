#include "tokenizer_pair.h"

enum { MAX_ENTRIES = 64, MAX_SEGMENTS = 256 };

bool llmc_pair_template_fits(const llmc_tokenizer *t) {
  int texts = 0;
  if (t->n_pair_template > MAX_ENTRIES) return false;
  for (size_t i = 0; i < t->n_pair_template; i++) {
    const llmc_pair_entry *entry = &t->pair_template[i];
    bool text = entry->what == LLMC_PAIR_FIRST || entry->what == LLMC_PAIR_SECOND;
    if ((!text && entry->what >= t->header->tokens) || entry->segment >= MAX_SEGMENTS) return false;
    texts += text;
  }
  return texts == 2 || t->n_pair_template == 0;
}

/* What is written so far: as many tokens as there is room for, and how many there are. */
typedef struct output {
  int32_t *tokens, *segments;
  size_t capacity, count;
} output;

static void add_token(output *out, int32_t token) {
  if (out->count < out->capacity) out->tokens[out->count] = token;
  out->count++;
}

static llmc_status add_text(const llmc_tokenizer *t, const char *text, size_t size, unsigned flags, output *out) {
  size_t used = out->count < out->capacity ? out->count : out->capacity, more = 0;
  llmc_status status = llmc_tokenizer_encode(t, text, size, flags, out->capacity ? out->tokens + used : NULL, out->capacity - used, &more);
  out->count += more;
  return status == LLMC_ERR_SPACE ? LLMC_OK : status;
}

llmc_status llmc_tokenizer_encode_pair(const llmc_tokenizer *t, const char *text, size_t text_size, const char *pair, size_t pair_size,
                                       unsigned flags, int32_t *ids, int32_t *segments, size_t capacity, size_t *count) {
  output out = {ids, segments, capacity, 0};
  if (!t || !count || (!text && text_size) || (!pair && pair_size) || (!ids && capacity)) return LLMC_ERR_ARG;
  if (!t->n_pair_template || flags & ~(unsigned)LLMC_PARSE_SPECIAL) return LLMC_ERR_ARG;
  for (size_t i = 0; i < t->n_pair_template; i++) {
    const llmc_pair_entry *entry = &t->pair_template[i];
    size_t start = out.count;
    llmc_status status = LLMC_OK;
    if (entry->what == LLMC_PAIR_FIRST) status = add_text(t, text, text_size, flags, &out);
    else if (entry->what == LLMC_PAIR_SECOND) status = add_text(t, pair, pair_size, flags, &out);
    else add_token(&out, (int32_t)entry->what);
    if (status) return status;
    for (size_t j = start; segments && j < out.count && j < capacity; j++) segments[j] = (int32_t)entry->segment;
  }
  *count = out.count;
  return out.count > capacity ? LLMC_ERR_SPACE : LLMC_OK;
}
