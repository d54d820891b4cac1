/* The tables of a compiled tokenizer, in the format of frontend/tokenizer.py (which explains every section), and lookups in them.
**
** Small sections are checked in full when a tokenizer is opened; in the large ones every index is checked where it is used. */
#ifndef LLMC_TOKENIZER_BLOB_H
#define LLMC_TOKENIZER_BLOB_H

#include <assert.h>

#include "tokenizer.h"

#define LLMC_TOKENIZER_VERSION 3u
#define LLMC_NO_SYMBOL UINT32_MAX
#define LLMC_CODE_POINTS 0x110000u
#define LLMC_MAX_PATTERNS 8
#define LLMC_MATCH_BIT 0x8000u

enum { LLMC_KIND_BPE = 1, LLMC_KIND_SPM = 2, LLMC_KIND_WORDPIECE = 3, LLMC_KIND_UNIGRAM = 4 };
enum { LLMC_FLAG_ADD_BOS = 1, LLMC_FLAG_ADD_EOS = 2, LLMC_FLAG_ADD_SPACE_PREFIX = 4 };
enum { LLMC_FLAG_CLEAN_SPACES = 8, LLMC_FLAG_IGNORE_MERGES = 16, LLMC_FLAG_ADD_SEP = 32, LLMC_FLAG_PHANTOM_SPACE = 64 };
enum { LLMC_FLAG_BYTE_FALLBACK = 128, LLMC_FLAG_CHARACTERS = 256, LLMC_FLAG_TRIPLES = 512 };
enum { LLMC_ATTRIBUTE_UNKNOWN = 2, LLMC_ATTRIBUTE_CONTROL = 4, LLMC_ATTRIBUTE_END = 64 };
enum { LLMC_SPECIAL_HIDDEN = 1, LLMC_SPECIAL_STRIP_LEFT = 2, LLMC_SPECIAL_STRIP_RIGHT = 4 };

enum {
  LLMC_SECTION_PIECE_ENDS,
  LLMC_SECTION_PIECES,
  LLMC_SECTION_ATTRIBUTES,
  LLMC_SECTION_TEXT_STARTS,
  LLMC_SECTION_TEXT_ENTRIES,
  LLMC_SECTION_TEXTS,
  LLMC_SECTION_BYTES,
  LLMC_SECTION_MERGE_STARTS,
  LLMC_SECTION_MERGE_ENTRIES,
  LLMC_SECTION_EXPANSION_ENDS,
  LLMC_SECTION_EXPANSIONS,
  LLMC_SECTION_SCORE_KEYS,
  LLMC_SECTION_SPECIALS,
  LLMC_SECTION_TRIE_NODES,
  LLMC_SECTION_TRIE_EDGES,
  LLMC_SECTION_CLASS_PAGES,
  LLMC_SECTION_CLASSES,
  LLMC_SECTION_MACHINE_STARTS,
  LLMC_SECTION_MACHINES,
  LLMC_SECTION_WORD_NODES,
  LLMC_SECTION_WORD_EDGES,
  LLMC_SECTION_STEPS,
  LLMC_SECTION_MAP_PAGES,
  LLMC_SECTION_MAP_ENTRIES,
  LLMC_SECTION_MAP_TEXTS,
  LLMC_SECTION_PAIRS,
  LLMC_SECTION_CHARSMAP,
  LLMC_SECTION_REWRITTEN,
  LLMC_SECTION_SCORES,
  LLMC_SECTION_PAIR_TEMPLATE,
  LLMC_SECTIONS = 32 /* entries of the directory; what has no name yet is empty */
};

typedef struct llmc_tokenizer_header {
  char magic[8];
  uint32_t version, kind;
  uint64_t size;
  uint32_t flags, tokens, symbols, longest;
  int32_t roles[LLMC_TOKEN_ROLES];
  uint32_t longest_word;
  struct {
    uint64_t offset, count;
  } sections[LLMC_SECTIONS];
} llmc_tokenizer_header;

typedef struct llmc_text_entry {
  uint32_t hash, id, offset, size;
} llmc_text_entry;

typedef struct llmc_merge_entry {
  uint32_t left, right, result, rank;
} llmc_merge_entry;

typedef struct llmc_special {
  uint32_t id, size, flags, reserved;
} llmc_special;

typedef struct llmc_trie_node {
  uint32_t edges, ending; /* first of its edges; 1 + what the text that ends here stands for, or 0 */
} llmc_trie_node;

typedef struct llmc_trie {
  const llmc_trie_node *nodes;
  const uint32_t *edges;
  size_t n_nodes, n_edges; /* n_nodes is one more than there are: the last one ends the edges of the one before */
} llmc_trie;

/* A step of normalisation: tokenizer_normalize.h. */
typedef struct llmc_normal_step {
  uint32_t kind, a, b, c, d, reserved;
} llmc_normal_step;

typedef struct llmc_pair {
  uint32_t first, second, composed;
} llmc_pair;

typedef struct llmc_pair_entry {
  uint32_t what, segment; /* a token, or one of the texts: tokenizer_pair.h */
} llmc_pair_entry;

static_assert(sizeof(llmc_tokenizer_header) == 72 + 16 * LLMC_SECTIONS, "the header is read where it lies");
static_assert(sizeof(llmc_text_entry) == 16 && sizeof(llmc_merge_entry) == 16, "entries are read where they lie");
static_assert(sizeof(llmc_normal_step) == 24 && sizeof(llmc_pair) == 12 && sizeof(llmc_pair_entry) == 8, "entries are read where they lie");
static_assert(sizeof(llmc_special) == 16 && sizeof(llmc_trie_node) == 8, "entries are read where they lie");

/* Elements of each section are named n_x. */
struct llmc_tokenizer {
  llmc_allocator allocator;
  const llmc_tokenizer_header *header;
  const uint32_t *piece_ends, *text_starts, *bytes, *merge_starts, *expansion_ends, *expansions, *score_keys;
  const uint32_t *machine_starts, *map_entries, *charsmap;
  const uint8_t *pieces, *attributes, *texts, *classes, *map_texts, *rewritten;
  const double *scores;
  const uint16_t *class_pages, *machines, *map_pages;
  const llmc_text_entry *text_entries;
  const llmc_merge_entry *merge_entries;
  const llmc_special *specials;
  llmc_trie special_trie, word_trie;
  const llmc_normal_step *steps;
  const llmc_pair *pairs;
  const llmc_pair_entry *pair_template;
  size_t n_pieces, n_text_starts, n_text_entries, n_texts, n_merge_starts, n_merge_entries, n_expansion_ends, n_expansions;
  size_t n_specials, n_patterns, n_steps, n_map_pages, n_map_entries, n_map_texts, n_pairs, n_charsmap, n_rewritten,
      n_pair_template;
};

/* Points t at the sections of a blob. False: it contradicts itself. */
bool llmc_tokenizer_map(llmc_tokenizer *t, const void *blob, size_t size);

/* The token with this text, or LLMC_NO_SYMBOL. */
uint32_t llmc_find_text(const llmc_tokenizer *t, const uint8_t *text, size_t size);

/* Index in merge_entries of the merge of two symbols, or LLMC_NO_SYMBOL. */
uint32_t llmc_find_merge(const llmc_tokenizer *t, uint32_t left, uint32_t right);

/* The node below `node` for a byte, or 0 (no node is the root's parent). */
uint32_t llmc_trie_step(const llmc_trie *trie, uint32_t node, uint8_t byte);

/* What a token prints when special tokens are shown; empty for an altered table. id < tokens. */
const uint8_t *llmc_token_bytes(const llmc_tokenizer *t, uint32_t id, size_t *size);

#endif
