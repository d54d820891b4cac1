/* Where the time of steps goes, for llmc_session_profile(): each worker reads the clock when an op ends and when all have ended it. */
#ifndef LLMC_TRACE_H
#define LLMC_TRACE_H

#include <stdint.h>

/* One label of the plan, one worker. */
typedef struct llmc_trace_span {
  uint64_t calls;
  uint64_t work_ns;
  uint64_t wait_ns;
} llmc_trace_span;

typedef struct llmc_trace {
  llmc_trace_span *spans; /* [n_labels] */
  uint64_t mark; /* the clock when it was read last */
  char padding[48]; /* a worker's own cache line */
} llmc_trace;

/* Nanoseconds of a clock that only goes forward. */
uint64_t llmc_now_ns(void);

/* A step begins. */
void llmc_trace_begin(llmc_trace *trace);

#endif
