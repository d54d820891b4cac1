/* f16 to f32 and back for code whose compiler calls a function for it: that of processors without F16C.
**
** Kernel objects carry weak copies of both, compiled for their own level; a linker that kept the AVX2 one would kill an older
** processor. These are strong and compiled for the lowest level, so they win. A half travels in the low 16 bits of an xmm register. */
#if defined(__x86_64__)
#include <emmintrin.h>
#include <stdint.h>
#include <string.h>

float __extendhfsf2(__m128i half);
__m128i __truncsfhf2(float value);

static float from_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

float __extendhfsf2(__m128i half) {
  uint32_t h = (uint32_t)_mm_cvtsi128_si32(half) & 0xffff, sign = (h & 0x8000) << 16, rest = (h & 0x7fff) << 13;
  if (rest >= 0x0f800000) return from_bits(sign | 0x70000000 | rest); /* infinity and NaN: exponent 31 becomes 255 */
  float magnitude = from_bits(rest) * 0x1p112f; /* exact, also for subnormal halves */
  return sign ? -magnitude : magnitude;
}

/* Rounds to nearest even. */
__m128i __truncsfhf2(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  uint32_t sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff, half;
  if (rest > 0x7f800000) half = 0x7e00 | (rest >> 13 & 0x1ff); /* NaN, made quiet */
  else if (rest >= 0x477ff000) half = 0x7c00; /* 65520 and more round to infinity */
  else if (rest >= 0x38800000) half = (rest - 0x38000000 + 0xfff + (rest >> 13 & 1)) >> 13;
  else {
    float aligned = from_bits(rest) + 0.5f; /* the unit of a subnormal half, 2^-24, is now the last bit: the addition rounds */
    memcpy(&half, &aligned, sizeof half);
    half -= 0x3f000000;
  }
  return _mm_cvtsi32_si128((int)(sign | half));
}
#endif
