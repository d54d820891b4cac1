#include "session.h"

#include "cpu.h"
#include "memory.h"

enum { MAX_SEQUENCES = 4096, MAX_THREADS = 1024, ARENA_ALIGN = 64 };

static llmc_status check_options(const llmc_plan *plan, llmc_session_options *o, llmc_error *error) {
  if (o->context < 0 || o->context > plan->context)
    return llmc_fail(error, LLMC_ERR_ARG, "context %d: the model was trained for 1 to %d tokens", o->context, plan->context);
  if (o->max_sequences < 0 || o->max_sequences > MAX_SEQUENCES)
    return llmc_fail(error, LLMC_ERR_ARG, "max_sequences %d: must be 1 to %d", o->max_sequences, MAX_SEQUENCES);
  if (o->threads < 0 || o->threads > MAX_THREADS)
    return llmc_fail(error, LLMC_ERR_ARG, "threads %d: must be 1 to %d", o->threads, MAX_THREADS);
  if (o->max_pages < 0) return llmc_fail(error, LLMC_ERR_ARG, "max_pages %d: must not be negative", o->max_pages);
  if (!o->context) o->context = plan->context;
  if (!o->max_sequences) o->max_sequences = 1;
  if (!o->threads) o->threads = llmc_cpu_cores();
  if (o->threads > MAX_THREADS) o->threads = MAX_THREADS;
  int64_t pages = (int64_t)llmc_pages_for(o->context) * o->max_sequences;
  if (!o->max_pages || o->max_pages > pages) o->max_pages = pages > INT32_MAX ? INT32_MAX : (int32_t)pages;
  return LLMC_OK;
}

/* What a profile is written into. */
static bool allocate_traces(llmc_session *s) {
  size_t threads = (size_t)s->threads, labels = (size_t)s->plan->n_labels;
  s->traces = llmc_alloc_zeroed(&s->allocator, threads, sizeof *s->traces);
  s->spans = llmc_alloc_zeroed(&s->allocator, threads * labels, sizeof *s->spans);
  if (!s->traces || !s->spans) return false;
  for (size_t i = 0; i < threads; i++) s->traces[i].spans = s->spans + i * labels;
  return true;
}

/* Most pages of a group: those that all sequences may have at once, and no more than were asked for. */
static int32_t page_limit(const llmc_session *s, const llmc_cache_group *group, int32_t max_pages) {
  int64_t most = (int64_t)llmc_group_most(group, s->context, s->step_tokens) * s->max_sequences;
  return group->kind == LLMC_CACHE_STATE || most < max_pages ? (int32_t)most : max_pages;
}

/* Allocates everything but the threads. False: no memory; what is there is freed by closing. */
static bool allocate(llmc_session *s, int32_t max_pages) {
  const llmc_allocator *a = &s->allocator;
  const llmc_plan *plan = s->plan;
  size_t groups = (size_t)plan->n_cache_groups, stride = (size_t)s->table_stride, n = (size_t)llmc_padded_rows(s->step_tokens);
  size_t step_sequences = (size_t)(s->max_sequences < s->step_tokens ? s->max_sequences : s->step_tokens);
  s->sequences = llmc_alloc_zeroed(a, (size_t)s->max_sequences, sizeof *s->sequences);
  s->pages = llmc_alloc_zeroed(a, groups, sizeof *s->pages);
  s->tables = llmc_alloc_zeroed(a, groups * (size_t)s->max_sequences * stride, sizeof *s->tables);
  s->kept = llmc_alloc_zeroed(a, groups * (size_t)s->max_sequences, sizeof *s->kept);
  s->step_tables = llmc_alloc_zeroed(a, groups * step_sequences * stride, sizeof *s->step_tables);
  s->caches = llmc_alloc_zeroed(a, groups, sizeof *s->caches);
  s->tokens = llmc_alloc_zeroed(a, n, sizeof *s->tokens);
  s->segments = llmc_alloc_zeroed(a, n, sizeof *s->segments);
  s->positions = llmc_alloc_zeroed(a, n, sizeof *s->positions);
  s->rows = llmc_alloc_zeroed(a, n, sizeof *s->rows);
  s->starts = llmc_alloc_zeroed(a, n + 1, sizeof *s->starts);
  s->arena = llmc_alloc(a, 1, s->model->gpu ? 0 : plan->arena_bytes, ARENA_ALIGN);
  if (!s->sequences || !s->pages || !s->tables || !s->kept || !s->step_tables || !s->caches || !s->tokens || !s->segments ||
      !s->positions || !s->rows || !s->starts || !s->arena)
    return false;
  for (size_t g = 0; g < groups; g++) {
    const llmc_cache_group *group = &plan->cache_groups[g];
    llmc_pages_open(&s->pages[g], a, group->page_bytes, page_limit(s, group, max_pages));
    s->caches[g].tables = s->step_tables + g * step_sequences * stride;
    s->caches[g].table_stride = s->table_stride;
  }
  return true;
}

/* The session's part on the model's GPU, if it is on one. */
static llmc_status open_on_gpu(llmc_session *s, llmc_error *error) {
  const llmc_plan *plan = s->plan;
  const llmc_gpu_runtime *runtime = s->model->gpu_runtime;
  if (!runtime) return LLMC_OK;
  llmc_gpu_needs needs = {.max_tokens = s->step_tokens, .table_stride = s->table_stride, .n_cache_groups = plan->n_cache_groups,
                          .max_sequences = s->max_sequences < s->step_tokens ? s->max_sequences : s->step_tokens,
                          .row_stride = plan->row_stride, .eager = s->eager};
  llmc_status status = runtime->session_open(s->model->gpu, &needs, &s->gpu, error);
  for (int32_t g = 0; !status && g < plan->n_cache_groups; g++) llmc_pages_on_gpu(&s->pages[g], runtime, s->gpu, g);
  return status;
}

static void release(llmc_session *s) {
  llmc_allocator a = s->allocator;
  llmc_pool_close(s->pool);
  for (int32_t g = 0; s->pages && g < s->plan->n_cache_groups; g++)
    if (s->pages[g].allocator.free) llmc_pages_close(&s->pages[g]);
  if (s->gpu) s->model->gpu_runtime->session_close(s->gpu);
  void *const blocks[] = {s->sequences, s->pages,     s->tables, s->kept,   s->step_tables, s->caches, s->tokens, s->segments,
                          s->positions, s->rows,      s->starts, s->arena,  s->logits,      s->traces, s->spans};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) llmc_free(&a, blocks[i]);
  atomic_fetch_sub(&s->model->users, 1);
  s->head.magic = 0;
  llmc_free(&a, s);
}

llmc_status llmc_rt_session_open(llmc_model *model, const llmc_session_options *given, llmc_error *error, llmc_session **out) {
  llmc_session_options options = {.struct_size = sizeof options};
  if (!out) return llmc_fail(error, LLMC_ERR_ARG, "no place for the session");
  *out = NULL;
  llmc_error_clear(error);
  if (!llmc_struct_read(&options, sizeof options, given))
    return llmc_fail(error, LLMC_ERR_ARG, "session options: wrong struct_size, or an option this version does not know");
  llmc_status status = check_options(model->plan, &options, error);
  if (status) return status;
  llmc_session *s = llmc_alloc_zeroed(&model->allocator, 1, sizeof *s);
  if (!s) return llmc_fail(error, LLMC_ERR_NOMEM, "no memory for the session");
  s->head = (llmc_handle){&llmc_functions, NULL, LLMC_MAGIC_SESSION};
  s->model = model;
  s->plan = model->plan;
  s->allocator = model->allocator;
  s->context = options.context;
  s->threads = options.threads;
  s->eager = options.eager != 0;
  s->max_sequences = options.max_sequences;
  s->step_tokens = llmc_model_step_tokens(model);
  s->table_stride = llmc_pages_for(options.context);
  atomic_fetch_add(&model->users, 1);
  status = LLMC_ERR_NOMEM;
  if (!allocate(s, options.max_pages) || (options.profile && !allocate_traces(s))) llmc_fail(error, status, "no memory for the session");
  else status = llmc_pool_open(&s->allocator, model->gpu ? 1 : options.threads, &s->pool, error);
  if (!status) status = open_on_gpu(s, error);
  if (status) {
    release(s);
    return status;
  }
  llmc_pool_trace(s->pool, s->traces);
  *out = s;
  return LLMC_OK;
}

llmc_status llmc_rt_session_close(llmc_session *s) {
  if (s->generations) return llmc_fail(&s->error, LLMC_ERR_ARG, "%d generations of the session are open", s->generations);
  release(s);
  return LLMC_OK;
}

llmc_status llmc_rt_session_profile(llmc_session *s, int32_t number, llmc_profile *profile) {
  if (!s->traces) return llmc_fail(&s->error, LLMC_ERR_ARG, "the session was opened without profile");
  if (number < 0 || number >= s->plan->n_labels) return llmc_fail(&s->error, LLMC_ERR_ARG, "the profile has no entry %d", number);
  llmc_profile ours = {.name = s->plan->labels[number]};
  for (int32_t i = 0; i < s->threads; i++) {
    ours.calls += s->traces[i].spans[number].calls;
    ours.work_ns += s->traces[i].spans[number].work_ns;
    ours.wait_ns += s->traces[i].spans[number].wait_ns;
  }
  if (!llmc_struct_write(profile, &ours, sizeof ours)) return llmc_fail(&s->error, LLMC_ERR_ARG, "profile: NULL or wrong struct_size");
  return LLMC_OK;
}

llmc_status llmc_rt_session_memory(const llmc_session *s, llmc_memory *memory) {
  llmc_memory ours = {.arena_bytes = s->model->gpu ? s->plan->gpu->arena_bytes : s->plan->arena_bytes,
                      .logits_bytes = (uint64_t)s->logits_rows * (uint64_t)s->plan->row_stride * sizeof *s->logits};
  for (int32_t g = 0; g < s->plan->n_cache_groups; g++) {
    const llmc_pages *pages = &s->pages[g];
    ours.cache_bytes += (uint64_t)(pages->n_fresh - pages->n_free) * pages->page_bytes;
    ours.cache_peak_bytes += (uint64_t)pages->n_fresh * pages->page_bytes;
  }
  return llmc_struct_write(memory, &ours, sizeof ours) ? LLMC_OK : LLMC_ERR_ARG;
}

const char *llmc_rt_session_error(const llmc_session *s) { return s->error.text; }

llmc_status llmc_rt_session_cancel(llmc_session *s) {
  atomic_store(&s->cancelled, true);
  return LLMC_OK;
}

bool llmc_session_take_cancel(llmc_session *s) { return atomic_exchange(&s->cancelled, false); }
