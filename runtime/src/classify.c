#include "embed.h"
#include "memory.h"
#include "vocabulary.h"

enum { ALIGN = 16 };

/* The tokens of a text or of two, and their segments; `tokens` is to be freed, segments are part of it. */
typedef struct input {
  int32_t *tokens, *segments;
  size_t count;
} input;

static llmc_status tokenize(llmc_session *s, const llmc_classify_options *o, input *in, size_t capacity) {
  const llmc_vocabulary *v = s->model->vocabulary;
  in->tokens = llmc_alloc(&s->allocator, 2 * capacity, sizeof *in->tokens, ALIGN);
  if (!in->tokens) return llmc_fail(&s->error, LLMC_ERR_NOMEM, "no memory for %zu tokens", capacity);
  in->segments = in->tokens + capacity;
  if (o->pair)
    return llmc_rt_tokenize_pair(v, o->text, o->text_size, o->pair, o->pair_size, 0, in->tokens, in->segments, capacity, &in->count);
  in->segments = NULL;
  return llmc_rt_tokenize(v, o->text, o->text_size, LLMC_ADD_SPECIAL, in->tokens, capacity, &in->count);
}

/* Again with as much room as is needed, where texts have more tokens than most do. */
static llmc_status read_texts(llmc_session *s, const llmc_classify_options *o, input *in) {
  size_t capacity = o->text_size + o->pair_size + 32;
  if (capacity < o->text_size || capacity > SIZE_MAX / 16) return llmc_fail(&s->error, LLMC_ERR_ARG, "classify: a text without an end");
  llmc_status status = tokenize(s, o, in, capacity);
  if (status == LLMC_ERR_SPACE) {
    llmc_free(&s->allocator, in->tokens);
    status = tokenize(s, o, in, in->count);
  }
  if (status == LLMC_ERR_ARG && o->pair)
    return llmc_fail(&s->error, status, "the model's tokenizer has no template for two texts: put them into one");
  return status ? llmc_fail(&s->error, status, "the texts cannot be tokenized") : LLMC_OK;
}

static llmc_status check(llmc_session *s, const llmc_classify_options *o) {
  if (!s->plan->n_classes) return llmc_fail(&s->error, LLMC_ERR_ARG, "the model is no classifier: it has no labels");
  if (!s->model->vocabulary)
    return llmc_fail(&s->error, LLMC_ERR_ARG, "the model was compiled without a vocabulary: llmc_embed() takes tokens");
  if ((!o->text && o->text_size) || (!o->pair && o->pair_size)) return llmc_fail(&s->error, LLMC_ERR_ARG, "classify: a text that is NULL");
  return LLMC_OK;
}

llmc_status llmc_rt_classify(llmc_session *s, const llmc_classify_options *given, float *scores, size_t capacity, size_t *count) {
  llmc_classify_options o = {.struct_size = sizeof o};
  input in = {0};
  if (!given || !llmc_struct_read(&o, sizeof o, given) || !count || (!scores && capacity))
    return llmc_fail(&s->error, LLMC_ERR_ARG, "classify: a NULL argument, wrong struct_size, or an option this version does not know");
  llmc_status status = check(s, &o);
  if (!status) status = read_texts(s, &o, &in);
  bool told = in.segments && s->plan->segments > 1;
  llmc_embed_options embed = {.struct_size = sizeof embed, .tokens = in.tokens, .segments = told ? in.segments : NULL,
                              .n_tokens = in.count, .pooling = LLMC_POOLING_RANK};
  if (!status) status = llmc_rt_embed(s, &embed, scores, capacity, count);
  llmc_free(&s->allocator, in.tokens);
  return status;
}
