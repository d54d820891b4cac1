/* The team: everything is claimed once, sections are one worker's and ordered, and a trace has the time of it all. */
#include <stdatomic.h>
#include <string.h>

#include "check.h"
#include "memory.h"
#include "pool.h"

enum { THINGS = 1000, ROUNDS = 300, WORKERS = 3 };

typedef struct work {
  int32_t taken[ROUNDS][THINGS]; /* by a claim: no two workers write the same one */
  int32_t alone[ROUNDS]; /* by sections: not atomic, the barrier must order them */
  int32_t sums[ROUNDS];
  int32_t rounds;
  _Atomic int32_t runs;
} work;

static void job(void *arg, llmc_worker *w) {
  work *k = arg;
  int32_t index = w->index, count = w->count;
  atomic_fetch_add(&k->runs, 1);
  for (int32_t i = 0; i < k->rounds; i++) {
    for (llmc_range r = {0, 0}; llmc_claim(w, THINGS, 1 + i % 7, &r);) {
      CHECK(r.lo < r.hi && r.hi <= THINGS);
      for (int32_t t = r.lo; t < r.hi; t++) k->taken[i][t]++;
    }
    if (llmc_enter(w, i % 3 != 0, 0)) {
      bool alone = i % 3 != 0;
      CHECK(!alone || (w->index == 0 && w->count == 1));
      if (alone || w->index == 0)
        for (int32_t t = 0; t < THINGS; t++) k->sums[i] += k->taken[i][t];
      if (alone || w->index == 0) k->alone[i] = 1 + (i ? k->alone[i - 1] : 0);
      llmc_done(w, 1);
      llmc_leave(w, 2);
    }
    CHECK(w->index == index && w->count == count);
    CHECK(k->alone[i] == i + 1 && k->sums[i] == THINGS);
    llmc_done(w, 3);
  }
}

static void run(llmc_pool *pool, bool shared, int32_t runs) {
  work *k = calloc(1, sizeof *k);
  CHECK(k);
  k->rounds = ROUNDS;
  llmc_pool_run(pool, job, k, shared);
  CHECK(k->runs == runs && k->alone[ROUNDS - 1] == ROUNDS);
  free(k);
}

int main(void) {
  llmc_allocator allocator;
  CHECK(llmc_allocator_choose(NULL, &allocator));
  for (int32_t workers = 1; workers <= WORKERS; workers++) {
    llmc_pool *pool;
    llmc_error error;
    llmc_trace traces[WORKERS];
    llmc_trace_span spans[WORKERS][4];
    memset(spans, 0, sizeof spans);
    uint64_t begun = llmc_now_ns();
    for (int32_t i = 0; i < WORKERS; i++) traces[i] = (llmc_trace){.spans = spans[i], .mark = llmc_now_ns()};
    CHECK(llmc_pool_open(&allocator, workers, &pool, &error) == LLMC_OK);
    run(pool, true, workers);
    llmc_pool_trace(pool, traces);
    run(pool, true, workers);
    run(pool, false, 1);
    llmc_pool_trace(pool, NULL);
    uint64_t end = llmc_now_ns(), sections = 0;
    for (int32_t i = 0; i < workers; i++) {
      uint64_t spent = 0;
      sections += spans[i][2].calls;
      CHECK(spans[i][3].calls == (uint64_t)ROUNDS * (i ? 1 : 2));
      for (int32_t n = 0; n < 4; n++) spent += spans[i][n].work_ns + spans[i][n].wait_ns;
      CHECK(spent && spent <= end - begun);
    }
    CHECK(sections == (uint64_t)(ROUNDS / 3 * workers + (ROUNDS - ROUNDS / 3) + ROUNDS)); /* shared ones by all, others by one */
    run(pool, true, workers);
    llmc_pool_close(pool);
  }
  return 0;
}
