/* The tokenizer under sanitizers: a blob as it is, cut short and altered; every allocation failing in turn.
**
**     tokenizer_fuzz BLOB SEED ROUNDS */
#include "tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                     \
  do {                                                                       \
    if (!(condition)) {                                                      \
      fprintf(stderr, "%s:%d: CHECK(%s)\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                               \
    }                                                                        \
  } while (0)

enum { ROOM = 4096, TEXT = 300 };

static uint64_t state;

static uint32_t random_below(uint32_t bound) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)((state >> 20) % bound);
}

/* An allocator that fails once `left` allocations were given, and knows how many are still out. */
typedef struct counted {
  long left, out;
} counted;

static void *counted_alloc(void *user, size_t size, size_t align) {
  counted *c = user;
  if (c->left-- <= 0) return NULL;
  c->out++;
  size_t whole = (size + align - 1) / align * align;
  return aligned_alloc(align, whole ? whole : align);
}

static void counted_free(void *user, void *memory) {
  ((counted *)user)->out--;
  free(memory);
}

static const char *const words[] = {"Hello", " world", "\n\n", "  ", "<s>", "</s>", "<|endoftext|>", "'s", "123456", "\xE2\x96\x81", "\xFF",
                                    "\xE4\xBD\xA0\xE5\xA5\xBD", "\xF0\x9F\x98\x80", "aaaaaaaa", " ' ", " .", "\xC1\x81", "\xF4\x90\x80\x80"};

static size_t random_text(char *text) {
  size_t size = 0;
  for (uint32_t n = random_below(20); n > 0; n--) {
    const char *word = words[random_below(sizeof words / sizeof *words)];
    memcpy(text + size, word, strlen(word));
    size += strlen(word);
    if (random_below(4) == 0) text[size++] = (char)random_below(256);
  }
  CHECK(size <= TEXT);
  return size;
}

/* Encodes and decodes a text; any status but a surprising one is fine. */
static llmc_status round_trip(const llmc_tokenizer *t, const char *text, size_t size, unsigned flags) {
  int32_t *ids = malloc(ROOM * sizeof *ids);
  char *out = malloc(ROOM);
  size_t count = 0, decoded = 0;
  llmc_status status = llmc_tokenizer_encode(t, text, size, flags, ids, ROOM, &count);
  CHECK(status == LLMC_OK || status == LLMC_ERR_SPACE || status == LLMC_ERR_NOMEM);
  for (size_t i = 0; status == LLMC_OK && i < count; i++) CHECK(ids[i] >= 0 && ids[i] < llmc_tokenizer_size(t));
  if (status == LLMC_OK) status = llmc_tokenizer_decode(t, ids, count, LLMC_SHOW_SPECIAL, out, ROOM, &decoded);
  CHECK(status == LLMC_OK || status == LLMC_ERR_SPACE || status == LLMC_ERR_NOMEM);
  free(ids);
  free(out);
  return status;
}

/* Encodes two texts as one, where the tokenizer has a way. */
static llmc_status two_texts(const llmc_tokenizer *t, const char *text, size_t size, unsigned flags) {
  int32_t *ids = malloc(ROOM * sizeof *ids), *segments = malloc(ROOM * sizeof *segments);
  size_t half = size / 2, room = random_below(2) ? ROOM : random_below(20), count = 0;
  llmc_status status = llmc_tokenizer_encode_pair(t, text, half, text + half, size - half, flags, ids, segments, room, &count);
  CHECK(status == LLMC_OK || status == LLMC_ERR_SPACE || status == LLMC_ERR_NOMEM || status == LLMC_ERR_ARG);
  for (size_t i = 0; status == LLMC_OK && i < count; i++) CHECK(ids[i] >= 0 && ids[i] < llmc_tokenizer_size(t) && segments[i] >= 0);
  free(ids);
  free(segments);
  return status;
}

static void every_allocation_fails(const void *blob, size_t size) {
  char text[TEXT + 20];
  size_t n = random_text(text);
  for (long left = 0;; left++) {
    counted c = {left, 0};
    llmc_allocator allocator = {counted_alloc, counted_free, &c};
    llmc_tokenizer *t;
    llmc_status status = llmc_tokenizer_from_memory(blob, size, &allocator, &t);
    CHECK((status == LLMC_OK) == (t != NULL) && (status == LLMC_OK || status == LLMC_ERR_NOMEM));
    if (t) status = round_trip(t, text, n, LLMC_ADD_SPECIAL | LLMC_PARSE_SPECIAL);
    llmc_tokenizer_close(t);
    CHECK(c.out == 0);
    if (status == LLMC_OK) return;
    CHECK(status == LLMC_ERR_NOMEM);
  }
}

/* Opens `size` bytes, which need not be a tokenizer, at the end of a block of exactly that size, and uses what opens. */
static void use(const unsigned char *bytes, size_t size) {
  unsigned char *blob = aligned_alloc(16, (size + 15) / 16 * 16);
  CHECK(blob);
  memcpy(blob, bytes, size);
  llmc_tokenizer *t;
  if (llmc_tokenizer_from_memory(blob, size, NULL, &t) == LLMC_OK) {
    char text[TEXT + 20];
    for (int i = 0; i < 3; i++) round_trip(t, text, random_text(text), random_below(4));
    two_texts(t, text, random_text(text), random_below(2) * LLMC_PARSE_SPECIAL);
    for (int32_t id = 0; id < llmc_tokenizer_size(t) && id < 400; id++) {
      const char *piece;
      size_t n;
      CHECK(llmc_tokenizer_piece(t, id, LLMC_SHOW_SPECIAL, &piece, &n) == LLMC_OK);
      for (size_t i = 0; i < n; i++) state += (unsigned char)piece[i];
    }
    llmc_tokenizer_close(t);
  }
  free(blob);
}

static void altered(unsigned char *bytes, size_t size) {
  unsigned char *copy = malloc(size);
  CHECK(copy);
  memcpy(copy, bytes, size);
  for (uint32_t n = 1 + random_below(4); n > 0; n--) {
    size_t header = random_below(2) ? 584 : size; /* the header is small and decides most */
    size_t at = random_below((uint32_t)(header < size ? header : size));
    copy[at] = random_below(3) ? (unsigned char)random_below(256) : (unsigned char)(copy[at] + (random_below(2) ? 1 : -1));
  }
  use(copy, size);
  free(copy);
}

int main(int argc, char **argv) {
  CHECK(argc == 4);
  FILE *file = fopen(argv[1], "rb");
  CHECK(file);
  unsigned char *bytes = aligned_alloc(16, 1 << 24);
  size_t size = fread(bytes, 1, 1 << 24, file);
  fclose(file);
  state = strtoull(argv[2], NULL, 10) * 2 + 1;
  long rounds = strtol(argv[3], NULL, 10);
  llmc_tokenizer *t;
  CHECK(llmc_tokenizer_from_memory(bytes, size, NULL, &t) == LLMC_OK);
  char text[TEXT + 20];
  for (long i = 0; i < rounds; i++) CHECK(round_trip(t, text, random_text(text), random_below(4)) == LLMC_OK);
  llmc_tokenizer_close(t);
  for (int i = 0; i < 5; i++) every_allocation_fails(bytes, size);
  for (long i = 0; i < rounds; i++) use(bytes, random_below((uint32_t)size));
  for (long i = 0; i < rounds; i++) altered(bytes, size);
  free(bytes);
  puts("ok");
  return 0;
}
