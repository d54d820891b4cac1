#include "tokenizer_blob.h"

#include <string.h>

#include "tokenizer_normalize.h"
#include "tokenizer_pair.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tokenizer tables are little-endian and used in place"
#endif

#define FNV_BASIS 0xCBF29CE484222325u
#define FNV_PRIME 0x100000001B3u
#define MIX 0x9E3779B97F4A7C15u
#define MAX_TOKENS (1u << 24)
#define MAX_SYMBOLS 256u

static uint64_t mix(uint64_t hash) { return (hash ^ hash >> 32) * MIX; }

static const void *section(const llmc_tokenizer_header *h, int number) {
  return (const char *)h + h->sections[number].offset;
}

/* Whether every section lies inside the blob, aligned. */
static bool sections_fit(const llmc_tokenizer_header *h) {
  static const uint8_t width[LLMC_SECTIONS] = {4, 1, 1, 4, 16, 1, 4, 4, 16, 4, 4, 4, 16, 8, 4, 2,
                                                1, 4, 2, 8, 4, 24, 2, 4, 1, 12, 4, 1, 8, 8, 1, 1};
  for (int i = 0; i < LLMC_SECTIONS; i++) {
    uint64_t offset = h->sections[i].offset, count = h->sections[i].count;
    if (offset % 16 || offset < sizeof *h || offset > h->size) return false;
    if (count > (h->size - offset) / width[i] || count >= UINT32_MAX) return false;
  }
  return true;
}

static llmc_trie trie(const llmc_tokenizer_header *h, int nodes, int edges) {
  return (llmc_trie){section(h, nodes), section(h, edges), (size_t)h->sections[nodes].count, (size_t)h->sections[edges].count};
}

static void point(llmc_tokenizer *t, const llmc_tokenizer_header *h) {
  t->header = h;
#define POINT(field, SECTION) t->field = section(h, LLMC_SECTION_##SECTION)
#define COUNTED(field, SECTION) (POINT(field, SECTION), t->n_##field = (size_t)h->sections[LLMC_SECTION_##SECTION].count)
  POINT(piece_ends, PIECE_ENDS);
  POINT(attributes, ATTRIBUTES);
  POINT(bytes, BYTES);
  POINT(score_keys, SCORE_KEYS);
  POINT(class_pages, CLASS_PAGES);
  POINT(classes, CLASSES);
  POINT(machine_starts, MACHINE_STARTS);
  POINT(machines, MACHINES);
  POINT(scores, SCORES);
  COUNTED(pieces, PIECES);
  COUNTED(text_starts, TEXT_STARTS);
  COUNTED(text_entries, TEXT_ENTRIES);
  COUNTED(texts, TEXTS);
  COUNTED(merge_starts, MERGE_STARTS);
  COUNTED(merge_entries, MERGE_ENTRIES);
  COUNTED(expansion_ends, EXPANSION_ENDS);
  COUNTED(expansions, EXPANSIONS);
  COUNTED(specials, SPECIALS);
  COUNTED(steps, STEPS);
  COUNTED(map_pages, MAP_PAGES);
  COUNTED(map_entries, MAP_ENTRIES);
  COUNTED(map_texts, MAP_TEXTS);
  COUNTED(pairs, PAIRS);
  COUNTED(charsmap, CHARSMAP);
  COUNTED(rewritten, REWRITTEN);
  COUNTED(pair_template, PAIR_TEMPLATE);
  t->special_trie = trie(h, LLMC_SECTION_TRIE_NODES, LLMC_SECTION_TRIE_EDGES);
  t->word_trie = trie(h, LLMC_SECTION_WORD_NODES, LLMC_SECTION_WORD_EDGES);
#undef COUNTED
#undef POINT
}

static uint64_t count(const llmc_tokenizer_header *h, int number) { return h->sections[number].count; }

/* Whether the classes of code points are below the number of symbols. The last symbol is the end of the text. */
static bool classes_fit(const llmc_tokenizer *t) {
  const llmc_tokenizer_header *h = t->header;
  uint64_t classes = count(h, LLMC_SECTION_CLASSES);
  if (count(h, LLMC_SECTION_CLASS_PAGES) != LLMC_CODE_POINTS / 256 || classes % 256) return false;
  if (h->symbols < 2 || h->symbols > MAX_SYMBOLS) return false;
  for (size_t i = 0; i < LLMC_CODE_POINTS / 256; i++)
    if (t->class_pages[i] >= classes / 256) return false;
  for (size_t i = 0; i < classes; i++)
    if (t->classes[i] >= h->symbols - 1) return false;
  return true;
}

/* Whether every machine's transitions stay inside it. */
static bool machines_fit(llmc_tokenizer *t) {
  const llmc_tokenizer_header *h = t->header;
  uint64_t starts = count(h, LLMC_SECTION_MACHINE_STARTS);
  if (starts < 2 || starts > LLMC_MAX_PATTERNS + 1 || t->machine_starts[0] != 0) return false;
  t->n_patterns = (size_t)starts - 1;
  if (count(h, LLMC_SECTION_MACHINES) != (uint64_t)t->machine_starts[t->n_patterns] * h->symbols) return false;
  for (size_t p = 0; p < t->n_patterns; p++) {
    uint32_t first = t->machine_starts[p], end = t->machine_starts[p + 1];
    if (end < first || end - first < 2 || end > t->machine_starts[t->n_patterns]) return false;
    for (size_t i = (size_t)first * h->symbols; i < (size_t)end * h->symbols; i++)
      if ((t->machines[i] & ~LLMC_MATCH_BIT) >= end - first) return false;
  }
  return true;
}

static bool roles_fit(const llmc_tokenizer_header *h) {
  for (int i = 0; i < LLMC_TOKEN_ROLES; i++)
    if (h->roles[i] < -1 || h->roles[i] >= (int64_t)h->tokens) return false;
  if (h->flags & LLMC_FLAG_ADD_BOS && h->roles[LLMC_TOKEN_BOS] < 0) return false;
  if (h->flags & LLMC_FLAG_ADD_SEP && h->roles[LLMC_TOKEN_SEP] < 0) return false;
  return !(h->flags & LLMC_FLAG_ADD_EOS && h->roles[LLMC_TOKEN_EOS] < 0);
}

/* Whether the sections that code indexes without a further check are as long as it takes them to be. */
static bool counts_fit(const llmc_tokenizer_header *h) {
  if (h->tokens == 0 || h->tokens > MAX_TOKENS || count(h, LLMC_SECTION_TRIE_NODES) < 2) return false;
  if (count(h, LLMC_SECTION_PIECE_ENDS) != (uint64_t)h->tokens + 1) return false;
  if (count(h, LLMC_SECTION_ATTRIBUTES) != h->tokens) return false;
  bool has_words = count(h, LLMC_SECTION_WORD_NODES) >= 2 && h->roles[LLMC_TOKEN_UNKNOWN] >= 0;
  if (h->kind == LLMC_KIND_WORDPIECE) return has_words;
  if (count(h, LLMC_SECTION_BYTES) != 256) return false;
  if (h->kind == LLMC_KIND_UNIGRAM) return has_words && count(h, LLMC_SECTION_SCORES) == h->tokens;
  return h->kind == LLMC_KIND_BPE || count(h, LLMC_SECTION_SCORE_KEYS) == h->tokens;
}

bool llmc_tokenizer_map(llmc_tokenizer *t, const void *blob, size_t size) {
  const llmc_tokenizer_header *h = blob;
  if (size < sizeof *h || memcmp(h->magic, "LLMCTOK", 8) || h->version != LLMC_TOKENIZER_VERSION || h->size != size) return false;
  if (h->kind < LLMC_KIND_BPE || h->kind > LLMC_KIND_UNIGRAM || !sections_fit(h) || !counts_fit(h) || !roles_fit(h)) return false;
  point(t, h);
  if (!llmc_steps_fit(t) || !llmc_pair_template_fits(t)) return false;
  if (h->kind == LLMC_KIND_SPM || (h->kind == LLMC_KIND_UNIGRAM && !count(h, LLMC_SECTION_MACHINES))) return true;
  return classes_fit(t) && machines_fit(t);
}

/* The entries of the bucket that a hash falls into: *at .. *end, none if the table is empty or altered. */
static void bucket(uint64_t hash, const uint32_t *starts, size_t n_starts, size_t n_entries, uint32_t *at, uint32_t *end) {
  *at = *end = 0;
  if (n_starts < 2) return;
  uint64_t number = (hash >> 32) * (n_starts - 1) >> 32;
  if (starts[number] > starts[number + 1] || starts[number + 1] > n_entries) return;
  *at = starts[number];
  *end = starts[number + 1];
}

uint32_t llmc_find_text(const llmc_tokenizer *t, const uint8_t *text, size_t size) {
  if (size > t->header->longest) return LLMC_NO_SYMBOL;
  uint64_t hash = FNV_BASIS;
  for (size_t i = 0; i < size; i++) hash = (hash ^ text[i]) * FNV_PRIME;
  hash = mix(hash);
  uint32_t at, end;
  for (bucket(hash, t->text_starts, t->n_text_starts, t->n_text_entries, &at, &end); at < end; at++) {
    const llmc_text_entry *e = &t->text_entries[at];
    if (e->hash != (uint32_t)hash || e->size != size || e->offset > t->n_texts || size > t->n_texts - e->offset) continue;
    if (memcmp(t->texts + e->offset, text, size) == 0 && e->id < t->header->tokens) return e->id;
  }
  return LLMC_NO_SYMBOL;
}

uint32_t llmc_find_merge(const llmc_tokenizer *t, uint32_t left, uint32_t right) {
  uint32_t at, end;
  uint64_t hash = mix(((uint64_t)left << 32 | right) * MIX);
  for (bucket(hash, t->merge_starts, t->n_merge_starts, t->n_merge_entries, &at, &end); at < end; at++) {
    const llmc_merge_entry *e = &t->merge_entries[at];
    if (e->left == left && e->right == right && e->result != LLMC_NO_SYMBOL) return at;
  }
  return LLMC_NO_SYMBOL;
}

uint32_t llmc_trie_step(const llmc_trie *t, uint32_t node, uint8_t byte) {
  uint32_t low = t->nodes[node].edges, high = t->nodes[node + 1].edges;
  if (high > t->n_edges) return 0;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2, edge = t->edges[middle];
    if ((edge & 0xFF) == byte) return (edge >> 8) + 1 < t->n_nodes ? edge >> 8 : 0;
    if ((edge & 0xFF) < byte)
      low = middle + 1;
    else
      high = middle;
  }
  return 0;
}

const uint8_t *llmc_token_bytes(const llmc_tokenizer *t, uint32_t id, size_t *size) {
  uint32_t start = t->piece_ends[id], end = t->piece_ends[id + 1];
  bool sound = start <= end && end <= t->n_pieces;
  *size = sound ? end - start : 0;
  return t->pieces + (sound ? start : 0);
}
