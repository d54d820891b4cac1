#include "number.h"

#include <string.h>

enum { EXPONENT_BIAS = 1023, MANTISSA_BITS = 52 };

/* x = k ln 2 + r with |r| <= ln 2 / 2; e^r by its Taylor series, whose 11th term is below 1e-11; then the exponent is set to k. */
double llmc_exp(double x) {
  static const double ln2_high = 0x1.62e42fefa38p-1, ln2_low = 0x1.ef35793c7673p-45, log2e = 0x1.71547652b82fep0;
  static const double c2 = 1.0 / 2, c3 = 1.0 / 6, c4 = 1.0 / 24, c5 = 1.0 / 120, c6 = 1.0 / 720, c7 = 1.0 / 5040, c8 = 1.0 / 40320,
                      c9 = 1.0 / 362880, c10 = 1.0 / 3628800;
  if (!(x > -700)) return 0;
  if (x > 0) x = 0;
  int64_t k = (int64_t)(x * log2e - 0.5);
  double r = (x - (double)k * ln2_high) - (double)k * ln2_low;
  double high = ((((c10 * r + c9) * r + c8) * r + c7) * r + c6) * r + c5;
  double sum = ((((high * r + c4) * r + c3) * r + c2) * r + 1) * r + 1;
  uint64_t bits = (uint64_t)(k + EXPONENT_BIAS) << MANTISSA_BITS;
  double power;
  memcpy(&power, &bits, sizeof power);
  return sum * power;
}

static uint64_t splitmix(uint64_t *state) {
  uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

void llmc_random_seed(llmc_random *random, uint64_t seed) {
  for (int i = 0; i < 4; i++) random->state[i] = splitmix(&seed);
}

static uint64_t rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }

static uint64_t next(uint64_t s[4]) {
  uint64_t result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotate(s[3], 45);
  return result;
}

double llmc_random_unit(llmc_random *random) { return (double)(next(random->state) >> 11) * 0x1p-53; }
