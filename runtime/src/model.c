#include "model.h"

#include <string.h>

#include "cache_group.h"
#include "cpu.h"
#include "memory.h"
#include "vocabulary.h"

static llmc_status check_plan(const llmc_plan *plan, llmc_error *error) {
  if (plan->struct_size != sizeof *plan || plan->abi_version != LLMC_PLAN_VERSION)
    return llmc_fail(error, LLMC_ERR_FORMAT, "the library's plan and runtime are of different versions");
  return LLMC_OK;
}

static llmc_status choose_isa(llmc_model *model, const char *name, llmc_error *error) {
  uint32_t features = llmc_cpu_features();
  if (!model->plan->n_isas) return llmc_fail(error, LLMC_ERR_CPU, "the artifact holds code for GPUs alone");
  model->isa = llmc_cpu_choose(model->plan, name, features);
  if (model->isa) return LLMC_OK;
  if (name) return llmc_fail(error, LLMC_ERR_CPU, "isa \"%.40s\": not in this artifact, or not on this processor", name);
  const llmc_isa *floor = &model->plan->isas[model->plan->n_isas - 1];
  return llmc_fail(error, LLMC_ERR_CPU, "this processor lacks %s, the lowest level the model was compiled for (missing bits %#x)",
                   floor->name, (unsigned)(floor->features & ~features));
}

static llmc_status open_files(llmc_model *model, const char *dir, llmc_error *error) {
  const llmc_plan *plan = model->plan;
  llmc_status status = llmc_map_checked(dir, &plan->weights, LLMC_WEIGHTS_MAGIC, &model->weights, error);
  if (status || !plan->tokenizer.name) return status;
  status = llmc_map_checked(dir, &plan->tokenizer, LLMC_VOCABULARY_MAGIC, &model->tokenizer, error);
  if (status) return status;
  return llmc_vocabulary_map(&model->allocator, model->tokenizer.data + sizeof(llmc_file_header),
                             model->tokenizer.size - sizeof(llmc_file_header), error, &model->vocabulary);
}

static llmc_status open_gpu(llmc_model *model, const char *dir, const char *name, llmc_error *error) {
  const llmc_gpu_plan *plan = model->plan->gpu;
  if (!plan) return llmc_fail(error, LLMC_ERR_DEVICE, "device \"%.40s\": the artifact holds code for processors alone", name);
  llmc_status status = plan->runtime->open(plan, dir, name, &model->weights, &model->allocator, &model->gpu, error);
  if (!status) model->gpu_runtime = plan->runtime;
  return status;
}

/* Where nothing is asked for, a GPU that does not work leaves the processor, if there is code for it. */
static llmc_status choose_device(llmc_model *model, const char *dir, const llmc_model_options *o, llmc_error *error) {
  const char *device = o->device ? o->device : o->isa || !model->plan->gpu ? "cpu" : NULL;
  if (device && !strcmp(device, "cpu")) return choose_isa(model, o->isa, error);
  llmc_status status = open_gpu(model, dir, device ? device : "gpu", error);
  return status == LLMC_ERR_DEVICE && !device && model->plan->n_isas ? choose_isa(model, NULL, error) : status;
}

static void release(llmc_model *model) {
  if (model->gpu) model->gpu_runtime->close(model->gpu);
  llmc_vocabulary_unmap(model->vocabulary);
  llmc_map_close(&model->tokenizer);
  llmc_map_close(&model->weights);
  llmc_allocator a = model->allocator;
  model->head.magic = 0;
  llmc_free(&a, model);
}

llmc_status llmc_rt_model_open(const char *path, const llmc_model_options *given, llmc_error *error, llmc_model **out) {
  llmc_model_options options = {.struct_size = sizeof options};
  llmc_allocator allocator;
  if (!out) return llmc_fail(error, LLMC_ERR_ARG, "no place for the model");
  *out = NULL;
  llmc_error_clear(error);
  if (!path) return llmc_fail(error, LLMC_ERR_ARG, "no path");
  if (!llmc_struct_read(&options, sizeof options, given))
    return llmc_fail(error, LLMC_ERR_ARG, "model options: wrong struct_size, or an option this version does not know");
  if (!llmc_allocator_choose(options.allocator, &allocator)) return llmc_fail(error, LLMC_ERR_ARG, "allocator: a function is NULL");
  llmc_status status = check_plan(&llmc_model_plan, error);
  if (status) return status;
  llmc_model *model = llmc_alloc_zeroed(&allocator, 1, sizeof *model);
  if (!model) return llmc_fail(error, LLMC_ERR_NOMEM, "no memory for the model");
  model->head = (llmc_handle){&llmc_functions, NULL, LLMC_MAGIC_MODEL};
  model->allocator = allocator;
  model->plan = &llmc_model_plan;
  status = open_files(model, path, error);
  if (!status) status = choose_device(model, path, &options, error);
  if (status) {
    release(model);
    return status;
  }
  *out = model;
  return LLMC_OK;
}

llmc_status llmc_rt_model_close(llmc_model *model) {
  if (atomic_load(&model->users)) return LLMC_ERR_ARG;
  release(model);
  return LLMC_OK;
}

llmc_status llmc_rt_model_get_info(const llmc_model *model, llmc_model_info *info) {
  const llmc_plan *plan = model->plan;
  llmc_model_info ours = {.name = plan->model_name,
                          .isa = model->isa ? model->isa->name : "",
                          .device = model->gpu ? model->gpu_runtime->name(model->gpu) : "cpu",
                          .vocab = plan->vocab,
                          .hidden = plan->hidden,
                          .layers = plan->layers,
                          .context = plan->context,
                          .max_step_tokens = llmc_model_step_tokens(model),
                          .page_tokens = LLMC_PAGE_TOKENS,
                          .weights_bytes = plan->weights.size,
                          .arena_bytes = model->gpu ? plan->gpu->arena_bytes : plan->arena_bytes,
                          .row_floats = plan->row_floats,
                          .encoder = plan->embeds,
                          .pooling = plan->pooling,
                          .normalize = plan->normalize,
                          .segments = plan->segments,
                          .labels = plan->n_classes};
  for (int32_t i = 0; i < plan->n_cache_groups; i++) {
    const llmc_cache_group *group = &plan->cache_groups[i];
    if (group->kind == LLMC_CACHE_PAGED) ours.page_bytes += group->page_bytes;
    if (group->kind == LLMC_CACHE_STATE) ours.state_bytes += group->page_bytes;
    if (group->kind == LLMC_CACHE_WINDOW)
      ours.window_bytes += group->page_bytes * (uint64_t)llmc_group_most(group, plan->context, ours.max_step_tokens);
  }
  return llmc_struct_write(info, &ours, sizeof ours) ? LLMC_OK : LLMC_ERR_ARG;
}

const char *llmc_rt_model_label(const llmc_model *model, int32_t number) {
  return number >= 0 && number < model->plan->n_classes ? model->plan->classes[number] : NULL;
}

const llmc_vocabulary *llmc_rt_model_vocabulary(const llmc_model *model) { return model->vocabulary; }
