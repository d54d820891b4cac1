/* Reads every byte of a mapped file, again and again: the memory limit that decoding is measured against.
**
**     read_loop FILE THREADS      each line N on stdin is answered with the seconds of N passes */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t vec __attribute__((vector_size(64), aligned(1)));
typedef struct part {
  const char *data;
  size_t size;
  uint64_t sum;
} part;

static void *read_part(void *arg) {
  part *p = arg;
  vec a = {0}, b = {0}, c = {0}, d = {0};
  for (size_t i = 0; i + 256 <= p->size; i += 256) {
    const vec *v = (const vec *)(p->data + i);
    a ^= v[0];
    b ^= v[1];
    c ^= v[2];
    d ^= v[3];
  }
  a ^= b ^ c ^ d;
  for (int i = 0; i < 8; i++) p->sum += a[i];
  return NULL;
}

static void pass(const char *data, size_t size, int threads) {
  pthread_t ids[64];
  part parts[64];
  size_t each = size / (size_t)threads / 256 * 256;
  for (int i = 0; i < threads; i++) {
    parts[i] = (part){data + (size_t)i * each, each, 0};
    if (i && pthread_create(&ids[i], NULL, read_part, &parts[i])) exit(1);
  }
  read_part(&parts[0]);
  for (int i = 1; i < threads; i++) pthread_join(ids[i], NULL);
  volatile uint64_t keep = 0;
  for (int i = 0; i < threads; i++) keep += parts[i].sum;
}

int main(int argc, char **argv) {
  int threads = argc == 3 ? atoi(argv[2]) : 0, file = argc == 3 ? open(argv[1], O_RDONLY) : -1, count;
  struct stat info;
  if (threads < 1 || threads > 64 || file < 0 || fstat(file, &info)) return 2;
  char *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, file, 0);
  if (data == MAP_FAILED) return 1;
  madvise(data, (size_t)info.st_size, MADV_HUGEPAGE); /* where the file's pages are huge, so is what is measured */
  pass(data, (size_t)info.st_size, threads);
  while (scanf("%d", &count) == 1) {
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < count; i++) pass(data, (size_t)info.st_size, threads);
    clock_gettime(CLOCK_MONOTONIC, &b);
    printf("%.9f\n", (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec));
    fflush(stdout);
  }
  return 0;
}
