/* Which pages of a cache group a sequence has. Lengths in tokens; a page is numbered by the positions it holds. */
#ifndef LLMC_CACHE_GROUP_H
#define LLMC_CACHE_GROUP_H

#include "llmc_plan.h"

/* Positions that are kept before a window, so that a sequence can always go back this far. */
enum { LLMC_WINDOW_SLACK = LLMC_PAGE_TOKENS };

/* Pages that hold `length` tokens. */
static inline int32_t llmc_pages_for(int64_t length) { return (int32_t)((length + LLMC_PAGE_TOKENS - 1) / LLMC_PAGE_TOKENS); }

/* The page behind the last one of a sequence of `length` tokens. A state has its slot from the first token on. */
static inline int32_t llmc_group_end(const llmc_cache_group *group, int32_t length) {
  return group->kind == LLMC_CACHE_STATE ? length > 0 : llmc_pages_for(length);
}

/* The first page that the next token of a sequence of `length` tokens sees. */
static inline int32_t llmc_group_seen(const llmc_cache_group *group, int32_t length) {
  int32_t oldest = group->kind == LLMC_CACHE_WINDOW ? length + 1 - group->window : 0;
  return oldest > 0 ? oldest / LLMC_PAGE_TOKENS : 0;
}

/* The first page that a sequence of `length` tokens keeps. */
static inline int32_t llmc_group_kept(const llmc_cache_group *group, int32_t length) {
  return length > LLMC_WINDOW_SLACK ? llmc_group_seen(group, length - LLMC_WINDOW_SLACK) : 0;
}

/* The most pages a sequence has at once, while steps append up to `step_tokens` tokens and its length stays within `context`. */
static inline int32_t llmc_group_most(const llmc_cache_group *group, int32_t context, int32_t step_tokens) {
  if (group->kind == LLMC_CACHE_STATE) return 1;
  int32_t all = llmc_pages_for(context);
  if (group->kind != LLMC_CACHE_WINDOW) return all;
  int64_t positions = (int64_t)group->window - 1 + LLMC_WINDOW_SLACK + step_tokens;
  int32_t most = llmc_pages_for(positions + LLMC_PAGE_TOKENS - 1); /* they start anywhere in a page */
  return most < all ? most : all;
}

#endif
