#include "tokenizer_normalize.h"

#include <string.h>

#include "utf8.h"

enum { STEP_REPLACE = 1, STEP_DECOMPOSE, STEP_COMPOSE, STEP_PREPEND, STEP_LITERAL, STEP_STRIP, STEP_SQUEEZE, STEP_REWRITE };
enum { UNLESS_THERE = 1, AT_FIRST = 2, NOT_TO_BLANKS = 4 }; /* of STEP_PREPEND */
enum { JOINS_LEFT = 1, JOINS_RIGHT = 2, MAX_CLUSTER = 6 };
enum { PAGES = LLMC_CODE_POINTS / 256, MAX_STEPS = 32 };
enum { MAX_GROWTH = 64, MAX_ADDED = 4096 }; /* what a step may make of a text; no sound table comes near */
#define REPLACED 0x80000000u
#define REPLACED_SIZE(entry) ((entry) >> 24 & 0x7F)
#define REPLACED_AT(entry) ((entry) & 0xFFFFFF)

/* Hangul syllables are L + V + T by arithmetic: Unicode, 3.12. */
enum { HANGUL_S = 0xAC00, HANGUL_L = 0x1100, HANGUL_V = 0x1161, HANGUL_T = 0x11A7 };
enum { HANGUL_LS = 19, HANGUL_VS = 21, HANGUL_TS = 28, HANGUL_SS = HANGUL_LS * HANGUL_VS * HANGUL_TS };

/* Bytes on their way into a block: counted all, stored where there is a place. */
typedef struct output {
  uint8_t *bytes;
  size_t size;
} output;

static void put(output *o, const uint8_t *bytes, size_t size) {
  if (o->bytes && size) memcpy(o->bytes + o->size, bytes, size);
  o->size += size;
}

static void put_code_point(output *o, uint32_t code_point) {
  uint8_t bytes[4];
  put(o, bytes, llmc_utf8_write(code_point, bytes));
}

static uint32_t entry(const llmc_tokenizer *t, uint32_t map, uint32_t code_point) {
  return t->map_entries[t->map_pages[(size_t)map * PAGES + (code_point >> 8)] * (size_t)256 + (code_point & 0xFF)];
}

static bool text_fits(const llmc_tokenizer *t, uint64_t at, uint64_t size) { return at + size <= t->n_map_texts; }

static bool replacements_fit(const llmc_tokenizer *t, uint32_t map) {
  for (size_t page = 0; page < PAGES; page++) {
    const uint32_t *row = t->map_entries + t->map_pages[(size_t)map * PAGES + page] * (size_t)256;
    for (size_t i = 0; i < 256; i++)
      if (row[i] & REPLACED && !text_fits(t, REPLACED_AT(row[i]), REPLACED_SIZE(row[i]))) return false;
  }
  return true;
}

static bool pairs_fit(const llmc_tokenizer *t) {
  for (size_t i = 0; i < t->n_pairs; i++)
    if (t->pairs[i].composed >= LLMC_CODE_POINTS) return false;
  return true;
}

static bool step_fits(const llmc_tokenizer *t, const llmc_normal_step *s) {
  size_t maps = t->n_map_pages / PAGES;
  switch (s->kind) {
    case STEP_REPLACE: return s->a < maps && replacements_fit(t, s->a);
    case STEP_DECOMPOSE: return s->a < maps && s->b < maps && replacements_fit(t, s->a);
    case STEP_COMPOSE: return s->a < maps && pairs_fit(t);
    case STEP_PREPEND: return text_fits(t, s->a, s->b);
    case STEP_LITERAL: return s->b > 0 && text_fits(t, s->a, s->b) && text_fits(t, s->c, s->d);
    case STEP_STRIP: return true;
    case STEP_SQUEEZE: return s->a < 0x80 && text_fits(t, s->b, s->c);
    case STEP_REWRITE: return s->b < maps && t->n_charsmap > 0;
    default: return false;
  }
}

bool llmc_steps_fit(const llmc_tokenizer *t) {
  if (t->n_steps > MAX_STEPS || t->n_map_pages % PAGES || t->n_map_entries % 256) return false;
  for (size_t i = 0; i < t->n_map_pages; i++)
    if (t->map_pages[i] >= t->n_map_entries / 256) return false;
  for (size_t i = 0; i < t->n_steps; i++)
    if (!step_fits(t, &t->steps[i])) return false;
  return true;
}

static void replace(const llmc_tokenizer *t, uint32_t map, const uint8_t *text, size_t size, output *o) {
  for (size_t at = 0, length; at < size; at += length) {
    uint32_t code_point;
    length = llmc_utf8_next(text + at, &code_point);
    uint32_t e = entry(t, map, code_point);
    if (e & REPLACED) put(o, t->map_texts + REPLACED_AT(e), REPLACED_SIZE(e));
    else put(o, text + at, length);
  }
}

static void decompose(const llmc_tokenizer *t, uint32_t map, const uint8_t *text, size_t size, output *o) {
  for (size_t at = 0, length; at < size; at += length) {
    uint32_t code_point;
    length = llmc_utf8_next(text + at, &code_point);
    uint32_t e = entry(t, map, code_point), syllable = code_point - HANGUL_S;
    if (e & REPLACED) {
      put(o, t->map_texts + REPLACED_AT(e), REPLACED_SIZE(e));
    } else if (syllable < HANGUL_SS) {
      put_code_point(o, HANGUL_L + syllable / (HANGUL_VS * HANGUL_TS));
      put_code_point(o, HANGUL_V + syllable / HANGUL_TS % HANGUL_VS);
      if (syllable % HANGUL_TS) put_code_point(o, HANGUL_T + syllable % HANGUL_TS);
    } else {
      put(o, text + at, length);
    }
  }
}

/* A run of marks, bytes [start, end) of a decomposed text, in the order of their classes; marks of one class keep theirs. */
static void sort_marks(const llmc_tokenizer *t, uint32_t classes, const uint8_t *text, size_t start, size_t end, output *o) {
  uint32_t least = 0;
  for (size_t written = 0; written < end - start;) {
    uint32_t next = UINT32_MAX;
    for (size_t at = start, length; at < end; at += length) {
      uint32_t code_point;
      length = llmc_utf8_next(text + at, &code_point);
      uint32_t class = entry(t, classes, code_point);
      if (class == least) {
        put(o, text + at, length);
        written += length;
      } else if (class > least && class < next) {
        next = class;
      }
    }
    least = next;
  }
}

static void order(const llmc_tokenizer *t, uint32_t classes, const uint8_t *text, size_t size, output *o) {
  size_t marks = 0; /* where the marks before `at` begin */
  for (size_t at = 0, length; at <= size; at += length) {
    uint32_t code_point = 0;
    length = at < size ? llmc_utf8_next(text + at, &code_point) : 1;
    if (at < size && entry(t, classes, code_point)) continue;
    sort_marks(t, classes, text, marks, at, o);
    if (at < size) put(o, text + at, length);
    marks = at + length;
  }
}

/* What two code points compose to, 0 if nothing. */
static uint32_t composed(const llmc_tokenizer *t, uint32_t first, uint32_t second) {
  uint32_t l = first - HANGUL_L, v = second - HANGUL_V, s = first - HANGUL_S, tail = second - HANGUL_T;
  if (l < HANGUL_LS && v < HANGUL_VS) return HANGUL_S + (l * HANGUL_VS + v) * HANGUL_TS;
  if (s < HANGUL_SS && s % HANGUL_TS == 0 && tail > 0 && tail < HANGUL_TS) return first + tail;
  size_t low = 0, high = t->n_pairs;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    const llmc_pair *p = &t->pairs[middle];
    if (p->first == first && p->second == second) return p->composed;
    if (p->first < first || (p->first == first && p->second < second)) low = middle + 1;
    else high = middle;
  }
  return 0;
}

/* The marks after a starter, from text[next] on: those it can take up make it another one, the others are moved together behind it.
** A mark is out of reach where one of its class, or of a higher one, was kept before it. Returns where the marks end. */
static size_t take_up(const llmc_tokenizer *t, uint32_t classes, uint8_t *text, size_t next, size_t size, uint32_t *starter,
                      size_t *kept) {
  uint32_t last = 0;
  *kept = 0;
  for (size_t at = next, length; at < size; at += length) {
    uint32_t code_point;
    length = llmc_utf8_next(text + at, &code_point);
    uint32_t class = entry(t, classes, code_point);
    uint32_t whole = *kept && last >= class ? 0 : composed(t, *starter, code_point);
    if (whole) {
      *starter = whole;
      continue;
    }
    if (!class) return at;
    last = class;
    memmove(text + next + *kept, text + at, length);
    *kept += length;
  }
  return size;
}

/* Changes `text` on the way. What comes out is at most four times as large. */
static void compose(const llmc_tokenizer *t, uint32_t classes, uint8_t *text, size_t size, output *o) {
  for (size_t at = 0; at < size;) {
    uint32_t starter;
    size_t kept = 0, next = at + llmc_utf8_next(text + at, &starter);
    at = entry(t, classes, starter) ? next : take_up(t, classes, text, next, size, &starter, &kept);
    put_code_point(o, starter);
    put(o, text + next, kept);
  }
}

static void literal(const llmc_tokenizer *t, const llmc_normal_step *s, const uint8_t *text, size_t size, output *o) {
  for (size_t at = 0; at < size;) {
    bool here = size - at >= s->b && memcmp(text + at, t->map_texts + s->a, s->b) == 0;
    if (here) put(o, t->map_texts + s->c, s->d);
    else put(o, text + at, 1);
    at += here ? s->b : 1;
  }
}

static void strip(const llmc_normal_step *s, const uint8_t *text, size_t size, output *o) {
  size_t start = 0, end = 0;
  bool leading = s->a;
  for (size_t at = 0, length; at < size; at += length) {
    length = llmc_utf8_length(text[at]);
    bool blank = s->c ? text[at] == ' ' : llmc_is_blank(text + at);
    if (leading && blank) start = end = at + length;
    leading = leading && blank;
    if (!blank || !s->b) end = at + length;
  }
  put(o, text + start, end - start);
}

static void squeeze(const llmc_tokenizer *t, const llmc_normal_step *s, const uint8_t *text, size_t size, output *o) {
  for (size_t at = 0, run; at < size; at += run) {
    for (run = 0; at + run < size && text[at + run] == s->a;) run++;
    if (run >= 2) put(o, t->map_texts + s->b, s->c);
    else put(o, text + at, run = 1);
  }
}

static void prepend(const llmc_tokenizer *t, const llmc_normal_step *s, bool first, const uint8_t *text, size_t size, output *o) {
  const uint8_t *before = t->map_texts + s->a;
  size_t blanks = 0;
  while (s->c & NOT_TO_BLANKS && blanks < size && text[blanks] == ' ') blanks++;
  bool there = s->c & UNLESS_THERE && size >= s->b && memcmp(text, before, s->b) == 0;
  if (blanks < size && !there && (first || !(s->c & AT_FIRST))) put(o, before, s->b);
  put(o, text, size);
}

/* What the charsmap has for the longest (or shortest) sequence that the text begins with: puts it and returns the sequence's size,
** 0 if there is none. The units are those of frontend/tokenizer_charsmap.py. */
static size_t rewrite_one(const llmc_tokenizer *t, const uint8_t *text, size_t size, bool shortest, output *o) {
  size_t matched = 0, at = 0, start = 0;
#define CHILDREN(unit) ((size_t)((unit) >> 10) << (((unit) & 0x200) >> 6))
  for (size_t node = CHILDREN(t->charsmap[0]); at < size; at++) {
    node ^= text[at];
    if (node >= t->n_charsmap || (t->charsmap[node] & 0x800000FF) != text[at]) break;
    uint32_t unit = t->charsmap[node];
    node ^= CHILDREN(unit);
    if (!(unit & 0x100) || node >= t->n_charsmap) continue;
    matched = at + 1;
    start = t->charsmap[node] & 0x7FFFFFFF;
    if (shortest) break;
  }
#undef CHILDREN
  if (!matched || start >= t->n_rewritten) return 0;
  const uint8_t *by = t->rewritten + start, *end = memchr(by, 0, t->n_rewritten - start);
  size_t length = end ? (size_t)(end - by) : 0;
  if (!end || !llmc_utf8_is_repaired(by, length)) return 0;
  put(o, by, length);
  return matched;
}

/* Size of the code points that a reader takes for one character; of Hangul letters, flags and joined emoji only the first. */
static size_t cluster(const llmc_tokenizer *t, uint32_t joins, const uint8_t *text, size_t size) {
  uint32_t code_point, next;
  size_t at = llmc_utf8_next(text, &code_point);
  for (; at < size; code_point = next) {
    size_t length = llmc_utf8_next(text + at, &next);
    bool control = code_point < 0x20 || code_point == 0x7F, line = code_point == '\r' && next == '\n';
    bool right = entry(t, joins, code_point) == JOINS_RIGHT && next >= 0x20 && next != 0x7F;
    if (!line && (control || !(right || entry(t, joins, next) == JOINS_LEFT))) break;
    at += length;
  }
  return at;
}

/* Rewrites the longest sequences, or code points alone. */
static void rewrite(const llmc_tokenizer *t, const uint8_t *text, size_t size, bool alone, output *o) {
  for (size_t at = 0, length; at < size; at += length) {
    size_t character = llmc_utf8_length(text[at]);
    length = rewrite_one(t, text + at, alone ? character : size - at, false, o);
    if (length) continue;
    length = character;
    put(o, text + at, length);
  }
}

static void rewrite_clusters(const llmc_tokenizer *t, uint32_t joins, const uint8_t *text, size_t size, output *o) {
  for (size_t at = 0, length; at < size; at += length) {
    length = cluster(t, joins, text + at, size - at);
    if (length >= MAX_CLUSTER || !rewrite_one(t, text + at, length, true, o)) rewrite(t, text + at, length, true, o);
  }
}

/* Runs a step, or with o->bytes NULL counts what it gives. */
static void run(const llmc_tokenizer *t, const llmc_normal_step *s, bool first, uint8_t *text, size_t size, output *o) {
  switch (s->kind) {
    case STEP_REPLACE: replace(t, s->a, text, size, o); break;
    case STEP_DECOMPOSE: decompose(t, s->a, text, size, o); break;
    case STEP_COMPOSE: compose(t, s->a, text, size, o); break;
    case STEP_PREPEND: prepend(t, s, first, text, size, o); break;
    case STEP_LITERAL: literal(t, s, text, size, o); break;
    case STEP_STRIP: strip(s, text, size, o); break;
    case STEP_SQUEEZE: squeeze(t, s, text, size, o); break;
    case STEP_REWRITE:
      if (s->a) rewrite_clusters(t, s->b, text, size, o);
      else rewrite(t, text, size, false, o);
      break;
    default: break; /* llmc_steps_fit() knows no other */
  }
}

/* From one block into the other. False: no memory. */
static bool advance(const llmc_tokenizer *t, llmc_block blocks[2], int *in, size_t *size, const llmc_normal_step *s, bool first,
                    bool ordering) {
  uint8_t *text = blocks[*in].memory;
  output counted = {NULL, 0};
  if (ordering) counted.size = *size;
  else if (s->kind == STEP_COMPOSE) counted.size = 4 * *size;
  else run(t, s, first, text, *size, &counted);
  if (counted.size > MAX_GROWTH * *size + MAX_ADDED || counted.size > UINT32_MAX / 2) return false;
  if (!llmc_block_reserve(&t->allocator, &blocks[!*in], counted.size, 1)) return false;
  output written = {blocks[!*in].memory, 0};
  if (ordering) order(t, s->b, text, *size, &written);
  else run(t, s, first, text, *size, &written);
  *in = !*in;
  *size = written.size;
  return true;
}

/* Whether no step does anything to the text: normal forms leave ASCII as it is. */
static bool is_normal(const llmc_tokenizer *t, const uint8_t *text, size_t size) {
  for (size_t i = 0; i < t->n_steps; i++)
    if (t->steps[i].kind != STEP_DECOMPOSE && t->steps[i].kind != STEP_COMPOSE) return false;
  for (size_t i = 0; t->n_steps && i < size; i++)
    if (text[i] >= 0x80) return false;
  return true;
}

bool llmc_normalize(const llmc_tokenizer *t, llmc_block blocks[2], bool first, const uint8_t **text, size_t *size) {
  if (is_normal(t, *text, *size)) return true;
  size_t repaired = llmc_utf8_repair(*text, *size, NULL);
  int in = 0;
  if (!llmc_block_reserve(&t->allocator, &blocks[in], repaired, 1)) return false;
  llmc_utf8_repair(*text, *size, blocks[in].memory);
  *size = repaired;
  for (size_t i = 0; i < t->n_steps; i++) {
    const llmc_normal_step *s = &t->steps[i];
    if (!advance(t, blocks, &in, size, s, first, false)) return false;
    if (s->kind == STEP_DECOMPOSE && !advance(t, blocks, &in, size, s, first, true)) return false;
  }
  *text = blocks[in].memory;
  return true;
}
