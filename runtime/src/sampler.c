#include "sampler.h"

#include <math.h> /* macros only: INFINITY, isnan, isfinite */

#include "memory.h"
#include "number.h"

enum { DEFAULT_WINDOW = 64, MAX_WINDOW = 65536 };

typedef struct candidate {
  float logit;
  int32_t token;
} candidate;

struct llmc_sampler {
  llmc_handle head;
  llmc_model *model;
  llmc_allocator allocator;
  llmc_sampler_options options;
  llmc_random random;
  int32_t vocab;
  int32_t n_recent; /* tokens recorded, also those that left the window, up to INT32_MAX */
  int32_t *recent; /* [repetition_window], a ring */
  uint32_t *counts; /* [vocab]: how often a token is in the window */
  candidate *candidates; /* [vocab] */
};

static llmc_status check_options(llmc_sampler_options *o, llmc_error *error) {
  if (!(o->temperature >= 0) || !isfinite(o->temperature)) return llmc_fail(error, LLMC_ERR_ARG, "temperature: must be 0 or more");
  if (o->top_k < 0) return llmc_fail(error, LLMC_ERR_ARG, "top_k %d: must not be negative", o->top_k);
  if (!(o->top_p >= 0 && o->top_p <= 1)) return llmc_fail(error, LLMC_ERR_ARG, "top_p: must lie in 0 to 1");
  if (!(o->min_p >= 0 && o->min_p <= 1)) return llmc_fail(error, LLMC_ERR_ARG, "min_p: must lie in 0 to 1");
  if (!(o->repetition_penalty >= 0) || !isfinite(o->repetition_penalty))
    return llmc_fail(error, LLMC_ERR_ARG, "repetition_penalty: must be 0 or more");
  if (o->repetition_window < 0 || o->repetition_window > MAX_WINDOW)
    return llmc_fail(error, LLMC_ERR_ARG, "repetition_window %d: must be 1 to %d", o->repetition_window, MAX_WINDOW);
  if (!o->repetition_penalty) o->repetition_penalty = 1;
  if (!o->repetition_window) o->repetition_window = DEFAULT_WINDOW;
  return LLMC_OK;
}

static void release(llmc_sampler *s) {
  llmc_allocator a = s->allocator;
  atomic_fetch_sub(&s->model->users, 1);
  llmc_free(&a, s->recent);
  llmc_free(&a, s->counts);
  llmc_free(&a, s->candidates);
  s->head.magic = 0;
  llmc_free(&a, s);
}

llmc_status llmc_rt_sampler_open(llmc_model *model, const llmc_sampler_options *given, llmc_error *error, llmc_sampler **out) {
  llmc_sampler_options options = {.struct_size = sizeof options};
  if (!out) return llmc_fail(error, LLMC_ERR_ARG, "no place for the sampler");
  *out = NULL;
  llmc_error_clear(error);
  if (!llmc_struct_read(&options, sizeof options, given))
    return llmc_fail(error, LLMC_ERR_ARG, "sampler options: wrong struct_size, or an option this version does not know");
  llmc_status status = check_options(&options, error);
  if (status) return status;
  llmc_sampler *s = llmc_alloc_zeroed(&model->allocator, 1, sizeof *s);
  if (!s) return llmc_fail(error, LLMC_ERR_NOMEM, "no memory for the sampler");
  s->head = (llmc_handle){&llmc_functions, NULL, LLMC_MAGIC_SAMPLER};
  s->model = model;
  s->allocator = model->allocator;
  s->options = options;
  s->vocab = model->plan->vocab;
  llmc_random_seed(&s->random, options.seed);
  atomic_fetch_add(&model->users, 1);
  s->recent = llmc_alloc_zeroed(&s->allocator, (size_t)options.repetition_window, sizeof *s->recent);
  s->counts = llmc_alloc_zeroed(&s->allocator, (size_t)s->vocab, sizeof *s->counts);
  s->candidates = llmc_alloc(&s->allocator, (size_t)s->vocab, sizeof *s->candidates, sizeof(void *));
  if (!s->recent || !s->counts || !s->candidates) {
    release(s);
    return llmc_fail(error, LLMC_ERR_NOMEM, "no memory for the sampler");
  }
  *out = s;
  return LLMC_OK;
}

llmc_status llmc_rt_sampler_close(llmc_sampler *sampler) {
  release(sampler);
  return LLMC_OK;
}

llmc_status llmc_rt_sampler_accept(llmc_sampler *s, int32_t token) {
  if (token < 0 || token >= s->vocab) return LLMC_ERR_ARG;
  int32_t window = s->options.repetition_window, *slot = &s->recent[s->n_recent % window];
  if (s->n_recent >= window) s->counts[*slot]--;
  *slot = token;
  s->counts[token]++;
  s->n_recent++;
  if (s->n_recent == 2 * window) s->n_recent = window; /* stays full, cannot overflow */
  return LLMC_OK;
}

/* The logit after the repetition penalty (Keskar et al., arXiv:1909.05858, 4.1, with the sign taken into account). */
static float penalised(const llmc_sampler *s, const float *logits, int32_t token) {
  float x = logits[token], penalty = s->options.repetition_penalty;
  if (isnan(x)) return -INFINITY;
  if (penalty == 1 || !s->counts[token]) return x;
  return x > 0 ? x / penalty : x * penalty;
}

static int32_t best(const llmc_sampler *s, const float *logits) {
  int32_t token = 0;
  float most = -INFINITY;
  for (int32_t i = 0; i < s->vocab; i++) {
    float x = penalised(s, logits, i);
    if (x > most) {
      most = x;
      token = i;
    }
  }
  return token;
}

/* A strict order: higher logits first, of equals the lower id. */
static bool before(candidate a, candidate b) { return a.logit != b.logit ? a.logit > b.logit : a.token < b.token; }

/* Restores the heap (the best at 0) of n candidates whose entry i may be too low. */
static void sift(candidate *heap, int32_t n, int32_t i) {
  candidate moving = heap[i];
  for (int32_t child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && before(heap[child + 1], heap[child])) child++;
    if (!before(heap[child], moving)) break;
    heap[i] = heap[child];
  }
  heap[i] = moving;
}

/* Takes the best of a heap of n and puts it into entry n - 1. Popping m of them leaves the m best at the end, the best last. */
static candidate pop(candidate *heap, int32_t n) {
  candidate top = heap[0];
  heap[0] = heap[n - 1];
  sift(heap, n - 1, 0);
  heap[n - 1] = top;
  return top;
}

typedef struct scale {
  float most; /* the best logit */
  float temperature;
} scale;

/* Probability relative to the best token's. */
static double weight(scale by, float logit) {
  if (logit == by.most) return 1; /* also when both are infinite */
  return llmc_exp(((double)logit - by.most) / by.temperature);
}

/* Draws from the `kept` best of n candidates in heap order: they are sorted by popping, as far as top_p and min_p let them in. */
static int32_t draw_sorted(llmc_sampler *s, candidate *heap, int32_t n, int32_t kept, double total) {
  scale by = {heap[0].logit, s->options.temperature};
  double sum = 0, reach = s->options.top_p > 0 ? s->options.top_p * total : total;
  int32_t m = 0;
  for (; m < kept && (m == 0 || sum < reach); m++) {
    double w = weight(by, pop(heap, n - m).logit);
    if (w < s->options.min_p || !(w > 0)) break;
    sum += w;
  }
  double left = llmc_random_unit(&s->random) * sum;
  int32_t i = 0;
  for (; i < m - 1; i++) {
    left -= weight(by, heap[n - 1 - i].logit);
    if (left < 0) break;
  }
  return heap[n - 1 - i].token;
}

/* Draws from all candidates at least as likely as min_p times the best, in the order of their ids. */
static int32_t draw_all(llmc_sampler *s, const candidate *all, scale by) {
  double total = 0;
  int32_t last = 0;
  for (int32_t i = 0; i < s->vocab; i++) {
    double w = weight(by, all[i].logit);
    if (w >= s->options.min_p) total += w;
  }
  double left = llmc_random_unit(&s->random) * total;
  for (int32_t i = 0; i < s->vocab; i++) {
    double w = weight(by, all[i].logit);
    if (w < s->options.min_p || !(w > 0)) continue;
    left -= w;
    last = i;
    if (left < 0) break;
  }
  return last;
}

static double total_weight(const candidate *all, int32_t n, scale by) {
  double total = 0;
  for (int32_t i = 0; i < n; i++) total += weight(by, all[i].logit);
  return total;
}

static int32_t draw(llmc_sampler *s, const float *logits) {
  candidate *all = s->candidates;
  scale by = {-INFINITY, s->options.temperature};
  int32_t n = s->vocab, k = s->options.top_k;
  bool top_p = s->options.top_p > 0 && s->options.top_p < 1;
  for (int32_t i = 0; i < n; i++) {
    all[i] = (candidate){penalised(s, logits, i), i};
    if (all[i].logit > by.most) by.most = all[i].logit;
  }
  if ((!k || k >= n) && !top_p) return draw_all(s, all, by);
  double total = k && k < n ? 0 : total_weight(all, n, by);
  for (int32_t i = n / 2; i-- > 0;) sift(all, n, i);
  if (!k || k >= n) return draw_sorted(s, all, n, n, total);
  for (int32_t i = 0; i < k; i++) pop(all, n - i);
  candidate *top = all + n - k; /* sorted, the best last; reversed, it is a heap */
  for (int32_t i = 0; i < k / 2; i++) {
    candidate swap = top[i];
    top[i] = top[k - 1 - i];
    top[k - 1 - i] = swap;
  }
  return draw_sorted(s, top, k, k, total_weight(top, k, by));
}

llmc_status llmc_rt_sample(llmc_sampler *s, const float *logits, int32_t *token) {
  if (!logits || !token) return LLMC_ERR_ARG;
  *token = s->options.temperature > 0 ? draw(s, logits) : best(s, logits);
  return LLMC_OK;
}
