/* The machine's peak of int8 multiply-accumulates, from registers alone: the limit that prefill is measured against.
**
**     peak THREADS      each line "vnni SECONDS" or "amx SECONDS" on stdin is answered with operations per second of all threads
**                       (a multiplication and an addition are two), or 0 where the processor has no such instructions */
#define _GNU_SOURCE
#include <immintrin.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 2000, VNNI_CHAINS = 16, TILE_CHAINS = 6, ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
typedef double kernel(void); /* does some work, says how many operations it was */

typedef struct job {
  kernel *run;
  double seconds, operations;
} job;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

__attribute__((target("avx512f,avx512vnni"))) static double vnni(void) {
  __m512i sums[VNNI_CHAINS], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(1);
  for (int i = 0; i < VNNI_CHAINS; i++) sums[i] = _mm512_setzero_si512();
  for (int r = 0; r < ROUNDS; r++)
#pragma unroll
    for (int i = 0; i < VNNI_CHAINS; i++) {
      sums[i] = _mm512_dpbusd_epi32(sums[i], a, b);
      __asm__ volatile("" : "+v"(sums[i])); /* each is wanted: nothing may be folded */
    }
  return 2.0 * 64 * VNNI_CHAINS * ROUNDS;
}

__attribute__((target("amx-tile,amx-int8"))) static double amx(void) {
  struct {
    unsigned char palette, start, zero[14];
    unsigned short columns[16];
    unsigned char rows[16];
  } config = {.palette = 1};
  for (int i = 0; i < 8; i++) config.columns[i] = 64, config.rows[i] = 16;
  _tile_loadconfig(&config);
  _tile_zero(6);
  _tile_zero(7);
  for (int r = 0; r < ROUNDS; r++) {
    _tile_dpbssd(0, 6, 7);
    _tile_dpbssd(1, 6, 7);
    _tile_dpbssd(2, 6, 7);
    _tile_dpbssd(3, 6, 7);
    _tile_dpbssd(4, 6, 7);
    _tile_dpbssd(5, 6, 7);
  }
  _tile_release();
  return 2.0 * 16 * 16 * 64 * TILE_CHAINS * ROUNDS;
}

static void *work(void *arg) {
  job *j = arg;
  for (double end = now() + j->seconds; now() < end;) j->operations += j->run();
  return NULL;
}

static double rate(kernel *run, double seconds, int threads) {
  pthread_t ids[64];
  job jobs[64];
  double begun = now(), operations = 0;
  for (int i = 0; i < threads; i++) {
    jobs[i] = (job){run, seconds, 0};
    if (i && pthread_create(&ids[i], NULL, work, &jobs[i])) exit(1);
  }
  work(&jobs[0]);
  for (int i = 1; i < threads; i++) pthread_join(ids[i], NULL);
  for (int i = 0; i < threads; i++) operations += jobs[i].operations;
  return operations / (now() - begun);
}

static int has(const char *flag) {
  char line[1 << 14];
  FILE *file = fopen("/proc/cpuinfo", "r");
  int found = 0;
  while (file && !found && fgets(line, sizeof line, file)) found = !strncmp(line, "flags", 5) && strstr(line, flag);
  if (file) fclose(file);
  return found;
}

int main(int argc, char **argv) {
  int threads = argc == 2 ? atoi(argv[1]) : 0;
  char what[8];
  double seconds;
  if (threads < 1 || threads > 64) return 2;
  int tiles = has("amx_int8") && !syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA);
  int dots = has("avx512_vnni");
  while (scanf("%7s %lf", what, &seconds) == 2) {
    int is_amx = !strcmp(what, "amx");
    printf("%.9g\n", (is_amx ? tiles : dots) ? rate(is_amx ? amx : vnni, seconds, threads) : 0.0);
    fflush(stdout);
  }
  return 0;
}
