/* Generating text: prefill, then sample and step, one token per call. */
#ifndef LLMC_GENERATION_H
#define LLMC_GENERATION_H

#include "session.h"

llmc_status llmc_rt_generation_open(llmc_session *session, const llmc_generate_options *options, llmc_generation **out);
llmc_status llmc_rt_generation_next(llmc_generation *generation, llmc_piece *piece);
llmc_status llmc_rt_generation_timings(const llmc_generation *generation, llmc_timings *timings);
llmc_status llmc_rt_generation_close(llmc_generation *generation);
llmc_status llmc_rt_generate(llmc_session *session, const llmc_generate_options *options, llmc_piece_callback callback, void *user,
                             llmc_timings *timings, llmc_reason *reason);

#endif
