#define _POSIX_C_SOURCE 200809L
#include "gate.h"

#include <sched.h>
#include <time.h>

enum { SPINS_PER_CLOCK = 64, ALONE_NS = 10000 };

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool llmc_gate_open(llmc_gate *gate) {
  atomic_init(&gate->count, 0);
  atomic_init(&gate->sleepers, 0);
  if (pthread_mutex_init(&gate->mutex, NULL)) return false;
  if (pthread_cond_init(&gate->moved, NULL) == 0) return true;
  pthread_mutex_destroy(&gate->mutex);
  return false;
}

void llmc_gate_close(llmc_gate *gate) {
  pthread_cond_destroy(&gate->moved);
  pthread_mutex_destroy(&gate->mutex);
}

/* Either this sees the sleeper's mark, or the sleeper, who marks before it looks, sees the new count: both are sequentially consistent. */
void llmc_gate_advance(llmc_gate *gate) {
  atomic_fetch_add(&gate->count, 1);
  if (atomic_load(&gate->sleepers) == 0) return;
  pthread_mutex_lock(&gate->mutex);
  pthread_cond_broadcast(&gate->moved);
  pthread_mutex_unlock(&gate->mutex);
}

/* Watches for SPINS_PER_CLOCK pauses. */
static bool watch(llmc_gate *gate, uint32_t seen) {
  for (int i = 0; i < SPINS_PER_CLOCK; i++) {
    if (atomic_load_explicit(&gate->count, memory_order_acquire) != seen) return true;
    relax();
  }
  return false;
}

/* After ALONE_NS it offers its core at every turn: who is waited for may need it, if the system has put both on one core. */
static bool spin(llmc_gate *gate, uint32_t seen, uint32_t spin_ns) {
  if (!spin_ns) return false;
  if (watch(gate, seen)) return true;
  uint64_t start = now_ns(), now = start;
  do {
    if (now - start > ALONE_NS) sched_yield();
    if (watch(gate, seen)) return true;
    now = now_ns();
  } while (now - start < spin_ns);
  return false;
}

void llmc_gate_wait(llmc_gate *gate, uint32_t seen, uint32_t spin_ns) {
  if (spin(gate, seen, spin_ns)) return;
  pthread_mutex_lock(&gate->mutex);
  atomic_fetch_add(&gate->sleepers, 1);
  while (atomic_load(&gate->count) == seen) pthread_cond_wait(&gate->moved, &gate->mutex);
  atomic_fetch_sub(&gate->sleepers, 1);
  pthread_mutex_unlock(&gate->mutex);
}
