/* What this processor and process may do. */
#ifndef LLMC_CPU_H
#define LLMC_CPU_H

#include <stdbool.h>

#include "llmc_plan.h"

/* LLMC_CPU_* bits of this processor whose registers the operating system saves. */
uint32_t llmc_cpu_features(void);

/* Cores the process may use: its affinity mask, and the cgroup's processor quota rounded up. At least 1. */
int32_t llmc_cpu_cores(void);

/* The level called `name`, or with NULL the first (best) level of the plan, whose features are all in `features`.
** NULL: none runs here, or not the named one. */
const llmc_isa *llmc_cpu_choose(const llmc_plan *plan, const char *name, uint32_t features);

#endif
