/* Statuses with text, and structs that may be of another size than ours. */
#ifndef LLMC_STATUS_H
#define LLMC_STATUS_H

#include <stdbool.h>

#include "llmc.h"

#if defined(__GNUC__)
#define LLMC_PRINTF(text, args) __attribute__((format(printf, text, args)))
#else
#define LLMC_PRINTF(text, args)
#endif

/* Stores the text, cut to what fits, if error is not NULL. Returns status. */
llmc_status llmc_fail(llmc_error *error, llmc_status status, const char *format, ...) LLMC_PRINTF(3, 4);

void llmc_error_clear(llmc_error *error);

/* Copies a caller's struct, which begins with its size_t struct_size, over ours of `size` bytes: what it lacks stays as ours is,
** what it has beyond ours must be zero. src NULL changes nothing. False: its size or its excess makes no sense. */
bool llmc_struct_read(void *ours, size_t size, const void *src);

/* Copies ours over a caller's struct as far as the caller's struct_size goes, which stays. False: its size makes no sense. */
bool llmc_struct_write(void *dst, const void *ours, size_t size);

#endif
