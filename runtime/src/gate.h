/* A counter that threads wait on: "go on once it is no longer what I saw". Spins for a bounded time, then sleeps. */
#ifndef LLMC_GATE_H
#define LLMC_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct llmc_gate {
  _Atomic uint32_t count;
  _Atomic uint32_t sleepers;
  pthread_mutex_t mutex;
  pthread_cond_t moved;
} llmc_gate;

bool llmc_gate_open(llmc_gate *gate);
void llmc_gate_close(llmc_gate *gate);

/* Adds one to the count and wakes who sleeps. What was written before is seen by those who go on. */
void llmc_gate_advance(llmc_gate *gate);

/* Returns once the count differs from `seen`. spin_ns: how long to spin before sleeping; 0 sleeps at once. */
void llmc_gate_wait(llmc_gate *gate, uint32_t seen, uint32_t spin_ns);

#endif
