/* The f16 conversions that stand in for the compiler's, against arithmetic: every half, and the floats around every half. */
#include <emmintrin.h>
#include <math.h>
#include <string.h>

#include "check.h"

float __extendhfsf2(__m128i half);
__m128i __truncsfhf2(float value);

static float widen(uint32_t half) { return __extendhfsf2(_mm_cvtsi32_si128((int)half)); }
static uint32_t narrow(float x) { return (uint32_t)_mm_cvtsi128_si32(__truncsfhf2(x)) & 0xffff; }

static float exact(uint32_t half) {
  int exponent = half >> 10 & 31, mantissa = half & 1023;
  float magnitude = exponent ? ldexpf((float)(1024 + mantissa), exponent - 25) : ldexpf((float)mantissa, -24);
  return half & 0x8000 ? -magnitude : magnitude;
}

int main(void) {
  for (uint32_t h = 0; h < 0x7c00; h++) {
    float x = exact(h), next = h + 1 < 0x7c00 ? exact(h + 1) : 65536, middle = (x + next) / 2;
    CHECK(widen(h) == x && widen(h | 0x8000) == -x && signbit(widen(h | 0x8000)));
    CHECK(narrow(x) == h && narrow(-x) == (h | 0x8000));
    CHECK(narrow(nextafterf(middle, 0)) == h && narrow(nextafterf(middle, INFINITY)) == h + 1);
    CHECK(narrow(middle) == (h & 1 ? h + 1 : h)); /* ties to even */
  }
  CHECK(isinf(widen(0x7c00)) && widen(0x7c00) > 0 && widen(0xfc00) < 0 && isnan(widen(0x7e01)));
  CHECK(narrow(INFINITY) == 0x7c00 && narrow(-3e38f) == 0xfc00 && (narrow(NAN) & 0x7c00) == 0x7c00 && (narrow(NAN) & 0x3ff));
  return 0;
}
