/* A session: a team of threads, working memory, cache pages, and the sequences that use them. */
#ifndef LLMC_SESSION_H
#define LLMC_SESSION_H

#include <stdatomic.h>
#include <stdbool.h>

#include "cache_group.h"
#include "llmc_api.h"
#include "llmc_plan.h"
#include "model.h"
#include "pages.h"
#include "pool.h"

typedef struct llmc_sequence {
  bool open;
  bool in_batch; /* while a batch is checked */
  int32_t length; /* tokens with a cache entry */
} llmc_sequence;

struct llmc_session {
  llmc_handle head;
  llmc_model *model;
  const llmc_plan *plan;
  llmc_allocator allocator;
  llmc_error error;
  llmc_pool *pool;
  llmc_gpu_session *gpu; /* NULL: the processor computes */
  llmc_trace *traces; /* [threads], or NULL */
  llmc_trace_span *spans; /* [threads][n_labels], what the traces write */
  int32_t threads;
  int32_t context;
  int32_t max_sequences;
  int32_t step_tokens; /* of the largest step */
  int32_t table_stride; /* pages of a full sequence */
  int32_t generations; /* open ones */
  int32_t n_rows; /* logits of the last step */
  int32_t logits_rows; /* rows `logits` has room for */
  bool eager; /* a GPU's steps are launched, not replayed */
  llmc_sequence *sequences; /* [max_sequences] */
  llmc_pages *pages; /* [n_cache_groups] */
  int32_t *tables; /* [n_cache_groups][max_sequences][table_stride] */
  int32_t *kept; /* [n_cache_groups][max_sequences]: the first page in a table that the sequence still has */
  int32_t *step_tables; /* [n_cache_groups][max_step_sequences][table_stride]: rows of `tables` in the order of the batch */
  llmc_step_cache *caches; /* [n_cache_groups] */
  int32_t *tokens, *segments, *positions, *rows; /* [step_tokens], what llmc_step points to */
  int32_t *starts; /* [step_tokens + 1] */
  uint8_t *arena;
  float *logits; /* of the processor; a GPU's lie with its session */
  _Atomic bool cancelled;
};

/* Page table of a sequence in a cache group: [table_stride]. */
static inline int32_t *llmc_session_table(const llmc_session *s, int32_t group, int32_t sequence) {
  return s->tables + ((size_t)group * (size_t)s->max_sequences + (size_t)sequence) * (size_t)s->table_stride;
}

/* First page that a sequence has of a cache group: earlier ones were out of the reach of its window. */
static inline int32_t *llmc_session_kept(const llmc_session *s, int32_t group, int32_t sequence) {
  return s->kept + (size_t)group * (size_t)s->max_sequences + (size_t)sequence;
}

/* Takes the mark that llmc_rt_session_cancel() left. */
bool llmc_session_take_cancel(llmc_session *session);

/* llmc_rt_session_prefill(), whose logits stay on the GPU until they are asked for. */
llmc_status llmc_session_append(llmc_session *session, int32_t sequence, const int32_t *tokens, size_t count);

/* Waits for what a GPU still has to do. */
llmc_status llmc_session_finish(llmc_session *session);

/* The sequence, or NULL with the session's error set. */
llmc_sequence *llmc_session_sequence(llmc_session *session, int32_t sequence);

llmc_status llmc_rt_session_open(llmc_model *model, const llmc_session_options *options, llmc_error *error, llmc_session **out);
llmc_status llmc_rt_session_close(llmc_session *session);
llmc_status llmc_rt_session_memory(const llmc_session *session, llmc_memory *memory);
llmc_status llmc_rt_session_profile(llmc_session *session, int32_t number, llmc_profile *profile);
const char *llmc_rt_session_error(const llmc_session *session);
llmc_status llmc_rt_session_cancel(llmc_session *session);
llmc_status llmc_rt_sequence_open(llmc_session *session, int32_t *sequence);
llmc_status llmc_rt_sequence_truncate(llmc_session *session, int32_t sequence, int32_t length);
llmc_status llmc_rt_sequence_close(llmc_session *session, int32_t sequence);
llmc_status llmc_rt_sequence_length(const llmc_session *session, int32_t sequence, int32_t *length);
llmc_status llmc_rt_session_step(llmc_session *session, const llmc_batch *batch);
llmc_status llmc_rt_session_prefill(llmc_session *session, int32_t sequence, const int32_t *tokens, size_t count);
const float *llmc_rt_session_logits(const llmc_session *session, int32_t row);
llmc_status llmc_rt_session_sample(llmc_session *session, int32_t row, llmc_sampler *sampler, int32_t *token);

#endif
