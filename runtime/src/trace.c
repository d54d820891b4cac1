#define _POSIX_C_SOURCE 200809L
#include "trace.h"

#include <time.h>

#include "llmc_plan.h"

uint64_t llmc_now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Time since the last reading. */
static uint64_t lap(llmc_trace *trace) {
  uint64_t last = trace->mark;
  trace->mark = llmc_now_ns();
  return trace->mark - last;
}

void llmc_trace_begin(llmc_trace *trace) { lap(trace); }

void llmc_trace_worked(llmc_trace *trace, int32_t label) {
  trace->spans[label].work_ns += lap(trace);
  trace->spans[label].calls++;
}

void llmc_trace_waited(llmc_trace *trace, int32_t label) { trace->spans[label].wait_ns += lap(trace); }
