#define _POSIX_C_SOURCE 200809L
#include "text.h"

#include <string.h>

#include "memory.h"

enum { MAX_UTF8_BYTES = 4 };

/* Room for `more` bytes and a 0. */
static llmc_status reserve(const llmc_allocator *a, llmc_buffer *b, size_t more) {
  if (more > (size_t)PTRDIFF_MAX / 4 || b->size > (size_t)PTRDIFF_MAX / 4) return LLMC_ERR_NOMEM;
  size_t capacity = 2 * (b->size + more) + MAX_UTF8_BYTES;
  if (b->size + more < b->capacity) return LLMC_OK;
  char *bytes = llmc_alloc(a, capacity, 1, sizeof(void *));
  if (!bytes) return LLMC_ERR_NOMEM;
  if (b->size) memcpy(bytes, b->bytes, b->size);
  llmc_free(a, b->bytes);
  b->bytes = bytes;
  b->capacity = capacity;
  return LLMC_OK;
}

static llmc_status append(const llmc_allocator *a, llmc_buffer *b, const char *bytes, size_t size) {
  llmc_status status = reserve(a, b, size);
  if (status) return status;
  if (size) memcpy(b->bytes + b->size, bytes, size);
  b->size += size;
  b->bytes[b->size] = 0;
  return LLMC_OK;
}

llmc_status llmc_text_open(llmc_text *text, const llmc_allocator *allocator, const char *const *stops, size_t n) {
  *text = (llmc_text){.allocator = *allocator};
  if (n > LLMC_MAX_STOPS || (n && !stops)) return LLMC_ERR_ARG;
  for (size_t i = 0; i < n; i++) {
    size_t size = stops[i] ? strnlen(stops[i], LLMC_MAX_STOP_BYTES + 1) : 0;
    if (!size || size > LLMC_MAX_STOP_BYTES) return LLMC_ERR_ARG;
    llmc_status status = append(allocator, &text->stops, stops[i], size);
    if (status) return status;
    text->stop_size[text->n_stops++] = size;
  }
  return LLMC_OK;
}

void llmc_text_close(llmc_text *text) {
  llmc_free(&text->allocator, text->pending.bytes);
  llmc_free(&text->allocator, text->piece.bytes);
  llmc_free(&text->allocator, text->stops.bytes);
}

/* Length of the longest stop text that ends exactly at byte `end` of pending; 0 if none does. */
static size_t stop_ending_at(const llmc_text *text, size_t end) {
  const char *stop = text->stops.bytes;
  size_t longest = 0;
  for (size_t i = 0; i < text->n_stops; stop += text->stop_size[i++]) {
    size_t size = text->stop_size[i];
    if (size <= end && size > longest && memcmp(text->pending.bytes + end - size, stop, size) == 0) longest = size;
  }
  return longest;
}

/* The stop text that is complete first counts, so the result does not depend on where tokens end. */
llmc_status llmc_text_append(llmc_text *text, const char *bytes, size_t size) {
  size_t old = text->pending.size;
  if (text->stopped) return LLMC_OK;
  llmc_status status = append(&text->allocator, &text->pending, bytes, size);
  for (size_t end = old + 1; !status && end <= text->pending.size; end++) {
    size_t stop = stop_ending_at(text, end);
    if (!stop) continue;
    text->stopped = true;
    text->pending.size = end - stop;
    break;
  }
  return status;
}

/* Bytes at the end of pending that may be the beginning of a stop text. */
static size_t possible_stop(const llmc_text *text) {
  const char *stop = text->stops.bytes, *end = text->pending.bytes + text->pending.size;
  size_t longest = 0;
  for (size_t i = 0; i < text->n_stops; stop += text->stop_size[i++]) {
    size_t size = text->stop_size[i] - 1;
    if (size > text->pending.size) size = text->pending.size;
    while (size > longest && memcmp(end - size, stop, size) != 0) size--;
    if (size > longest) longest = size;
  }
  return longest;
}

/* The largest n' <= n at which no UTF-8 character is cut. Bytes that cannot become a character are not waited for. */
static size_t whole_characters(const char *bytes, size_t n) {
  for (size_t back = 1; back < MAX_UTF8_BYTES && back <= n; back++) {
    unsigned char c = (unsigned char)bytes[n - back];
    if ((c & 0xc0) == 0x80) continue; /* a continuation: the lead byte is further left */
    size_t length = c >= 0xf0 && c < 0xf8 ? 4 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xc0 && c < 0xe0 ? 2 : 1;
    return length > back ? n - back : n;
  }
  return n;
}

llmc_status llmc_text_take(llmc_text *text, bool all, const char **bytes, size_t *size) {
  llmc_buffer *pending = &text->pending;
  size_t n = pending->size;
  if (!all && !text->stopped && n) n = whole_characters(pending->bytes, n - possible_stop(text));
  text->piece.size = 0;
  llmc_status status = append(&text->allocator, &text->piece, pending->bytes, n);
  if (status) return status;
  if (n) memmove(pending->bytes, pending->bytes + n, pending->size - n);
  pending->size -= n;
  *bytes = text->piece.bytes;
  *size = n;
  return LLMC_OK;
}
