/* Levels are chosen by features; the features themselves are compared with the system's list by the Python test. */
#include <string.h>

#include "check.h"
#include "cpu.h"

int main(void) {
  static const llmc_isa isas[] = {{"c", 7, NULL}, {"b", 3, NULL}, {"a", 1, NULL}};
  const llmc_plan plan = {.isas = isas, .n_isas = 3};
  CHECK(llmc_cpu_choose(&plan, NULL, 7) == &isas[0] && llmc_cpu_choose(&plan, NULL, 11) == &isas[1]);
  CHECK(llmc_cpu_choose(&plan, NULL, 5) == &isas[2] && !llmc_cpu_choose(&plan, NULL, 6));
  CHECK(llmc_cpu_choose(&plan, "a", 7) == &isas[2] && !llmc_cpu_choose(&plan, "c", 3) && !llmc_cpu_choose(&plan, "d", 7));
  CHECK(llmc_cpu_cores() >= 1);
  printf("%u %u %u %u %u %u %d\n", (unsigned)llmc_cpu_features(), LLMC_CPU_X86_64_V2, LLMC_CPU_LEVEL_AVX2, LLMC_CPU_LEVEL_AVX_VNNI,
         LLMC_CPU_LEVEL_AVX512_VNNI, LLMC_CPU_LEVEL_AVX512_AMX, (int)llmc_cpu_cores());
  return 0;
}
