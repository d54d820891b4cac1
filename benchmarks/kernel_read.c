/* Reads every byte of `data` once: what a kernel that waits for memory only would take. Returns their exclusive or. */
#include <stddef.h>
#include <stdint.h>

typedef uint64_t vec __attribute__((vector_size(64), aligned(1)));

uint64_t read_all(const char *data, size_t size) {
  vec a = {0}, b = {0}, c = {0}, d = {0};
  for (size_t i = 0; i + 256 <= size; i += 256) {
    const vec *v = (const vec *)(const void *)(data + i);
    a ^= v[0];
    b ^= v[1];
    c ^= v[2];
    d ^= v[3];
  }
  a ^= b ^ c ^ d;
  return a[0] ^ a[1] ^ a[2] ^ a[3] ^ a[4] ^ a[5] ^ a[6] ^ a[7];
}
