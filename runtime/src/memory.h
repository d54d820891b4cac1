/* The caller's allocator, or malloc. */
#ifndef LLMC_MEMORY_H
#define LLMC_MEMORY_H

#include <stdbool.h>

#include "llmc.h"

/* The caller's allocator if it is complete, malloc's if NULL. False: a function is missing. */
bool llmc_allocator_choose(const llmc_allocator *given, llmc_allocator *out);

/* count * size bytes aligned to `align`, or NULL, also when the product overflows. Zero bytes give a block that can be freed. */
void *llmc_alloc(const llmc_allocator *a, size_t count, size_t size, size_t align);

/* llmc_alloc() filled with zeros, aligned for any type. */
void *llmc_alloc_zeroed(const llmc_allocator *a, size_t count, size_t size);

/* Whether memory of this allocator that is never touched costs address space alone, as malloc's does. */
bool llmc_allocator_is_lazy(const llmc_allocator *a);

void llmc_free(const llmc_allocator *a, void *memory); /* NULL is fine */

#endif
