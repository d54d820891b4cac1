/* Runs a real artifact with memory that ends at a page no one may touch and is filled with a given byte, over libllmc.
**
**     guarded MODEL.llmc BYTE THREADS ISA
**
** A kernel that writes or reads behind the arena, a page pool or the logits crashes; one that reads what nobody wrote changes the
** hash of all logits, which is printed. */
#define _GNU_SOURCE
#include <llmc.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CHECK(condition) ((condition) ? (void)0 : (void)(fprintf(stderr, "line %d: %s\n", __LINE__, #condition), exit(1)))

enum { PAGE = 4096, LONGEST = 400 };

typedef struct block {
  char *start;
  size_t mapped;
} block;

/* The block's own description lies at the beginning of its mapping, the memory at the end. */
static void *guarded_alloc(void *user, size_t size, size_t align) {
  size_t rounded = (size + align - 1) / align * align, pages = (rounded + sizeof(block) + PAGE - 1) / PAGE;
  char *start = mmap(NULL, (pages + 2) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) return NULL;
  char *end = start + (pages + 1) * PAGE, *memory = end - rounded;
  CHECK(mprotect(end, PAGE, PROT_NONE) == 0 && (size_t)(memory - start) >= sizeof(block));
  *(block *)(void *)start = (block){start, (pages + 2) * PAGE};
  memset(memory, *(int *)user, rounded);
  return memory;
}

/* Nothing is unmapped: what is used after it was freed is not looked for here. */
static void guarded_free(void *user, void *memory) {
  (void)user;
  (void)memory;
}

static uint64_t hash_row(uint64_t hash, const float *row, int32_t n) {
  CHECK(row);
  for (int32_t i = 0; i < n; i++) {
    uint32_t bits;
    CHECK(row[i] == row[i]);
    memcpy(&bits, &row[i], sizeof bits);
    hash = (hash ^ bits) * UINT64_C(1099511628211);
  }
  return hash;
}

/* Steps of every length, over three sequences, with some and all rows. */
static uint64_t steps(llmc_session *s, const llmc_model_info *info) {
  uint64_t hash = UINT64_C(14695981039346656037);
  int32_t tokens[LONGEST], sequences[3], rows[3];
  for (int32_t i = 0; i < LONGEST; i++) tokens[i] = (int32_t)((uint32_t)i * 2654435761u % (uint32_t)info->vocab);
  for (int i = 0; i < 3; i++) CHECK(llmc_sequence_open(s, &sequences[i]) == LLMC_OK);
  for (int32_t n = 1; n <= info->max_step_tokens - 3; n = n < 34 ? n + 1 : n + 17) {
    int32_t counts[3] = {n, 1, 2}, total = n + 3;
    for (int i = 0; i < 3; i++) rows[i] = total - 3 + i;
    int all = n % 2;
    llmc_batch batch = {sizeof batch, tokens, sequences, counts, 3, all ? -1 : 3, all ? NULL : rows, NULL, 0};
    CHECK(llmc_session_step(s, &batch) == LLMC_OK);
    for (int32_t i = 0; i < (all ? total : 3); i++) hash = hash_row(hash, llmc_session_logits(s, i), info->vocab);
    CHECK(llmc_sequence_truncate(s, sequences[0], 0) == LLMC_OK);
  }
  CHECK(llmc_session_prefill(s, sequences[0], tokens, LONGEST) == LLMC_OK);
  return hash_row(hash, llmc_session_logits(s, 0), info->vocab);
}

int main(int argc, char **argv) {
  CHECK(argc == 5);
  int fill = atoi(argv[2]);
  llmc_allocator allocator = {guarded_alloc, guarded_free, &fill};
  llmc_model_options options = {.struct_size = sizeof options, .allocator = &allocator, .isa = argv[4]};
  llmc_session_options session_options = {.struct_size = sizeof session_options, .max_sequences = 3, .threads = atoi(argv[3])};
  llmc_model_info info = {.struct_size = sizeof info};
  llmc_error error = {""};
  llmc_model *model;
  llmc_session *session;
  CHECK(llmc_model_open(argv[1], &options, &error, &model) == LLMC_OK);
  CHECK(llmc_model_get_info(model, &info) == LLMC_OK);
  CHECK(llmc_session_open(model, &session_options, &error, &session) == LLMC_OK);
  printf("%016llx\n", (unsigned long long)steps(session, &info));
  CHECK(llmc_session_close(session) == LLMC_OK && llmc_model_close(model) == LLMC_OK);
  return 0;
}
