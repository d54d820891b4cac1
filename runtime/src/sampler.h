/* Choosing a token from logits. The order of the filters is in llmc.h; everything is exact and the same on every machine. */
#ifndef LLMC_SAMPLER_H
#define LLMC_SAMPLER_H

#include <stdbool.h>

#include "model.h"

llmc_status llmc_rt_sampler_open(llmc_model *model, const llmc_sampler_options *options, llmc_error *error, llmc_sampler **out);
llmc_status llmc_rt_sampler_close(llmc_sampler *sampler);
llmc_status llmc_rt_sample(llmc_sampler *sampler, const float *logits, int32_t *token);

/* How many of a row's best logits decide what llmc_rt_sample() picks; 0: all of them may. */
int32_t llmc_sampler_needs(const llmc_sampler *sampler);

/* What llmc_rt_sample() picks, from the `n` that llmc_sampler_needs() asks for, best first. */
llmc_status llmc_sample_best(llmc_sampler *sampler, const float *scores, const int32_t *ids, int32_t n, int32_t *token);

/* Whether it is an open sampler of the model. */
bool llmc_sampler_fits(const llmc_sampler *sampler, const llmc_model *model);

llmc_status llmc_rt_sampler_accept(llmc_sampler *sampler, int32_t token);

#endif
