// The instructions of sm_80 and later that CUDA C++ has no words for, a function each. tests/codegen/gpu/emulation.h defines the same
// functions for a processor, by what the PTX ISA manual says of them, so everything built on them is checked without a GPU.
//
// Halves travel in pairs: a u32 holds two f16, the first in its low bits.
#pragma once

#define LLMC_DEVICE __device__ __forceinline__
#define LLMC_SHARED __shared__ __align__(128)

namespace llmc {

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

struct Four {
  u32 x, y, z, w;
};

// Bytes of a (0..3) and b (4..7), chosen by the four low nibbles of `selector`.
LLMC_DEVICE u32 permute(u32 a, u32 b, u32 selector) {
  u32 d;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(selector));
  return d;
}

LLMC_DEVICE u32 add2(u32 a, u32 b) {
  u32 d;
  asm("add.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
  return d;
}

LLMC_DEVICE u32 sub2(u32 a, u32 b) {
  u32 d;
  asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
  return d;
}

LLMC_DEVICE u32 mul2(u32 a, u32 b) {
  u32 d;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
  return d;
}

// Two floats rounded to the nearest halves, ties to even.
LLMC_DEVICE u32 halves(float low, float high) {
  u32 d;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
  return d;
}

LLMC_DEVICE float from_half(u32 bits) {
  float d;
  asm("{ .reg .b16 h; cvt.u16.u32 h, %1; cvt.f32.f16 %0, h; }" : "=f"(d) : "r"(bits));
  return d;
}

LLMC_DEVICE float from_bits(u32 bits) { return __uint_as_float(bits); }
LLMC_DEVICE u32 to_bits(float value) { return __float_as_uint(value); }

// e^x and 2^x within 2 ulp of f32.
LLMC_DEVICE float exp2_of(float x) {
  float d;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(d) : "f"(x));
  return d;
}

LLMC_DEVICE float tanh_of(float x) { return tanhf(x); }

// d = a b + c: a [16 x 16] and b [16 x 8] of f16, c and d [16 x 8] of f32. Lane 4 g + t holds
//   a   (g, 2t..), (g + 8, 2t..), (g, 2t + 8..), (g + 8, 2t + 8..), two columns each
//   b   (2t.., g), (2t + 8.., g), two rows each
//   c   (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)
LLMC_DEVICE void mma16(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1, const float (&c)[4]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
               : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

// The same with a [16 x 8] and b [8 x 8]: a0 is (g, 2t..), a1 (g + 8, 2t..), b (2t.., g).
LLMC_DEVICE void mma8(float (&d)[4], u32 a0, u32 a1, u32 b, const float (&c)[4]) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%7, %8, %9, %10};"
               : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
               : "r"(a0), "r"(a1), "r"(b), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

LLMC_DEVICE u32 shared_address(const void *p) { return (u32)__cvta_generic_to_shared(p); }

// Four 8 x 8 matrices of f16 from shared memory. Lanes 8 i .. 8 i + 7 give the addresses of the rows of matrix i, 16 bytes each; lane
// 4 g + t receives of each matrix row g, columns 2t and 2t + 1.
LLMC_DEVICE void load_matrices(u32 (&d)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(shared_address(row))
               : "memory");
}

// The same, transposed: lane 4 g + t receives rows 2t and 2t + 1 of column g.
LLMC_DEVICE void load_matrices_transposed(u32 (&d)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(shared_address(row))
               : "memory");
}

// Sixteen bytes of global memory on their way to shared memory, or sixteen zero bytes where there are none.
LLMC_DEVICE void copy16(void *to, const void *from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(there ? 16 : 0) : "memory");
}

// Ends a group of copies.
LLMC_DEVICE void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most the last N groups of this thread are on their way.
template <int N>
LLMC_DEVICE void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

LLMC_DEVICE Four load_four(const void *p) {
  Four d;
  asm volatile("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(d.x), "=r"(d.y), "=r"(d.z), "=r"(d.w) : "l"(p));
  return d;
}

LLMC_DEVICE Four read_four(const void *p) { return *(const Four *)p; }

LLMC_DEVICE void sync_block() { __syncthreads(); }
LLMC_DEVICE void sync_warp() { __syncwarp(); }
LLMC_DEVICE float shuffle_xor(float value, int mask) { return __shfl_xor_sync(~0u, value, mask); }

}  // namespace llmc
