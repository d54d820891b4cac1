/* Arithmetic that gives the same bits on every machine: an exponential without libm, and random numbers. */
#ifndef LLMC_NUMBER_H
#define LLMC_NUMBER_H

#include <stdint.h>

/* e^x for x <= 0, correct to 1e-11 of it; 0 below -700, which is beyond every ratio of probabilities. */
double llmc_exp(double x);

/* xoshiro256**, Blackman and Vigna, arXiv:1805.01407; seeded by splitmix64. */
typedef struct llmc_random {
  uint64_t state[4];
} llmc_random;

void llmc_random_seed(llmc_random *random, uint64_t seed);
double llmc_random_unit(llmc_random *random); /* uniform in [0, 1), 53 bits */

#endif
