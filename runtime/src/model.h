/* A mapped artifact: the plan this library was compiled with, and its files. */
#ifndef LLMC_MODEL_H
#define LLMC_MODEL_H

#include <stdatomic.h>

#include "file.h"
#include "llmc_api.h"
#include "gpu.h"
#include "llmc_plan.h"

struct llmc_model {
  llmc_handle head;
  llmc_allocator allocator;
  const llmc_plan *plan;
  const llmc_isa *isa; /* NULL: the model is on a GPU */
  const llmc_gpu_runtime *gpu_runtime; /* NULL, like gpu: it is not */
  llmc_gpu *gpu;
  llmc_map weights;
  llmc_map tokenizer;
  llmc_vocabulary *vocabulary; /* NULL: the model was compiled without */
  _Atomic int32_t users; /* open sessions and samplers */
};

/* Tokens of the largest step. */
static inline int32_t llmc_model_step_tokens(const llmc_model *model) {
  return model->gpu ? model->plan->gpu->max_step_tokens : model->plan->max_step_tokens;
}

extern const llmc_api_table llmc_functions; /* api.c */

llmc_status llmc_rt_model_open(const char *path, const llmc_model_options *options, llmc_error *error, llmc_model **out);
llmc_status llmc_rt_model_close(llmc_model *model);
llmc_status llmc_rt_model_get_info(const llmc_model *model, llmc_model_info *info);
const char *llmc_rt_model_label(const llmc_model *model, int32_t number);
const llmc_vocabulary *llmc_rt_model_vocabulary(const llmc_model *model);

#endif
