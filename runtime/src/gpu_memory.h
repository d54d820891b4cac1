/* Device memory that is given back is kept for the next one who asks: a driver's own allocation waits for the whole device. */
#ifndef LLMC_GPU_MEMORY_H
#define LLMC_GPU_MEMORY_H

#include "device.h"

typedef struct llmc_gpu_memory llmc_gpu_memory;

llmc_gpu_memory *llmc_gpu_memory_open(const llmc_driver *driver, llmc_device *device, const llmc_allocator *allocator); /* NULL: none */
void llmc_gpu_memory_close(llmc_gpu_memory *memory); /* everything must have been given back; NULL is fine */

/* At least `bytes` bytes, at a multiple of 256. May be called by any thread that has entered the device. The driver's code. */
int llmc_gpu_memory_take(llmc_gpu_memory *memory, uint64_t bytes, llmc_address *out);

/* 0 is fine. What was queued on it must be done. */
void llmc_gpu_memory_give(llmc_gpu_memory *memory, llmc_address address);

#endif
