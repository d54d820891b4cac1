/* Sequences of a session: who has which pages. */
#include "session.h"

llmc_sequence *llmc_session_sequence(llmc_session *s, int32_t sequence) {
  if (sequence >= 0 && sequence < s->max_sequences && s->sequences[sequence].open) return &s->sequences[sequence];
  llmc_fail(&s->error, LLMC_ERR_ARG, "sequence %d is not open", sequence);
  return NULL;
}

llmc_status llmc_rt_sequence_open(llmc_session *s, int32_t *sequence) {
  if (!sequence) return llmc_fail(&s->error, LLMC_ERR_ARG, "no place for the sequence");
  for (int32_t i = 0; i < s->max_sequences; i++) {
    if (s->sequences[i].open) continue;
    s->sequences[i] = (llmc_sequence){.open = true};
    *sequence = i;
    return LLMC_OK;
  }
  return llmc_fail(&s->error, LLMC_ERR_FULL, "all %d sequences of the session are open", s->max_sequences);
}

static void truncate(llmc_session *s, int32_t sequence, int32_t length) {
  llmc_sequence *q = &s->sequences[sequence];
  for (int32_t g = 0; g < s->plan->n_cache_groups; g++) {
    const llmc_cache_group *group = &s->plan->cache_groups[g];
    const int32_t *table = llmc_session_table(s, g, sequence);
    int32_t *kept = llmc_session_kept(s, g, sequence), end = llmc_group_end(group, length);
    int32_t first = end > *kept ? end : *kept;
    for (int32_t p = llmc_group_end(group, q->length); p-- > first;) llmc_pages_give(&s->pages[g], table[p]);
    if (!length) *kept = 0;
  }
  q->length = length;
}

static bool keeps_states(const llmc_plan *plan) {
  for (int32_t g = 0; g < plan->n_cache_groups; g++)
    if (plan->cache_groups[g].kind == LLMC_CACHE_STATE) return true;
  return false;
}

/* The least length, besides 0, that a sequence can go back to: the windows of its next token must still be there. */
static int64_t least_length(const llmc_session *s, int32_t sequence) {
  int64_t least = 0;
  for (int32_t g = 0; g < s->plan->n_cache_groups; g++) {
    int64_t kept = *llmc_session_kept(s, g, sequence), oldest = kept * LLMC_PAGE_TOKENS + s->plan->cache_groups[g].window - 1;
    if (kept && oldest > least) least = oldest;
  }
  return least;
}

llmc_status llmc_rt_sequence_truncate(llmc_session *s, int32_t sequence, int32_t length) {
  llmc_sequence *q = llmc_session_sequence(s, sequence);
  if (!q) return LLMC_ERR_ARG;
  if (length < 0 || length > q->length)
    return llmc_fail(&s->error, LLMC_ERR_ARG, "sequence %d holds %d tokens: cannot truncate to %d", sequence, q->length, length);
  if (length > 0 && length < q->length && keeps_states(s->plan))
    return llmc_fail(&s->error, LLMC_ERR_ARG, "sequence %d cannot go back from %d to %d tokens: recurrent layers keep no past; truncate to 0",
                     sequence, q->length, length);
  if (length > 0 && length < q->length && length < least_length(s, sequence))
    return llmc_fail(&s->error, LLMC_ERR_ARG, "sequence %d cannot go back from %d to %d tokens: layers with a window keep no more than what "
                     "%lld tokens need; truncate to that or more, or to 0", sequence, q->length, length, (long long)least_length(s, sequence));
  truncate(s, sequence, length);
  return LLMC_OK;
}

llmc_status llmc_rt_sequence_close(llmc_session *s, int32_t sequence) {
  llmc_sequence *q = llmc_session_sequence(s, sequence);
  if (!q) return LLMC_ERR_ARG;
  truncate(s, sequence, 0);
  q->open = false;
  return LLMC_OK;
}

llmc_status llmc_rt_sequence_length(const llmc_session *s, int32_t sequence, int32_t *length) {
  if (!length || sequence < 0 || sequence >= s->max_sequences || !s->sequences[sequence].open) return LLMC_ERR_ARG;
  *length = s->sequences[sequence].length;
  return LLMC_OK;
}
