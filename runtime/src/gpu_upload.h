/* The weights file on its way to a device: in pieces, by some threads, so that a step may start on what has arrived.
**
** Each thread copies pieces of the mapped file, in ascending order over all of them, into pinned buffers of its own and queues them on
** a stream of its own; an event stands for each piece. A step waits on its stream for the pieces it reads, and on the host only for
** those that are not queued yet. */
#ifndef LLMC_GPU_UPLOAD_H
#define LLMC_GPU_UPLOAD_H

#include "device.h"
#include "file.h"

typedef struct llmc_gpu_upload llmc_gpu_upload;

/* Starts copying `file` to `to`, which has room for it. The file stays mapped until the upload is closed. LLMC_ERR_NOMEM. */
llmc_status llmc_gpu_upload_open(const llmc_driver *driver, llmc_device *device, const llmc_allocator *allocator, const llmc_map *file,
                                 llmc_address to, llmc_gpu_upload **out, llmc_error *error);

/* Lets `stream` wait for the first `end` bytes, of which the caller knows that `*waited` pieces have been waited for: that is updated.
** The driver's code of what failed, also in another thread; else 0. */
int llmc_gpu_upload_wait(llmc_gpu_upload *upload, uint64_t end, void *stream, int32_t *waited);

/* Whether all of it lies on the device, and nothing waits for it any more. */
bool llmc_gpu_upload_finished(const llmc_gpu_upload *upload);

/* Stops what is left to do and waits for what is under way. NULL is fine. */
void llmc_gpu_upload_close(llmc_gpu_upload *upload);

#endif
