/* A team of threads that run one function together.
**
** The thread that calls llmc_pool_run() is worker 0; the others belong to the pool. Waiting (for a job, at a barrier) spins for a
** moment, because the next piece of work is usually microseconds away, then sleeps, so that an idle or crowded machine loses nothing. */
#ifndef LLMC_POOL_H
#define LLMC_POOL_H

#include "llmc_plan.h"
#include "status.h"
#include "trace.h"

typedef struct llmc_pool llmc_pool;

/* Starts workers - 1 threads. LLMC_ERR_NOMEM, also when the system gives no more threads. */
llmc_status llmc_pool_open(const llmc_allocator *allocator, int32_t workers, llmc_pool **out, llmc_error *error);

/* Gives worker i traces[i] to write into from the next job on; NULL ends that. The traces outlive the pool. */
void llmc_pool_trace(llmc_pool *pool, llmc_trace *traces);

/* Ends the threads. NULL is fine. */
void llmc_pool_close(llmc_pool *pool);

/* Runs job(arg, worker) on every worker at once, or on this thread alone unless `shared`; returns when all have returned. */
typedef void (*llmc_job)(void *arg, llmc_worker *worker);
void llmc_pool_run(llmc_pool *pool, llmc_job job, void *arg, bool shared);

#endif
