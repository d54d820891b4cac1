#define _POSIX_C_SOURCE 200809L
#include "generation.h"

#include <string.h>
#include <time.h>

#include "memory.h"
#include "sampler.h"
#include "text.h"
#include "vocabulary.h"

struct llmc_generation {
  llmc_handle head;
  llmc_session *session;
  const llmc_vocabulary *vocabulary; /* NULL: tokens only */
  llmc_sampler *sampler;
  llmc_text text;
  int32_t *prompt; /* [timings.prompt_tokens] */
  int32_t sequence; /* -1 until it is open */
  int32_t max_tokens;
  int32_t token; /* chosen last; -1 before the first */
  bool ignore_end;
  uint32_t decode_flags;
  bool finished; /* the last piece was given, or a call failed */
  llmc_timings timings;
};

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* What runs a model that generates no text. */
static llmc_status no_text(llmc_session *s) {
  const char *kind = s->plan->n_classes ? "a classifier" : s->plan->encoder ? "an encoder" : "an embedding model";
  const char *verb = s->plan->n_classes ? "classify" : "embed";
  return llmc_fail(&s->error, LLMC_ERR_ARG, "the model is %s and generates no text: llmc_%s() or `llmc %s` runs it", kind, verb, verb);
}

static llmc_status check_options(llmc_session *s, const llmc_generate_options *o) {
  if (s->plan->embeds) return no_text(s);
  if (!o->tokens || !o->n_tokens) return llmc_fail(&s->error, LLMC_ERR_ARG, "the prompt is empty: a model needs at least one token");
  if (o->max_tokens < 0) return llmc_fail(&s->error, LLMC_ERR_ARG, "max_tokens %d: must not be negative", o->max_tokens);
  if (o->n_stop && !s->model->vocabulary) return llmc_fail(&s->error, LLMC_ERR_ARG, "stop texts: the model has no vocabulary");
  if (o->n_tokens >= (size_t)s->context)
    return llmc_fail(&s->error, LLMC_ERR_CONTEXT, "a prompt of %zu tokens leaves no room in a context of %d", o->n_tokens, s->context);
  return LLMC_OK;
}

static llmc_status prepare(llmc_generation *g, const llmc_generate_options *o) {
  llmc_session *s = g->session;
  llmc_status status = llmc_rt_sampler_open(s->model, o->sampler, &s->error, &g->sampler);
  if (status) return status;
  status = llmc_text_open(&g->text, &s->allocator, o->stop, o->n_stop);
  if (status == LLMC_ERR_ARG)
    return llmc_fail(&s->error, status, "stop texts: at most %d, each 1 to %d bytes", LLMC_MAX_STOPS, LLMC_MAX_STOP_BYTES);
  g->prompt = llmc_alloc(&s->allocator, o->n_tokens, sizeof *g->prompt, sizeof(void *));
  if (status || !g->prompt) return llmc_fail(&s->error, LLMC_ERR_NOMEM, "no memory for the generation");
  memcpy(g->prompt, o->tokens, o->n_tokens * sizeof *g->prompt);
  for (size_t i = 0; i < o->n_tokens && !status; i++) status = llmc_rt_sampler_accept(g->sampler, g->prompt[i]);
  if (status) return llmc_fail(&s->error, status, "the prompt holds an id outside the model's vocabulary of %d", s->plan->vocab);
  return llmc_rt_sequence_open(s, &g->sequence);
}

llmc_status llmc_rt_generation_open(llmc_session *s, const llmc_generate_options *given, llmc_generation **out) {
  llmc_generate_options o = {.struct_size = sizeof o};
  if (!out) return llmc_fail(&s->error, LLMC_ERR_ARG, "no place for the generation");
  *out = NULL;
  if (!given || !llmc_struct_read(&o, sizeof o, given))
    return llmc_fail(&s->error, LLMC_ERR_ARG, "generate options: NULL, wrong struct_size, or an option this version does not know");
  llmc_status status = check_options(s, &o);
  if (status) return status;
  llmc_generation *g = llmc_alloc_zeroed(&s->allocator, 1, sizeof *g);
  if (!g) return llmc_fail(&s->error, LLMC_ERR_NOMEM, "no memory for the generation");
  g->head = (llmc_handle){&llmc_functions, NULL, LLMC_MAGIC_GENERATION};
  g->session = s;
  g->vocabulary = s->model->vocabulary;
  g->text.allocator = s->allocator;
  g->sequence = g->token = -1;
  g->max_tokens = o.max_tokens ? o.max_tokens : INT32_MAX;
  g->ignore_end = o.ignore_end;
  g->decode_flags = o.show_special ? LLMC_SHOW_SPECIAL : 0;
  g->timings.prompt_tokens = o.n_tokens;
  s->generations++;
  status = prepare(g, &o);
  if (status) llmc_rt_generation_close(g);
  else *out = g;
  return status;
}

llmc_status llmc_rt_generation_close(llmc_generation *g) {
  llmc_session *s = g->session;
  if (g->sequence >= 0) llmc_rt_sequence_close(s, g->sequence);
  if (g->sampler) llmc_rt_sampler_close(g->sampler);
  llmc_text_close(&g->text);
  llmc_free(&s->allocator, g->prompt);
  s->generations--;
  g->head.magic = 0;
  llmc_free(&s->allocator, g);
  return LLMC_OK;
}

/* One step: the prompt, or the token chosen last. */
static llmc_status compute(llmc_generation *g) {
  llmc_session *s = g->session;
  uint64_t start = now_ns();
  bool first = g->token < 0;
  llmc_status status = first ? llmc_session_append(s, g->sequence, g->prompt, g->timings.prompt_tokens)
                             : llmc_session_append(s, g->sequence, &g->token, 1);
  if (first && !status) status = llmc_session_finish(s); /* so that its time is its own */
  *(first ? &g->timings.prompt_ns : &g->timings.decode_ns) += now_ns() - start;
  return status;
}

static llmc_status choose(llmc_generation *g) {
  uint64_t start = now_ns();
  llmc_status status = llmc_rt_session_sample(g->session, 0, g->sampler, &g->token);
  if (!status) status = llmc_rt_sampler_accept(g->sampler, g->token);
  g->timings.tokens++;
  g->timings.decode_ns += now_ns() - start;
  return status;
}

static llmc_status add_text(llmc_generation *g) {
  const char *bytes = "";
  size_t size = 0;
  llmc_vocabulary_piece(g->vocabulary, g->token, g->decode_flags, &bytes, &size);
  return llmc_text_append(&g->text, bytes, size);
}

static llmc_reason reason_to_end(const llmc_generation *g) {
  if (g->text.stopped) return LLMC_STOP_TEXT;
  if (g->timings.tokens >= (size_t)g->max_tokens) return LLMC_MAX_TOKENS;
  if (g->session->sequences[g->sequence].length >= g->session->context) return LLMC_CONTEXT_FULL;
  return LLMC_RUNNING;
}

static llmc_status advance(llmc_generation *g, llmc_piece *piece) {
  llmc_status status = compute(g);
  if (!status) status = choose(g);
  if (status) return status;
  piece->token = g->token;
  if (g->vocabulary && !g->ignore_end && llmc_vocabulary_ends(g->vocabulary, g->token)) {
    piece->reason = LLMC_END_OF_TEXT;
  } else {
    if (g->vocabulary) status = add_text(g);
    piece->reason = reason_to_end(g);
  }
  if (!status) status = llmc_text_take(&g->text, piece->reason != LLMC_RUNNING, &piece->text, &piece->size);
  return status ? llmc_fail(&g->session->error, status, "no memory for the text") : LLMC_OK;
}

llmc_status llmc_rt_generation_next(llmc_generation *g, llmc_piece *given) {
  llmc_piece piece = {.text = "", .token = -1};
  llmc_session *s = g->session;
  if (!llmc_struct_write(given, &piece, sizeof piece)) return llmc_fail(&s->error, LLMC_ERR_ARG, "piece: NULL or wrong struct_size");
  if (g->finished) return llmc_fail(&s->error, LLMC_ERR_ARG, "the generation has ended");
  llmc_status status = advance(g, &piece);
  g->finished = status || piece.reason != LLMC_RUNNING;
  if (!status) llmc_struct_write(given, &piece, sizeof piece);
  return status;
}

llmc_status llmc_rt_generation_timings(const llmc_generation *g, llmc_timings *timings) {
  return llmc_struct_write(timings, &g->timings, sizeof g->timings) ? LLMC_OK : LLMC_ERR_ARG;
}

/* Pieces until the last one, or until the callback has had enough. */
static llmc_status run(llmc_generation *g, llmc_piece_callback callback, void *user, llmc_reason *reason) {
  llmc_piece piece = {.struct_size = sizeof piece};
  while (*reason == LLMC_RUNNING) {
    llmc_status status = llmc_rt_generation_next(g, &piece);
    if (status) return status;
    *reason = piece.reason;
    if ((piece.size || piece.reason) && callback && callback(user, &piece) && !*reason) *reason = LLMC_CALLER;
  }
  return LLMC_OK;
}

llmc_status llmc_rt_generate(llmc_session *s, const llmc_generate_options *options, llmc_piece_callback callback, void *user,
                             llmc_timings *timings, llmc_reason *reason) {
  llmc_generation *g;
  llmc_reason ended = LLMC_RUNNING;
  llmc_status status = llmc_rt_generation_open(s, options, &g);
  if (status) return status;
  status = run(g, callback, user, &ended);
  if (timings && llmc_rt_generation_timings(g, timings) && !status)
    status = llmc_fail(&s->error, LLMC_ERR_ARG, "timings: wrong struct_size");
  if (reason) *reason = ended;
  llmc_rt_generation_close(g);
  return status;
}
