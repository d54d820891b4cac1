/* Embeddings: what an encoder makes of a whole text. */
#ifndef LLMC_EMBED_H
#define LLMC_EMBED_H

#include "session.h"

llmc_status llmc_rt_embed(llmc_session *session, const llmc_embed_options *options, float *out, size_t capacity, size_t *size);

#endif
