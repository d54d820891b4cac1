/* Choosing a token from logits. The order of the filters is in llmc.h; everything is exact and the same on every machine. */
#ifndef LLMC_SAMPLER_H
#define LLMC_SAMPLER_H

#include "model.h"

llmc_status llmc_rt_sampler_open(llmc_model *model, const llmc_sampler_options *options, llmc_error *error, llmc_sampler **out);
llmc_status llmc_rt_sampler_close(llmc_sampler *sampler);
llmc_status llmc_rt_sample(llmc_sampler *sampler, const float *logits, int32_t *token);
llmc_status llmc_rt_sampler_accept(llmc_sampler *sampler, int32_t token);

#endif
