#include "sampler.h"

#include <math.h> /* macros only: INFINITY, isnan, isfinite */

#include "llmc_gpu_plan.h"
#include "memory.h"
#include "number.h"

enum { DEFAULT_WINDOW = 64, MAX_WINDOW = 65536, LANES = 16, SCORES_ALIGN = 64 };
enum { FIRST_KEPT = 64, KEPT_GROWTH = 8 }; /* tokens sorted at first when only top_p is given: mostly enough */

typedef struct candidate {
  float score;
  int32_t token;
} candidate;

struct llmc_sampler {
  llmc_handle head;
  llmc_model *model;
  llmc_allocator allocator;
  llmc_sampler_options options;
  llmc_random random;
  int32_t vocab;
  int32_t n_recent; /* tokens in the window */
  int32_t next_recent; /* where the next one goes */
  int32_t *recent; /* [repetition_window], a ring */
  float *scores; /* [vocab]: logits after the penalty, then weights */
  candidate *kept; /* [vocab]: the best, sorted */
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
  llmc_free(&a, s->scores);
  llmc_free(&a, s->kept);
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
  s->scores = llmc_alloc(&s->allocator, (size_t)s->vocab, sizeof *s->scores, SCORES_ALIGN);
  s->kept = llmc_alloc(&s->allocator, (size_t)s->vocab, sizeof *s->kept, sizeof(void *));
  if (!s->recent || !s->scores || !s->kept) {
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
  s->recent[s->next_recent] = token;
  s->next_recent = (s->next_recent + 1) % s->options.repetition_window;
  if (s->n_recent < s->options.repetition_window) s->n_recent++;
  return LLMC_OK;
}

static float punished(float x, float penalty) { return isnan(x) ? -INFINITY : x > 0 ? x / penalty : x * penalty; }

/* Scores: the logits after the repetition penalty (Keskar et al., arXiv:1909.05858, 4.1, with the sign taken into account). */
static void score(llmc_sampler *s, const float *logits) {
  float penalty = s->options.repetition_penalty;
  for (int32_t i = 0; i < s->vocab; i++) s->scores[i] = isnan(logits[i]) ? -INFINITY : logits[i];
  for (int32_t i = 0; i < s->n_recent && penalty != 1; i++) {
    int32_t token = s->recent[i]; /* twice in the window changes nothing: the penalty starts from the logit */
    s->scores[token] = punished(logits[token], penalty);
  }
}

/* In lanes, which compilers turn into vector instructions: a vocabulary is long. */
static float highest(const float *scores, int32_t n) {
  float lanes[LANES], most = -INFINITY;
  int32_t i = 0;
  for (int32_t j = 0; j < LANES; j++) lanes[j] = -INFINITY;
  for (; i + LANES <= n; i += LANES)
    for (int32_t j = 0; j < LANES; j++) lanes[j] = scores[i + j] > lanes[j] ? scores[i + j] : lanes[j];
  for (int32_t j = 0; j < LANES; j++) most = lanes[j] > most ? lanes[j] : most;
  for (; i < n; i++) most = scores[i] > most ? scores[i] : most;
  return most;
}

static int32_t first_with(const float *scores, float score) {
  int32_t i = 0;
  while (scores[i] != score) i++;
  return i;
}

/* A strict order: higher scores first, of equals the lower id. */
static bool better(candidate a, candidate b) { return a.score != b.score ? a.score > b.score : a.token < b.token; }

/* Restores the heap (the worst at 0) of n candidates whose entry i may be too good. */
static void sift(candidate *heap, int32_t n, int32_t i) {
  candidate moving = heap[i];
  for (int32_t child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && better(heap[child], heap[child + 1])) child++;
    if (!better(moving, heap[child])) break;
    heap[i] = heap[child];
  }
  heap[i] = moving;
}

/* A heap of n candidates, the worst first, in descending order. */
static void sort(candidate *heap, int32_t n) {
  for (; n-- > 1;) {
    candidate worst = heap[0];
    heap[0] = heap[n];
    sift(heap, n, 0);
    heap[n] = worst;
  }
}

static void make_heap(candidate *heap, int32_t n) {
  for (int32_t i = n / 2; i-- > 0;) sift(heap, n, i);
}

/* Puts the k best into s->kept, best first. */
static void keep_best(llmc_sampler *s, int32_t k) {
  candidate *heap = s->kept;
  for (int32_t i = 0; i < k; i++) heap[i] = (candidate){s->scores[i], i};
  make_heap(heap, k);
  for (int32_t i = k; i < s->vocab; i++) {
    if (!(s->scores[i] > heap[0].score)) continue; /* of equals the one that is there has the lower id */
    heap[0] = (candidate){s->scores[i], i};
    sift(heap, k, 0);
  }
  sort(heap, k);
}

typedef struct scale {
  float most; /* the best score */
  float temperature;
} scale;

/* Probability relative to the best token's. */
static double weight(scale by, float score) {
  if (score == by.most) return 1; /* also when both are infinite */
  return llmc_exp(((double)score - by.most) / by.temperature);
}

static double weight_of_kept(const llmc_sampler *s, int32_t k, scale by) {
  double total = 0;
  for (int32_t i = 0; i < k; i++) total += weight(by, s->kept[i].score);
  return total;
}

/* Draws from the k kept ones, as far as top_p of `total` and min_p let them in. */
static int32_t draw_kept(llmc_sampler *s, int32_t k, double total, scale by) {
  double sum = 0, reach = s->options.top_p > 0 ? s->options.top_p * total : total;
  int32_t m = 0, i = 0;
  for (; m < k && (m == 0 || sum < reach); m++) {
    double w = weight(by, s->kept[m].score);
    if (w < s->options.min_p || !(w > 0)) break;
    sum += w;
  }
  for (double left = llmc_random_unit(&s->random) * sum; i < m - 1; i++) {
    left -= weight(by, s->kept[i].score);
    if (left < 0) break;
  }
  return s->kept[i].token;
}

/* Draws from all tokens at least as likely as min_p times the best, in the order of their ids. */
static int32_t draw_all(llmc_sampler *s, scale by) {
  double total = 0;
  int32_t last = 0;
  for (int32_t i = 0; i < s->vocab; i++) {
    double w = weight(by, s->scores[i]);
    s->scores[i] = w >= s->options.min_p ? (float)w : 0;
    total += s->scores[i];
  }
  double left = llmc_random_unit(&s->random) * total;
  for (int32_t i = 0; i < s->vocab; i++) {
    if (!(s->scores[i] > 0)) continue;
    left -= s->scores[i];
    last = i;
    if (left < 0) break;
  }
  return last;
}

/* Keeps as many of the best as reach top_p, or a few more. */
static int32_t draw_top_p(llmc_sampler *s, scale by) {
  double total = 0;
  for (int32_t i = 0; i < s->vocab; i++) total += weight(by, s->scores[i]);
  for (int64_t k = FIRST_KEPT;; k *= KEPT_GROWTH) {
    int32_t n = k < s->vocab ? (int32_t)k : s->vocab;
    keep_best(s, n);
    if (n == s->vocab || weight_of_kept(s, n, by) >= s->options.top_p * total) return draw_kept(s, n, total, by);
  }
}

static int32_t draw(llmc_sampler *s, scale by) {
  int32_t k = s->options.top_k;
  if (k > 0 && k < s->vocab) {
    keep_best(s, k);
    return draw_kept(s, k, weight_of_kept(s, k, by), by);
  }
  return s->options.top_p > 0 && s->options.top_p < 1 ? draw_top_p(s, by) : draw_all(s, by);
}

llmc_status llmc_rt_sample(llmc_sampler *s, const float *logits, int32_t *token) {
  if (!logits || !token) return LLMC_ERR_ARG;
  score(s, logits);
  scale by = {highest(s->scores, s->vocab), s->options.temperature};
  *token = by.temperature > 0 ? draw(s, by) : first_with(s->scores, by.most);
  return LLMC_OK;
}

/* A penalty of 1 or more only lowers recent tokens, so the best after it are among as many more before it as there may be recent ones. */
int32_t llmc_sampler_needs(const llmc_sampler *s) {
  const llmc_sampler_options *o = &s->options;
  int64_t kept = o->temperature > 0 ? o->top_k : 1, n = kept + (o->repetition_penalty > 1 ? o->repetition_window : 0);
  return kept && kept < s->vocab && o->repetition_penalty >= 1 && n <= LLMC_GPU_MOST_PICKS ? (int32_t)(n < s->vocab ? n : s->vocab) : 0;
}

static bool is_recent(const llmc_sampler *s, int32_t token) {
  for (int32_t i = 0; i < s->n_recent; i++)
    if (s->recent[i] == token) return true;
  return false;
}

llmc_status llmc_sample_best(llmc_sampler *s, const float *scores, const int32_t *ids, int32_t n, int32_t *token) {
  float penalty = s->options.repetition_penalty;
  for (int32_t i = 0; i < n; i++)
    s->kept[i] = (candidate){penalty != 1 && is_recent(s, ids[i]) ? punished(scores[i], penalty) : scores[i], ids[i]};
  make_heap(s->kept, n);
  sort(s->kept, n);
  scale by = {s->kept[0].score, s->options.temperature};
  int32_t k = by.temperature > 0 ? s->options.top_k : 1;
  *token = by.temperature > 0 ? draw_kept(s, k, weight_of_kept(s, k, by), by) : s->kept[0].token;
  return LLMC_OK;
}

bool llmc_sampler_fits(const llmc_sampler *s, const llmc_model *model) {
  return s && s->head.magic == LLMC_MAGIC_SAMPLER && s->model == model;
}
