// Words that the generated code of a format is made of (codegen/gpu/cuda_format.py): codes to halves, exactly.
#pragma once

namespace llmc {

LLMC_DEVICE u32 word(const u8 *p) { return *(const u32 *)p; }
LLMC_DEVICE u32 half_word(const u8 *p) { return *(const u16 *)p; }

// Both halves of a pair.
LLMC_DEVICE u32 twice(u32 half) { return permute(half, 0, 0x1010); }

// Four bytes 0..255 less `bias`, as halves: 0x6400 + b are the bits of 1024 + b. bias: 1024 + what is subtracted, twice.
LLMC_DEVICE void from_bytes(u32 bytes, u32 bias, u32 &first, u32 &second) {
  first = sub2(permute(bytes, 0x64646464, 0x4140), bias);
  second = sub2(permute(bytes, 0x64646464, 0x4342), bias);
}

// An integer from -2048 to 2048 as the bits of a half.
LLMC_DEVICE u32 half_of(int value) { return halves((float)value, 0.0f); }

// Eight 4-bit codes, nibble by nibble, to entries of a table of sixteen bytes: codes 0, 2, 4, 6 in `even`, the others in `odd`.
LLMC_DEVICE void table16(u32 codes, u32 t0, u32 t1, u32 t2, u32 t3, u32 &even, u32 &odd) {
  u32 places = codes & 0x77777777, upper = ((codes >> 1) & 0x44444444) | 0x32103210;
  u32 low = permute(permute(t0, t1, places), permute(t2, t3, places), upper);
  u32 high = permute(permute(t0, t1, places >> 16), permute(t2, t3, places >> 16), upper >> 16);
  even = permute(low, high, 0x6420);
  odd = permute(low, high, 0x7531);
}

// Digit `digit` of four bytes that hold five trits each.
LLMC_DEVICE u32 trits(u32 bytes, int digit) {
  u32 power = (u32)(0x511B090301ull >> (8 * digit)) & 255;
  u32 low = (((bytes & 0x00FF00FF) * power) & 0x00FF00FF) * 3, high = ((((bytes >> 8) & 0x00FF00FF) * power) & 0x00FF00FF) * 3;
  return ((low >> 8) & 0x00FF00FF) | (high & 0xFF00FF00);
}

// Negates the bytes whose bit of `nibble` is set.
LLMC_DEVICE u32 negated(u32 bytes, u32 nibble) {
  u32 ones = (nibble * 0x00204081) & 0x01010101, all = ones * 255;
  return ((bytes ^ all) & 0x7F7F7F7F) + ones ^ ((bytes ^ all) & 0x80808080);
}

// Eight signs whose last one makes their number even.
LLMC_DEVICE u32 with_parity(u32 code) {
  u32 parity = code ^ (code >> 4);
  parity ^= parity >> 2;
  return code | (((parity ^ (parity >> 1)) & 1) << 7);
}

// Adds `by`, in every byte, where `bit` is 1; bytes stay within -128..127.
LLMC_DEVICE u32 moved(u32 bytes, u32 by, u32 bit) {
  u32 add = by * bit;
  return ((bytes & 0x7F7F7F7F) + (add & 0x7F7F7F7F)) ^ ((bytes ^ add) & 0x80808080);
}

// Two floats of 8 bits (1 sign, 4 exponent, 3 mantissa) in the high byte of each half, as halves. The bits in their places are 2^-8
// of the number; 127 is no number.
LLMC_DEVICE u32 from_e4m3(u32 high_bytes) {
  u32 magnitude = (high_bytes >> 1) & 0x3F803F80, sign = high_bytes & 0x80008000;
  u32 value = mul2(magnitude, 0x5C005C00);
  if ((magnitude & 0x3F80) == 0x3F80) value |= 0x7FFF;
  if ((magnitude >> 16) == 0x3F80) value |= 0x7FFF0000;
  return value | sign;
}

// 2^(byte - 128); bytes 0 and 1 are below the smallest normal number.
LLMC_DEVICE float power_of_two(u32 byte) { return from_bits(byte < 2 ? (byte + 1) << 21 : (byte - 1) << 23); }

// A scale of 4 bits of exponent (bias 7) and 3 of mantissa, a bit ignored, as the bits of a half; 127 is zero.
LLMC_DEVICE u32 half_of_ue4m3(u32 code) {
  return code == 127 ? 0 : mul2((code & 127) << 7, 0x5C00);
}

}  // namespace llmc
