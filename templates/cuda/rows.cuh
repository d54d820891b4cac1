// Activations as matrix units take them: halves of x times a power of two, which brings the largest of a row below 1024.
#pragma once

namespace llmc {

constexpr int HALVE_THREADS = 256;

LLMC_DEVICE float largest_of_block(float value) {
  LLMC_SHARED float parts[HALVE_THREADS / 32];
  for (int mask = 16; mask; mask /= 2) value = fmaxf(value, shuffle_xor(value, mask));
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
  sync_block();
  for (int i = 0; i < HALVE_THREADS / 32; i++) value = fmaxf(value, parts[i]);
  return value;
}

// x f32 [tokens, ldx] -> halves [tokens, ldh], zeros from column k on; sums [tokens, ldh / 16], pairs of halves whose sum is that of
// 16 halves; factors [tokens]. A block a token, a thread 16 columns. ldx and ldh are multiples of 16, of 64.
LLMC_DEVICE void halve(const float *x, u32 *halves_out, u32 *sums, float *factors, int k, int ldx, int ldh) {
  int token = blockIdx.x;
  const float *row = x + (u64)token * ldx;
  float top = 0;
  for (int i = threadIdx.x; i < k; i += HALVE_THREADS) top = fmaxf(top, fabsf(row[i]));
  top = largest_of_block(top);
  int exponent = (int)(to_bits(top) >> 23) - 127;  // of a number in [2^e, 2^(e + 1))
  int up = exponent == 128 || exponent == -127 ? 0 : exponent < -100 ? 109 : 9 - exponent;
  float by = from_bits((u32)(127 + up) << 23);
  if (threadIdx.x == 0) factors[token] = from_bits((u32)(127 - up) << 23);
  for (int first = 16 * threadIdx.x; first < ldh; first += 16 * HALVE_THREADS) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < 16; i += 2) {
      float a = first + i < k ? row[first + i] * by : 0, b = first + i + 1 < k ? row[first + i + 1] * by : 0;
      u32 pair = halves(a, b);
      halves_out[((u64)token * ldh + first + i) / 2] = pair;
      sum += from_half(pair & 0xFFFF) + from_half(pair >> 16);
    }
    u32 high = halves(sum, 0);
    sums[((u64)token * ldh + first) / 16] = high & 0xFFFF | halves(0, sum - from_half(high & 0xFFFF)) & 0xFFFF0000;
  }
}

}  // namespace llmc
