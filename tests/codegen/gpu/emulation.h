// A CUDA thread block on a processor: what stands for templates/cuda/ptx.cuh when kernels are compiled as ordinary C++.
//
// Threads of a block are coroutines that run in turn until they wait for others. Instructions of a whole warp (mma, ldmatrix,
// shuffles) happen when its last lane has come to them, by what the PTX ISA manual says of fragments. Copies in the background
// arrive no sooner than the thread waits for them, and shared memory starts as NaN, so a missing wait or barrier shows as a wrong
// result. Blocks run one after another.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <functional>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define LLMC_DEVICE inline
#define LLMC_SHARED alignas(128) __attribute__((section("llmc_shared"))) static

extern "C" char __start_llmc_shared[], __stop_llmc_shared[];

namespace emulation {

struct Three {
  unsigned x, y, z;
};

struct Copy {
  void *to;
  const void *from;
  bool there;
};

struct Fiber {
  ucontext_t context;
  std::vector<char> stack;
  std::vector<std::vector<Copy>> groups;  // committed, oldest first
  std::vector<Copy> open;
  unsigned thread;
  bool done;
};

// A place where `wanted` threads meet; what they bring is worked on when all are there.
struct Meeting {
  int wanted = 32, here = 0;
  unsigned turn = 0;
  const char *what = nullptr;
  void *brought[1024];
};

inline std::vector<Fiber> fibers;
inline std::vector<Meeting> warps;
inline Meeting block;
inline Fiber *current;
inline ucontext_t scheduler;
inline std::function<void()> body;
inline bool backwards;  // threads run in descending order

[[noreturn]] inline void fail(const char *text) {
  fprintf(stderr, "emulated kernel: %s\n", text);
  abort();
}

}  // namespace emulation

inline emulation::Three threadIdx, blockIdx;

namespace emulation {

inline void give_way() {
  Fiber *me = current;
  swapcontext(&me->context, &scheduler);
  current = me;
  threadIdx.x = me->thread;
}

template <class Work>
inline void meet(Meeting &m, const char *what, void *brought, int place, Work work) {
  if (m.here && strcmp(m.what, what)) fail("threads that should meet wait for different things");
  m.what = what;
  m.brought[place] = brought;
  if (++m.here < m.wanted) {
    for (unsigned turn = m.turn; turn == m.turn;) give_way();
    return;
  }
  work(m.brought);
  m.here = 0;
  m.turn++;
}

template <class Work>
inline void with_warp(const char *what, void *brought, Work work) {
  meet(warps[current->thread / 32], what, brought, current->thread % 32, work);
}

inline void start() {
  body();
  current->done = true;
  swapcontext(&current->context, &scheduler);
}

inline void run_block(unsigned threads) {
  memset(__start_llmc_shared, 0xFF, (size_t)(__stop_llmc_shared - __start_llmc_shared));
  fibers.resize(threads);
  warps.assign(threads / 32, Meeting());
  block = Meeting();
  block.wanted = (int)threads;
  for (unsigned i = 0; i < threads; i++) {
    Fiber &f = fibers[i];
    f.stack.resize(1 << 16);
    f.groups.clear();
    f.open.clear();
    f.thread = i;
    f.done = false;
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.data();
    f.context.uc_stack.ss_size = f.stack.size();
    f.context.uc_link = nullptr;
    makecontext(&f.context, start, 0);
  }
  for (unsigned left = threads, idle = 0; left;) {
    unsigned before = left;
    unsigned long turns = block.turn;
    for (auto &w : warps) turns += w.turn;
    for (unsigned i = 0; i < threads; i++) {
      Fiber &f = fibers[backwards ? threads - 1 - i : i];
      if (f.done) continue;
      current = &f;
      threadIdx.x = f.thread;
      swapcontext(&scheduler, &f.context);
      left -= f.done;
    }
    unsigned long after = block.turn;
    for (auto &w : warps) after += w.turn;
    idle = left == before && turns == after ? idle + 1 : 0;
    if (idle > 2) fail("threads wait for others that never come");
  }
}

inline void run(unsigned x, unsigned y, unsigned z, unsigned threads, std::function<void()> kernel) {
  body = kernel;
  for (blockIdx.z = 0; blockIdx.z < z; blockIdx.z++)
    for (blockIdx.y = 0; blockIdx.y < y; blockIdx.y++)
      for (blockIdx.x = 0; blockIdx.x < x; blockIdx.x++) run_block(threads);
}

inline float half_at(uint32_t pair, int which) {
  uint16_t bits = (uint16_t)(pair >> 16 * which);
  _Float16 value;
  memcpy(&value, &bits, 2);
  return (float)value;
}

inline uint32_t half_bits(float value) {
  _Float16 rounded = (_Float16)value;
  uint16_t bits;
  memcpy(&bits, &rounded, 2);
  return bits;
}

template <class Of>
inline uint32_t both(uint32_t a, uint32_t b, Of of) {
  return half_bits(of(half_at(a, 0), half_at(b, 0))) | half_bits(of(half_at(a, 1), half_at(b, 1))) << 16;
}

struct Product {
  float *d;
  const uint32_t *a;
  uint32_t b[2];
  const float *c;
};

// d [16 x 8] of a [16 x k] and b [k x 8], from and to the fragments of a warp. k is 8 or 16.
inline void multiply(void **brought, int k) {
  float a[16][16], b[16][8], d[16][8];
  for (int lane = 0; lane < 32; lane++) {
    const Product *p = (const Product *)brought[lane];
    int g = lane / 4, t = lane % 4;
    for (int r = 0; r < k / 4; r++)  // registers of a: rows first, then columns
      for (int i = 0; i < 2; i++) a[g + 8 * (r % 2)][2 * t + i + 8 * (r / 2)] = half_at(p->a[r], i);
    for (int r = 0; r < k / 8; r++)
      for (int i = 0; i < 2; i++) b[2 * t + i + 8 * r][g] = half_at(p->b[r], i);
    for (int i = 0; i < 4; i++) d[g + 8 * (i / 2)][2 * t + i % 2] = p->c[i];
  }
  for (int row = 0; row < 16; row++)
    for (int column = 0; column < 8; column++) {
      double sum = d[row][column];
      for (int i = 0; i < k; i++) sum += (double)a[row][i] * b[i][column];
      d[row][column] = (float)sum;
    }
  for (int lane = 0; lane < 32; lane++)
    for (int i = 0; i < 4; i++) ((const Product *)brought[lane])->d[i] = d[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2];
}

struct Matrices {
  uint32_t *d;
  const uint16_t *row;
};

inline void load(void **brought, bool transposed) {
  for (int lane = 0; lane < 32; lane++)
    for (int m = 0; m < 4; m++) {
      uint32_t pair = 0;
      for (int i = 0; i < 2; i++) {
        int row = transposed ? 2 * (lane % 4) + i : lane / 4, column = transposed ? lane / 4 : 2 * (lane % 4) + i;
        pair |= (uint32_t)((const Matrices *)brought[8 * m + row])->row[column] << 16 * i;
      }
      ((const Matrices *)brought[lane])->d[m] = pair;
    }
}

inline void arrive(const Copy &c) {
  if (c.there) memcpy(c.to, c.from, 16);
  else memset(c.to, 0, 16);
}

}  // namespace emulation

namespace llmc {

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

struct Four {
  u32 x, y, z, w;
};

LLMC_DEVICE u32 permute(u32 a, u32 b, u32 selector) {
  u64 bytes = (u64)b << 32 | a;
  u32 d = 0;
  for (int i = 0; i < 4; i++) {
    u32 s = selector >> 4 * i & 15;
    u32 byte = (u32)(bytes >> 8 * (s & 7)) & 255;
    d |= (s & 8 ? (byte & 128 ? 255u : 0u) : byte) << 8 * i;
  }
  return d;
}

LLMC_DEVICE u32 add2(u32 a, u32 b) { return emulation::both(a, b, [](float x, float y) { return x + y; }); }
LLMC_DEVICE u32 sub2(u32 a, u32 b) { return emulation::both(a, b, [](float x, float y) { return x - y; }); }
LLMC_DEVICE u32 mul2(u32 a, u32 b) { return emulation::both(a, b, [](float x, float y) { return x * y; }); }
LLMC_DEVICE u32 halves(float low, float high) { return emulation::half_bits(low) | emulation::half_bits(high) << 16; }
LLMC_DEVICE float from_half(u32 bits) { return emulation::half_at(bits, 0); }

LLMC_DEVICE float from_bits(u32 bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

LLMC_DEVICE u32 to_bits(float value) {
  u32 bits;
  memcpy(&bits, &value, 4);
  return bits;
}

LLMC_DEVICE float exp2_of(float x) { return exp2f(x); }
LLMC_DEVICE float tanh_of(float x) { return tanhf(x); }

LLMC_DEVICE void mma16(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1, const float (&c)[4]) {
  emulation::Product p = {d, a, {b0, b1}, c};
  emulation::with_warp("mma16", &p, [](void **all) { emulation::multiply(all, 16); });
}

LLMC_DEVICE void mma8(float (&d)[4], u32 a0, u32 a1, u32 b, const float (&c)[4]) {
  u32 a[2] = {a0, a1};
  emulation::Product p = {d, a, {b, 0}, c};
  emulation::with_warp("mma8", &p, [](void **all) { emulation::multiply(all, 8); });
}

LLMC_DEVICE void load_matrices(u32 (&d)[4], const void *row) {
  if ((uintptr_t)row % 16) emulation::fail("ldmatrix: a row is not aligned");
  emulation::Matrices m = {d, (const u16 *)row};
  emulation::with_warp("ldmatrix", &m, [](void **all) { emulation::load(all, false); });
}

LLMC_DEVICE void load_matrices_transposed(u32 (&d)[4], const void *row) {
  if ((uintptr_t)row % 16) emulation::fail("ldmatrix: a row is not aligned");
  emulation::Matrices m = {d, (const u16 *)row};
  emulation::with_warp("ldmatrix.trans", &m, [](void **all) { emulation::load(all, true); });
}

LLMC_DEVICE void copy16(void *to, const void *from, bool there) {
  if ((uintptr_t)to % 16 || (uintptr_t)from % 16) emulation::fail("cp.async: an address is not aligned");
  if ((char *)to < __start_llmc_shared || (char *)to + 16 > __stop_llmc_shared) emulation::fail("cp.async: not to shared memory");
  emulation::current->open.push_back({to, from, there});
}

LLMC_DEVICE void commit() {
  emulation::current->groups.push_back(std::move(emulation::current->open));
  emulation::current->open.clear();
}

template <int N>
LLMC_DEVICE void wait_copies() {
  auto &groups = emulation::current->groups;
  while (groups.size() > N) {
    for (auto &copy : groups.front()) emulation::arrive(copy);
    groups.erase(groups.begin());
  }
}

LLMC_DEVICE Four load_four(const void *p) {
  if ((uintptr_t)p % 16) emulation::fail("a load of 16 bytes is not aligned");
  return *(const Four *)p;
}

LLMC_DEVICE Four read_four(const void *p) { return load_four(p); }

LLMC_DEVICE void sync_block() {
  emulation::meet(emulation::block, "barrier", nullptr, (int)emulation::current->thread, [](void **) {});
}

LLMC_DEVICE void sync_warp() { emulation::with_warp("syncwarp", nullptr, [](void **) {}); }

LLMC_DEVICE float shuffle_xor(float value, int mask) {
  float given = value, *address = &given, found = 0;
  struct Exchange {
    float *value, *found;
    int mask;
  } mine = {address, &found, mask};
  emulation::with_warp("shuffle", &mine, [](void **all) {
    for (int lane = 0; lane < 32; lane++) {
      Exchange *e = (Exchange *)all[lane];
      *e->found = *((Exchange *)all[lane ^ e->mask])->value;
    }
  });
  return found;
}

}  // namespace llmc
