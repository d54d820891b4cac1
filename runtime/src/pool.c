#define _POSIX_C_SOURCE 200809L
#include "pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "cpu.h"
#include "gate.h"
#include "memory.h"

/* How long to spin. A sleeping thread takes about 50 us to come back, and milliseconds where the machine is busy; at a barrier inside a
** step the others are rarely further away, and between two steps a token is chosen from up to 256k and its text printed. */
enum { BARRIER_SPIN_NS = 200000, JOB_SPIN_NS = 2000000 };
enum { LINE = 64 };
enum { CLAIMED = 5, CLAIM_OF = 8 }; /* a claim takes 5/8 of a worker's share of what is left: one of half the speed ends in time */

struct llmc_pool {
  llmc_allocator allocator;
  int32_t workers;
  int32_t started; /* threads that run; workers - 1 of them unless opening fails */
  uint32_t barrier_spin_ns;
  uint32_t job_spin_ns;
  llmc_worker *team; /* [workers] */
  llmc_worker alone; /* a team of one */
  pthread_t *threads; /* [workers - 1] */
  bool gates_open;
  bool stop; /* written before `start` advances, like job and arg */
  llmc_job job;
  void *arg;
  llmc_gate start; /* advances with every job */
  _Alignas(LINE) llmc_gate barrier; /* advances with every completed barrier; those who wait watch it */
  _Alignas(LINE) _Atomic int32_t arrived; /* at the barrier */
  _Alignas(LINE) _Atomic int32_t claimed; /* things of this op, since the last barrier */
};

/* True for the last worker, who must open the gate; the others return once it has. */
static bool arrive(llmc_pool *pool) {
  uint32_t seen = atomic_load_explicit(&pool->barrier.count, memory_order_relaxed);
  if (atomic_fetch_add(&pool->arrived, 1) + 1 < pool->workers) {
    llmc_gate_wait(&pool->barrier, seen, pool->barrier_spin_ns);
    return false;
  }
  atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
  atomic_store_explicit(&pool->claimed, 0, memory_order_relaxed);
  return true;
}

void llmc_barrier(llmc_worker *worker) {
  if (worker->count > 1 && arrive(worker->pool)) llmc_gate_advance(&worker->pool->barrier);
}

bool llmc_hold(llmc_worker *worker) {
  if (worker->count == 1) return true;
  if (!arrive(worker->pool)) return false;
  worker->index = 0;
  worker->count = 1;
  return true;
}

void llmc_release(llmc_worker *worker) {
  llmc_pool *pool = worker->pool;
  int32_t index = (int32_t)(worker - pool->team);
  if (worker == &pool->alone || pool->workers == 1) return;
  if (worker->count > 1) {
    llmc_barrier(worker);
    return;
  }
  worker->index = index;
  worker->count = pool->workers;
  llmc_gate_advance(&pool->barrier);
}

bool llmc_claim(llmc_worker *worker, int32_t count, int32_t least, llmc_range *range) {
  if (worker->count == 1) {
    bool all = range->hi < count;
    *range = (llmc_range){0, count};
    return all;
  }
  int32_t lo = atomic_load_explicit(&worker->pool->claimed, memory_order_relaxed), n;
  do {
    int32_t left = count - lo, part = left / worker->count * CLAIMED / CLAIM_OF;
    if (left <= 0) return false;
    n = part > least ? part : least < left ? least : left;
  } while (!atomic_compare_exchange_weak_explicit(&worker->pool->claimed, &lo, lo + n, memory_order_relaxed, memory_order_relaxed));
  *range = (llmc_range){lo, lo + n};
  return true;
}

static void *thread_main(void *arg) {
  llmc_worker *worker = arg;
  llmc_pool *pool = worker->pool;
  for (uint32_t seen = 0;; seen++) { /* the caller waits for all workers before the next job: none is missed */
    llmc_gate_wait(&pool->start, seen, pool->job_spin_ns);
    if (pool->stop) return NULL;
    pool->job(pool->arg, worker);
    llmc_barrier(worker);
  }
}

/* Threads take no signals: those belong to the host program's own threads. */
static llmc_status start_threads(llmc_pool *pool, llmc_error *error) {
  sigset_t all, old;
  sigfillset(&all);
  if (pthread_sigmask(SIG_SETMASK, &all, &old)) return llmc_fail(error, LLMC_ERR_NOMEM, "cannot set a signal mask");
  int failed = 0;
  for (; pool->started < pool->workers - 1 && !failed; pool->started += !failed)
    failed = pthread_create(&pool->threads[pool->started], NULL, thread_main, &pool->team[pool->started + 1]);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  if (!failed) return LLMC_OK;
  return llmc_fail(error, LLMC_ERR_NOMEM, "cannot start thread %d of %d (error %d)", pool->started + 2, pool->workers, failed);
}

static bool open_gates(llmc_pool *pool) {
  if (!llmc_gate_open(&pool->start)) return false;
  pool->gates_open = llmc_gate_open(&pool->barrier);
  if (!pool->gates_open) llmc_gate_close(&pool->start);
  return pool->gates_open;
}

llmc_status llmc_pool_open(const llmc_allocator *allocator, int32_t workers, llmc_pool **out, llmc_error *error) {
  llmc_pool *pool = llmc_alloc(allocator, 1, sizeof *pool, LINE);
  *out = NULL;
  if (!pool) return llmc_fail(error, LLMC_ERR_NOMEM, "no memory for the thread pool");
  memset(pool, 0, sizeof *pool);
  pool->allocator = *allocator;
  pool->workers = workers;
  bool crowded = workers > llmc_cpu_cores(); /* who spins then only keeps the others from running */
  pool->barrier_spin_ns = crowded ? 0 : BARRIER_SPIN_NS;
  pool->job_spin_ns = crowded ? 0 : JOB_SPIN_NS;
  llmc_status status = LLMC_ERR_NOMEM;
  pool->team = llmc_alloc_zeroed(allocator, (size_t)workers, sizeof *pool->team);
  pool->threads = llmc_alloc_zeroed(allocator, (size_t)workers, sizeof *pool->threads);
  if (!pool->team || !pool->threads || !open_gates(pool)) {
    llmc_fail(error, status, "no memory for the thread pool");
    goto fail;
  }
  pool->alone = (llmc_worker){0, 1, pool, NULL};
  for (int32_t i = 0; i < workers; i++) pool->team[i] = (llmc_worker){i, workers, pool, NULL};
  status = start_threads(pool, error);
  if (status) goto fail;
  *out = pool;
  return LLMC_OK;
fail:
  llmc_pool_close(pool);
  return status;
}

void llmc_pool_close(llmc_pool *pool) {
  if (!pool) return;
  pool->stop = true;
  if (pool->started) llmc_gate_advance(&pool->start);
  for (int32_t i = 0; i < pool->started; i++) pthread_join(pool->threads[i], NULL);
  if (pool->gates_open) {
    llmc_gate_close(&pool->barrier);
    llmc_gate_close(&pool->start);
  }
  llmc_allocator a = pool->allocator;
  llmc_free(&a, pool->threads);
  llmc_free(&a, pool->team);
  llmc_free(&a, pool);
}

void llmc_pool_trace(llmc_pool *pool, llmc_trace *traces) {
  pool->alone.trace = traces;
  for (int32_t i = 0; i < pool->workers; i++) pool->team[i].trace = traces ? &traces[i] : NULL;
}

void llmc_pool_run(llmc_pool *pool, llmc_job job, void *arg, bool shared) {
  if (!shared || pool->workers == 1) {
    job(arg, &pool->alone);
    return;
  }
  pool->job = job;
  pool->arg = arg;
  llmc_gate_advance(&pool->start);
  job(arg, &pool->team[0]);
  llmc_barrier(&pool->team[0]);
}
