#include "status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_STRUCT = 4096 }; /* no struct of the interface will ever be larger */

const char *llmc_status_name(llmc_status status) {
  static const char *const names[] = {"ok",  "argument", "io",      "format",    "out of memory",
                                      "cpu", "full",     "context", "cancelled", "space"};
  size_t i = (size_t)status;
  return i < sizeof names / sizeof *names ? names[i] : "unknown";
}

llmc_status llmc_fail(llmc_error *error, llmc_status status, const char *format, ...) {
  if (!error) return status;
  va_list args;
  va_start(args, format);
  if (vsnprintf(error->text, sizeof error->text, format, args) < 0) error->text[0] = 0;
  va_end(args);
  return status;
}

void llmc_error_clear(llmc_error *error) {
  if (error) error->text[0] = 0;
}

bool llmc_struct_read(void *ours, size_t size, const void *src) {
  if (!src) return true;
  size_t theirs;
  memcpy(&theirs, src, sizeof theirs);
  if (theirs < sizeof theirs || theirs > MAX_STRUCT) return false;
  for (size_t i = size; i < theirs; i++)
    if (((const unsigned char *)src)[i]) return false;
  memcpy(ours, src, theirs < size ? theirs : size);
  return true;
}

bool llmc_struct_write(void *dst, const void *ours, size_t size) {
  size_t theirs;
  if (!dst) return false;
  memcpy(&theirs, dst, sizeof theirs);
  if (theirs < sizeof theirs || theirs > MAX_STRUCT) return false;
  size_t n = theirs < size ? theirs : size;
  memcpy((char *)dst + sizeof theirs, (const char *)ours + sizeof theirs, n - sizeof theirs);
  return true;
}
