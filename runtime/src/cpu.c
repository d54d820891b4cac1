#define _GNU_SOURCE
#include "cpu.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>

typedef struct bit {
  uint8_t position;
  uint32_t feature;
} bit;

static uint32_t gather(uint32_t value, const bit *bits, size_t n) {
  uint32_t features = 0;
  for (size_t i = 0; i < n; i++)
    if (value >> bits[i].position & 1) features |= bits[i].feature;
  return features;
}
#define GATHER(value, bits) gather(value, bits, sizeof(bits) / sizeof *(bits))

static uint64_t saved_registers(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

enum { XCR0_AVX = 0x6, XCR0_AVX512 = 0xe6, XCR0_TILES = 0x60000 };

enum { AMX_TILE = 1 << 24, AMX_INT8 = 1 << 25 }; /* of cpuid leaf 7, edx */

/* Linux saves the tiles of a process only after it has asked, because they make its signal frames larger. All threads share the answer. */
static bool tiles_permitted(void) {
  enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
  return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

/* Features whose registers are ymm and zmm. The rest needs xmm and general registers only. */
static const uint32_t ymm_features = LLMC_CPU_AVX | LLMC_CPU_F16C | LLMC_CPU_FMA | LLMC_CPU_AVX2 | LLMC_CPU_AVX_VNNI |
                                     LLMC_CPU_VAES | LLMC_CPU_VPCLMULQDQ;
static const uint32_t zmm_features = LLMC_CPU_AVX512F | LLMC_CPU_AVX512BW | LLMC_CPU_AVX512CD | LLMC_CPU_AVX512DQ |
                                     LLMC_CPU_AVX512VL | LLMC_CPU_AVX512_VNNI | LLMC_CPU_AVX512_VBMI | LLMC_CPU_AVX512_VBMI2 |
                                     LLMC_CPU_AVX512_BITALG | LLMC_CPU_AVX512_VPOPCNTDQ | LLMC_CPU_AVX512_IFMA;

uint32_t llmc_cpu_features(void) {
  static const bit leaf1_c[] = {{0, LLMC_CPU_SSE3},   {9, LLMC_CPU_SSSE3},  {12, LLMC_CPU_FMA},    {13, LLMC_CPU_CX16},
                                {19, LLMC_CPU_SSE41}, {20, LLMC_CPU_SSE42}, {22, LLMC_CPU_MOVBE},  {23, LLMC_CPU_POPCNT},
                                {28, LLMC_CPU_AVX},   {29, LLMC_CPU_F16C}};
  static const bit leaf7_b[] = {{3, LLMC_CPU_BMI1},      {5, LLMC_CPU_AVX2},      {8, LLMC_CPU_BMI2},
                                {16, LLMC_CPU_AVX512F},  {17, LLMC_CPU_AVX512DQ}, {21, LLMC_CPU_AVX512_IFMA},
                                {28, LLMC_CPU_AVX512CD}, {30, LLMC_CPU_AVX512BW}, {31, LLMC_CPU_AVX512VL}};
  static const bit leaf7_c[] = {{1, LLMC_CPU_AVX512_VBMI},  {6, LLMC_CPU_AVX512_VBMI2},   {8, LLMC_CPU_GFNI}, {9, LLMC_CPU_VAES}, {10, LLMC_CPU_VPCLMULQDQ},
                                {11, LLMC_CPU_AVX512_VNNI}, {12, LLMC_CPU_AVX512_BITALG}, {14, LLMC_CPU_AVX512_VPOPCNTDQ}};
  static const bit leaf71_a[] = {{4, LLMC_CPU_AVX_VNNI}};
  static const bit extended_c[] = {{0, LLMC_CPU_LAHF}, {5, LLMC_CPU_LZCNT}};
  uint32_t a, b, c, d, features = 0;
  uint64_t saved = 0;
  if (__get_cpuid(1, &a, &b, &c, &d)) {
    features |= GATHER(c, leaf1_c);
    if (c >> 27 & 1) saved = saved_registers(); /* OSXSAVE: xgetbv may be used */
  }
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
    features |= GATHER(b, leaf7_b) | GATHER(c, leaf7_c);
    if ((~d & (AMX_TILE | AMX_INT8)) == 0 && (~saved & XCR0_TILES) == 0 && tiles_permitted()) features |= LLMC_CPU_AMX;
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) features |= GATHER(a, leaf71_a);
  }
  if (__get_cpuid(0x80000001, &a, &b, &c, &d)) features |= GATHER(c, extended_c);
  if ((saved & XCR0_AVX) != XCR0_AVX) features &= ~(ymm_features | zmm_features);
  if ((saved & XCR0_AVX512) != XCR0_AVX512) features &= ~zmm_features;
  return features;
}
#else
uint32_t llmc_cpu_features(void) { return 0; }
#endif

static int32_t affinity_cores(void) {
  unsigned long mask[2048] = {0}; /* the kernel refuses a set smaller than its own, at most 8192 cores so far */
  if (sched_getaffinity(0, sizeof mask, (cpu_set_t *)(void *)mask)) return 1;
  int32_t cores = CPU_COUNT_S(sizeof mask, (const cpu_set_t *)(const void *)mask);
  return cores > 0 ? cores : 1;
}

/* cgroup v2: "max 100000" or "<quota> <period>", both in microseconds. */
static int32_t quota_cores(int32_t none) {
  char text[64];
  int fd = open("/sys/fs/cgroup/cpu.max", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return none;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return none;
  text[n] = 0;
  char *rest;
  long quota = strtol(text, &rest, 10);
  long period = strtol(rest, NULL, 10);
  if (quota <= 0 || period <= 0) return none;
  long cores = (quota + period - 1) / period;
  return cores < none ? (int32_t)cores : none;
}

int32_t llmc_cpu_cores(void) { return quota_cores(affinity_cores()); }

const llmc_isa *llmc_cpu_choose(const llmc_plan *plan, const char *name, uint32_t features) {
  for (int32_t i = 0; i < plan->n_isas; i++) {
    const llmc_isa *isa = &plan->isas[i];
    bool runs = (isa->features & ~features) == 0;
    if (name ? runs && strcmp(name, isa->name) == 0 : runs) return isa;
  }
  return NULL;
}
