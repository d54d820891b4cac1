/* The sampler: its distribution, its filters, and that a seed gives the same tokens everywhere. */
#include <math.h>
#include <string.h>

#include "check.h"
#include "llmc_gpu_plan.h"
#include "number.h"
#include "sampler.h"

static llmc_sampler *open_sampler(llmc_model *model, llmc_sampler_options options) {
  llmc_error error;
  llmc_sampler *sampler;
  options.struct_size = sizeof options;
  CHECK(llmc_sampler_open(model, &options, &error, &sampler) == LLMC_OK);
  return sampler;
}

/* Draws often and checks each token's share against `want` [FAKE_VOCAB], to five standard deviations. */
static void check_distribution(llmc_model *model, llmc_sampler_options options, const float *logits, const double *want) {
  enum { DRAWS = 20000 };
  static int32_t seen[FAKE_VOCAB];
  memset(seen, 0, sizeof seen);
  llmc_sampler *sampler = open_sampler(model, options);
  for (int i = 0; i < DRAWS; i++) {
    int32_t token;
    CHECK(llmc_sample(sampler, logits, &token) == LLMC_OK);
    seen[token]++;
  }
  for (int v = 0; v < FAKE_VOCAB; v++) {
    double expected = want[v] * DRAWS;
    CHECK(fabs(seen[v] - expected) <= 5 * sqrt(expected * (1 - want[v])) + (want[v] > 0));
  }
  CHECK(llmc_sampler_close(sampler) == LLMC_OK);
}

/* Ten tokens have probability, the best being 200 and 100; the other logits are far below. */
static void make_logits(float *logits) {
  for (int v = 0; v < FAKE_VOCAB; v++) logits[v] = -1000;
  for (int i = 0; i < 10; i++) logits[10 * i] = -(float)i * 0.5f;
  logits[200] = 1.5f;
  logits[100] = 1;
}

static void softmax(const float *logits, double temperature, double *p) {
  double sum = 0;
  for (int v = 0; v < FAKE_VOCAB; v++) sum += p[v] = exp((logits[v] - 1.5) / temperature);
  for (int v = 0; v < FAKE_VOCAB; v++) p[v] /= sum;
}

/* Keeps what `keep` says and makes the rest sum to one. */
static void renormalise(double *p, const char *keep) {
  double sum = 0;
  for (int v = 0; v < FAKE_VOCAB; v++) sum += p[v] *= keep[v];
  for (int v = 0; v < FAKE_VOCAB; v++) p[v] /= sum;
}

static void test_distributions(llmc_model *model) {
  float logits[FAKE_VOCAB];
  double p[FAKE_VOCAB];
  char keep[FAKE_VOCAB];
  make_logits(logits);
  softmax(logits, 1, p);
  check_distribution(model, (llmc_sampler_options){.temperature = 1, .seed = 1}, logits, p);
  check_distribution(model, (llmc_sampler_options){.temperature = 1, .top_p = 1, .top_k = FAKE_VOCAB, .seed = 2}, logits, p);
  check_distribution(model, (llmc_sampler_options){.temperature = 1, .top_p = 0.999999f, .seed = 2}, logits, p);
  softmax(logits, 2, p);
  check_distribution(model, (llmc_sampler_options){.temperature = 2, .seed = 3}, logits, p);
  memset(keep, 0, sizeof keep);
  keep[200] = keep[100] = keep[0] = 1;
  renormalise(p, keep);
  check_distribution(model, (llmc_sampler_options){.temperature = 2, .top_k = 3, .seed = 4}, logits, p);
  softmax(logits, 1, p);
  renormalise(p, keep); /* of three, 0.55 + 0.33 reach 0.8 */
  keep[0] = 0;
  renormalise(p, keep);
  check_distribution(model, (llmc_sampler_options){.temperature = 1, .top_k = 3, .top_p = 0.8f, .seed = 5}, logits, p);
  softmax(logits, 1, p); /* of all, 0.46 + 0.28 + 0.10 are needed */
  keep[0] = 1;
  renormalise(p, keep);
  check_distribution(model, (llmc_sampler_options){.temperature = 1, .top_p = 0.8f, .seed = 6}, logits, p);
  softmax(logits, 1, p); /* exp(-1.5) = 0.22, exp(-2) = 0.14 */
  check_distribution(model, (llmc_sampler_options){.temperature = 1, .min_p = 0.2f, .seed = 7}, logits, (renormalise(p, keep), p));
  check_distribution(model, (llmc_sampler_options){.temperature = 1, .min_p = 0.2f, .top_k = 9, .seed = 8}, logits, p);
}

static void test_greedy_takes_the_lowest_of_equals_and_never_nan(llmc_model *model) {
  float logits[FAKE_VOCAB] = {0};
  int32_t token;
  llmc_sampler *sampler = open_sampler(model, (llmc_sampler_options){.top_k = 5});
  logits[7] = logits[9] = 1;
  logits[3] = NAN;
  CHECK(llmc_sample(sampler, logits, &token) == LLMC_OK && token == 7);
  for (int v = 0; v < FAKE_VOCAB; v++) logits[v] = NAN;
  CHECK(llmc_sample(sampler, logits, &token) == LLMC_OK && token == 0);
  CHECK(llmc_sample(sampler, NULL, &token) == LLMC_ERR_ARG && llmc_sample(sampler, logits, NULL) == LLMC_ERR_ARG);
  CHECK(llmc_sampler_close(sampler) == LLMC_OK);
}

static void test_extreme_logits_are_drawn_from(llmc_model *model) {
  float logits[FAKE_VOCAB];
  int32_t token;
  const llmc_sampler_options all[] = {{.temperature = 1},          {.temperature = 1e-30f},           {.temperature = 1e30f},
                                      {.temperature = 1, .top_k = 1}, {.temperature = 1, .top_p = 0.5f}, {.temperature = 1, .top_p = 1e-30f},
                                      {.temperature = 1, .min_p = 1}, {.temperature = 1, .top_k = 2, .top_p = 0.1f, .min_p = 0.5f}};
  const float values[] = {NAN, -INFINITY, INFINITY, 3e38f, -3e38f, 0};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    for (size_t x = 0; x < 6; x++) {
      llmc_sampler *sampler = open_sampler(model, all[i]);
      for (int v = 0; v < FAKE_VOCAB; v++) logits[v] = values[x];
      CHECK(llmc_sample(sampler, logits, &token) == LLMC_OK && token >= 0 && token < FAKE_VOCAB);
      logits[42] = INFINITY;
      if (!(values[x] > 3.3e38f)) CHECK(llmc_sample(sampler, logits, &token) == LLMC_OK && token == 42);
      CHECK(llmc_sampler_close(sampler) == LLMC_OK);
    }
}

/* Of the best n as a GPU gives them: descending, of equals the lower id first, NaN as minus infinity. */
static void best(const float *logits, int32_t n, float *scores, int32_t *ids) {
  float left[FAKE_VOCAB];
  for (int v = 0; v < FAKE_VOCAB; v++) left[v] = isnan(logits[v]) ? -INFINITY : logits[v];
  char taken[FAKE_VOCAB] = {0};
  for (int32_t i = 0; i < n; i++) {
    int most = -1;
    for (int v = 0; v < FAKE_VOCAB; v++)
      if (!taken[v] && (most < 0 || left[v] > left[most])) most = v;
    taken[most] = 1;
    scores[i] = left[most];
    ids[i] = most;
  }
}

static void test_the_best_decide_as_all_logits_do(llmc_model *model) {
  const llmc_sampler_options all[] = {{.temperature = 0},
                                      {.temperature = 0, .repetition_penalty = 1.3f, .repetition_window = 20},
                                      {.temperature = 1, .top_k = 40},
                                      {.temperature = 0.7f, .top_k = 12, .top_p = 0.9f, .repetition_penalty = 1.5f, .seed = 3},
                                      {.temperature = 2, .top_k = 64, .min_p = 0.05f, .repetition_penalty = 4, .repetition_window = 64}};
  float logits[FAKE_VOCAB], scores[LLMC_GPU_MOST_PICKS];
  int32_t ids[LLMC_GPU_MOST_PICKS];
  for (size_t o = 0; o < sizeof all / sizeof *all; o++) {
    llmc_sampler *a = open_sampler(model, all[o]), *b = open_sampler(model, all[o]);
    int32_t n = llmc_sampler_needs(a), x, y;
    CHECK(n > 0 && n <= LLMC_GPU_MOST_PICKS);
    for (int step = 0; step < 300; step++) {
      for (int v = 0; v < FAKE_VOCAB; v++) logits[v] = (float)((v * 7919 + step * 104729) % 211) / 16 - 6; /* many equals, both signs */
      logits[step % FAKE_VOCAB] = step % 3 ? NAN : INFINITY;
      best(logits, n, scores, ids);
      CHECK(llmc_sample(a, logits, &x) == LLMC_OK && llmc_sample_best(b, scores, ids, n, &y) == LLMC_OK);
      CHECK(x == y);
      CHECK(llmc_sampler_accept(a, x) == LLMC_OK && llmc_sampler_accept(b, x) == LLMC_OK);
    }
    CHECK(llmc_sampler_close(a) == LLMC_OK && llmc_sampler_close(b) == LLMC_OK);
  }
}

static void test_some_options_need_all_logits(llmc_model *model) {
  const llmc_sampler_options all[] = {{.temperature = 1}, {.temperature = 1, .top_p = 0.9f}, {.temperature = 1, .min_p = 0.1f},
                                      {.repetition_penalty = 0.5f}, {.temperature = 1, .top_k = 65, .repetition_penalty = 2},
                                      {.temperature = 1, .top_k = 129}, {.temperature = 1, .top_k = FAKE_VOCAB}};
  for (size_t o = 0; o < sizeof all / sizeof *all; o++) {
    llmc_sampler *sampler = open_sampler(model, all[o]);
    CHECK(llmc_sampler_needs(sampler) == 0);
    CHECK(llmc_sampler_close(sampler) == LLMC_OK);
  }
}

static void test_repetition_penalty_forgets_after_its_window(llmc_model *model) {
  float logits[FAKE_VOCAB] = {0};
  int32_t token;
  llmc_sampler *sampler = open_sampler(model, (llmc_sampler_options){.repetition_penalty = 2, .repetition_window = 3});
  for (int v = 0; v < FAKE_VOCAB; v++) logits[v] = -1;
  logits[5] = 3;
  logits[6] = 2;
  CHECK(llmc_sample(sampler, logits, &token) == LLMC_OK && token == 5);
  CHECK(llmc_sampler_accept(sampler, 5) == LLMC_OK && llmc_sampler_accept(sampler, 5) == LLMC_OK);
  CHECK(llmc_sample(sampler, logits, &token) == LLMC_OK && token == 6); /* 3 / 2 once, however often it came */
  for (int i = 0; i < 2; i++) CHECK(llmc_sampler_accept(sampler, 1) == LLMC_OK);
  CHECK(llmc_sample(sampler, logits, &token) == LLMC_OK && token == 6);
  for (int i = 0; i < 10; i++) CHECK(llmc_sampler_accept(sampler, 1) == LLMC_OK);
  CHECK(llmc_sample(sampler, logits, &token) == LLMC_OK && token == 5);
  for (int v = 0; v < FAKE_VOCAB; v++) logits[v] = v == 1 ? -1 : -1.5f; /* a negative logit becomes lower, not higher */
  CHECK(llmc_sample(sampler, logits, &token) == LLMC_OK && token == 0);
  CHECK(llmc_sampler_accept(sampler, -1) == LLMC_ERR_ARG && llmc_sampler_accept(sampler, FAKE_VOCAB) == LLMC_ERR_ARG);
  CHECK(llmc_sampler_close(sampler) == LLMC_OK);
}

static void test_a_seed_gives_the_same_tokens(llmc_model *model) {
  static const int32_t recorded[] = {25,  114, 206, 275, 295, 233, 218, 255, 255, 147, 3,   186,
                                     247, 64,  100, 28,  219, 219, 45,  137, 201, 253, 167, 253};
  float logits[FAKE_VOCAB];
  for (int v = 0; v < FAKE_VOCAB; v++) logits[v] = (float)((v * 7919) % 97) / 16;
  const llmc_sampler_options all[] = {{.temperature = 0.8f, .seed = 42},
                                      {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .seed = 42},
                                      {.temperature = 1.5f, .top_p = 0.9f, .repetition_penalty = 1.1f, .seed = 42}};
  size_t at = 0;
  for (size_t i = 0; i < 3; i++) {
    llmc_sampler *sampler = open_sampler(model, all[i]);
    for (int n = 0; n < 8; n++) {
      int32_t token;
      CHECK(llmc_sample(sampler, logits, &token) == LLMC_OK && llmc_sampler_accept(sampler, token) == LLMC_OK);
      CHECK(token == recorded[at++]);
    }
    CHECK(llmc_sampler_close(sampler) == LLMC_OK);
  }
}

static void test_the_exponential(void) {
  for (double x = 0; x > -690; x -= 0.0137) CHECK(fabs(llmc_exp(x) / exp(x) - 1) < 1e-11);
  CHECK(llmc_exp(0) == 1 && llmc_exp(-800) == 0 && llmc_exp(-INFINITY) == 0 && llmc_exp(NAN) == 0);
}

/* The reference implementation's first output for the state that splitmix64 makes of seed 0. */
static void test_the_random_numbers(void) {
  llmc_random random;
  llmc_random_seed(&random, 0);
  CHECK(random.state[0] == UINT64_C(0xe220a8397b1dcdaf));
  CHECK(llmc_random_unit(&random) == (double)(UINT64_C(0x99ec5f36cb75f2b4) >> 11) * 0x1p-53);
}

int main(int argc, char **argv) {
  CHECK(argc == 2);
  llmc_model *model = open_model(argv[1]);
  test_the_exponential();
  test_the_random_numbers();
  test_greedy_takes_the_lowest_of_equals_and_never_nan(model);
  test_extreme_logits_are_drawn_from(model);
  test_the_best_decide_as_all_logits_do(model);
  test_some_options_need_all_logits(model);
  test_repetition_penalty_forgets_after_its_window(model);
  test_a_seed_gives_the_same_tokens(model);
  test_distributions(model);
  CHECK(llmc_model_close(model) == LLMC_OK);
  return 0;
}
