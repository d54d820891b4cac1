/* Embeddings: what a model makes of a whole text; and scores, of one text or two. */
#ifndef LLMC_EMBED_H
#define LLMC_EMBED_H

#include "session.h"

llmc_status llmc_rt_embed(llmc_session *session, const llmc_embed_options *options, float *out, size_t capacity, size_t *size);
llmc_status llmc_rt_classify(llmc_session *session, const llmc_classify_options *options, float *scores, size_t capacity, size_t *count);

#endif
