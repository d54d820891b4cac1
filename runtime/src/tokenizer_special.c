#include "tokenizer_special.h"

#include "memory.h"

enum { FREE = 0, TAKEN = 1, FIRST = 2 };

/* What the text holds, sorted by special token: where[ends[n - 1]] .. where[ends[n] - 1] are the places of token n. */
typedef struct occurrences {
  uint32_t *ends, *where;
} occurrences;

/* Calls for every place where a special token stands in the text: counts it, or stores it if o->where is there. */
static size_t scan(const llmc_tokenizer *t, const uint8_t *text, size_t size, bool hidden, occurrences *o) {
  size_t found = 0;
  for (size_t at = 0; at < size; at++) {
    uint32_t node = 0;
    for (size_t i = at; i < size && (node = llmc_trie_step(&t->special_trie, node, text[i])) != 0; i++) {
      uint32_t ending = t->special_trie.nodes[node].ending;
      if (ending == 0 || ending > t->n_specials) continue;
      const llmc_special *special = &t->specials[ending - 1];
      if ((special->flags & LLMC_SPECIAL_HIDDEN && !hidden) || special->size != i + 1 - at) continue;
      if (o->where) o->where[o->ends[ending - 1]++] = (uint32_t)at;
      if (!o->where && o->ends) o->ends[ending - 1]++;
      found++;
    }
  }
  return found;
}

/* Lists every occurrence. False: no memory; what was allocated is the caller's to free. */
static bool list(const llmc_tokenizer *t, const uint8_t *text, size_t size, bool hidden, size_t found, occurrences *o) {
  o->ends = llmc_alloc_zeroed(&t->allocator, t->n_specials, sizeof *o->ends);
  uint32_t *where = o->ends ? llmc_alloc(&t->allocator, found, sizeof *where, 16) : NULL;
  if (!where) return false;
  scan(t, text, size, hidden, o);
  for (size_t n = 0, begin = 0; n < t->n_specials; n++) {
    size_t count = o->ends[n];
    o->ends[n] = (uint32_t)begin;
    begin += count;
  }
  o->where = where;
  scan(t, text, size, hidden, o); /* moves every begin to its end */
  return true;
}

static bool is_blank(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Marks one occurrence if all of it is free, and the blanks that the token swallows. */
static void take(llmc_fragments *f, const uint8_t *text, uint32_t number, size_t start) {
  const llmc_special *special = &f->tokenizer->specials[number];
  for (size_t i = 0; i < special->size; i++)
    if (f->taken[start + i] != FREE) return;
  for (size_t i = 0; i < special->size; i++) f->taken[start + i] = TAKEN;
  f->taken[start] = FIRST + number;
  if (special->flags & LLMC_SPECIAL_STRIP_LEFT)
    for (size_t i = start; i > 0 && f->taken[i - 1] == FREE && is_blank(text[i - 1]); i--) f->taken[i - 1] = TAKEN;
  if (special->flags & LLMC_SPECIAL_STRIP_RIGHT)
    for (size_t i = start + special->size; i < f->size && f->taken[i] == FREE && is_blank(text[i]); i++) f->taken[i] = TAKEN;
}

bool llmc_fragments_open(llmc_fragments *f, const llmc_tokenizer *t, const uint8_t *text, size_t size, bool hidden) {
  *f = (llmc_fragments){.tokenizer = t, .size = size};
  occurrences o = {NULL, NULL};
  size_t found = scan(t, text, size, hidden, &o);
  if (found == 0) return true;
  bool listed = found < UINT32_MAX && list(t, text, size, hidden, found, &o);
  if (listed) f->taken = llmc_alloc_zeroed(&t->allocator, size, sizeof *f->taken);
  if (f->taken)
    for (uint32_t n = 0, i = 0; n < t->n_specials; n++)
      for (; i < o.ends[n]; i++) take(f, text, n, o.where[i]);
  llmc_free(&t->allocator, o.where);
  llmc_free(&t->allocator, o.ends);
  return f->taken != NULL;
}

void llmc_fragments_close(llmc_fragments *f) { llmc_free(&f->tokenizer->allocator, f->taken); }

bool llmc_fragments_next(llmc_fragments *f, size_t *start, size_t *size, uint32_t *token) {
  while (f->taken && f->at < f->size && f->taken[f->at] == TAKEN) f->at++;
  if (f->at >= f->size) return false;
  *start = f->at++;
  *token = LLMC_NO_SYMBOL;
  if (f->taken && f->taken[*start] >= FIRST) {
    *token = f->tokenizer->specials[f->taken[*start] - FIRST].id;
  } else {
    while (f->at < f->size && !(f->taken && f->taken[f->at] != FREE)) f->at++;
  }
  *size = f->at - *start;
  return true;
}
