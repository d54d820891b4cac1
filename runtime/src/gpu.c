/* A model on a device: which device, which code, and the weights copied to it. */
#include "gpu_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

static const llmc_driver *const drivers[] = {&llmc_driver_cuda, &llmc_driver_hip};

llmc_status llmc_gpu_fail(llmc_gpu *gpu, int code, llmc_error *error, const char *what) {
  return llmc_fail(error, LLMC_ERR_DEVICE, "%s on %s: %s", what, gpu->name, gpu->driver->describe(gpu->device, code));
}

/* "cuda:1" is driver cuda, device 1; "gpu" is any driver. */
static bool named(const char *name, const llmc_driver *driver, int32_t *index) {
  size_t n = strcspn(name, ":");
  *index = name[n] ? (int32_t)strtol(name + n + 1, NULL, 10) : 0;
  return (n == 3 && !strncmp(name, "gpu", n)) || (n == strlen(driver->name) && !strncmp(name, driver->name, n));
}

static bool has_code(const llmc_gpu_plan *plan, const llmc_driver *driver) {
  for (int32_t i = 0; i < plan->n_codes; i++)
    if (!strcmp(plan->codes[i].driver, driver->name)) return true;
  return false;
}

/* The best code of lower rank than `below` that the device may run. */
static const llmc_gpu_code *next_code(const llmc_gpu *gpu, const bool *tried) {
  const llmc_gpu_code *best = NULL;
  int32_t best_rank = 0, rank;
  for (int32_t i = 0; i < gpu->plan->n_codes; i++) {
    const llmc_gpu_code *code = &gpu->plan->codes[i];
    if (tried[i] || strcmp(code->driver, gpu->driver->name) || !gpu->driver->runs(gpu->device, code->arch, &rank)) continue;
    if (best && rank <= best_rank) continue;
    best = code;
    best_rank = rank;
  }
  return best;
}

/* What the artifact holds and what the device is: the text of a refusal. failed: what the driver said to the code it was given, or 0. */
static llmc_status no_code(const llmc_gpu *gpu, int failed, llmc_error *error) {
  char held[160] = "", arch[32];
  for (int32_t i = 0; i < gpu->plan->n_codes; i++) {
    size_t used = strlen(held);
    snprintf(held + used, sizeof held - used, "%s%s:%s", used ? ", " : "", gpu->plan->codes[i].driver, gpu->plan->codes[i].arch);
  }
  const char *why = failed                                    ? gpu->driver->describe(gpu->device, failed)
                    : gpu->driver->supported(gpu->device) ? "compile the model for it too"
                                                              : gpu->driver->oldest;
  gpu->driver->architecture(gpu->device, arch);
  return llmc_fail(error, LLMC_ERR_DEVICE, "the artifact holds code for %s, and the device is %s: %s", held, arch, why);
}

static llmc_status load_file(llmc_gpu *gpu, const char *dir, const llmc_gpu_code *code, int *failed, llmc_error *error) {
  llmc_map map = {0};
  llmc_status status = llmc_map_open(dir, code->file, &map, error);
  if (status) return status;
  if (map.size != code->size)
    status = llmc_fail(error, LLMC_ERR_FORMAT, "%s has %zu bytes, not %llu", code->file, map.size, (unsigned long long)code->size);
  else *failed = gpu->driver->load(gpu->device, map.data, &gpu->module);
  llmc_map_close(&map);
  return status;
}

static llmc_status load_code(llmc_gpu *gpu, const char *dir, llmc_error *error) {
  bool tried[LLMC_GPU_MAX_CODES] = {false};
  int failed = 0;
  for (const llmc_gpu_code *code; (code = next_code(gpu, tried));) {
    llmc_status status = load_file(gpu, dir, code, &failed, error);
    if (status) return status;
    if (!failed) {
      snprintf(gpu->name, sizeof gpu->name, "%s:%s", code->driver, code->arch);
      gpu->matrix_units = gpu->driver == &llmc_driver_cuda;
      return LLMC_OK;
    }
    tried[code - gpu->plan->codes] = true;
  }
  return no_code(gpu, failed, error);
}

static llmc_status find_kernels(llmc_gpu *gpu, llmc_error *error) {
  gpu->functions = llmc_alloc_zeroed(&gpu->allocator, (size_t)gpu->plan->n_kernels, sizeof *gpu->functions);
  if (!gpu->functions) return llmc_fail(error, LLMC_ERR_NOMEM, "no memory for the kernels' handles");
  for (int32_t i = 0; i < (gpu->matrix_units ? gpu->plan->n_kernels : gpu->plan->n_common); i++)
    if (gpu->driver->find(gpu->device, gpu->module, gpu->plan->kernels[i], &gpu->functions[i]))
      return llmc_fail(error, LLMC_ERR_FORMAT, "the code for %s lacks kernel %s", gpu->name, gpu->plan->kernels[i]);
  return LLMC_OK;
}

/* Device memory with a text that says how much was wanted and how much there is. */
llmc_status llmc_gpu_alloc(llmc_gpu *gpu, const char *what, uint64_t bytes, llmc_address *out, llmc_error *error) {
  uint64_t free = 0, total = 0;
  if (!llmc_gpu_memory_take(gpu->memory, bytes, out)) return LLMC_OK;
  gpu->driver->memory(gpu->device, &free, &total);
  return llmc_fail(error, LLMC_ERR_DEVICE, "%s need %llu bytes on %s, where %llu of %llu are free", what, (unsigned long long)bytes,
                   gpu->name, (unsigned long long)free, (unsigned long long)total);
}

/* What the model and a session of it need, before anything is copied. */
static llmc_status check_room(llmc_gpu *gpu, uint64_t weights, llmc_error *error) {
  uint64_t free = 0, total = 0, working = gpu->plan->constants_bytes + gpu->plan->arena_bytes;
  int code = gpu->driver->memory(gpu->device, &free, &total);
  if (code) return llmc_gpu_fail(gpu, code, error, "asking for free memory");
  if (weights + working <= free) return LLMC_OK;
  return llmc_fail(error, LLMC_ERR_DEVICE, "the model needs %llu bytes on %s, %llu of weights and %llu to work in, and %llu of %llu are free",
                   (unsigned long long)(weights + working), gpu->name, (unsigned long long)weights, (unsigned long long)working,
                   (unsigned long long)free, (unsigned long long)total);
}

static llmc_status copy_constants(llmc_gpu *gpu, llmc_error *error) {
  void *stream = NULL;
  int code = gpu->driver->open_stream(gpu->device, &stream);
  if (!code && gpu->plan->constants_bytes)
    code = gpu->driver->upload(gpu->device, gpu->constants, gpu->plan->constants, gpu->plan->constants_bytes, stream);
  if (!code) code = gpu->driver->wait(gpu->device, stream);
  gpu->driver->close_stream(gpu->device, stream);
  return code ? llmc_gpu_fail(gpu, code, error, "copying constants") : LLMC_OK;
}

static llmc_status fill(llmc_gpu *gpu, const char *dir, const llmc_map *weights, llmc_error *error) {
  llmc_status status = load_code(gpu, dir, error);
  if (!status) status = find_kernels(gpu, error);
  if (!status) status = check_room(gpu, weights->size, error);
  if (!status) status = llmc_gpu_alloc(gpu, "the weights", weights->size, &gpu->weights, error);
  if (!status) status = llmc_gpu_alloc(gpu, "constants", gpu->plan->constants_bytes, &gpu->constants, error);
  if (!status) status = copy_constants(gpu, error);
  if (status) return status;
  return llmc_gpu_upload_open(gpu->driver, gpu->device, &gpu->allocator, weights, gpu->weights, &gpu->upload, error);
}

void llmc_gpu_close(llmc_gpu *gpu) {
  if (!gpu) return;
  llmc_allocator a = gpu->allocator;
  if (gpu->memory) { /* on a device that broke every call fails, and that is no reason to keep anything */
    gpu->driver->enter(gpu->device);
    llmc_gpu_upload_close(gpu->upload);
    llmc_gpu_memory_give(gpu->memory, gpu->constants);
    llmc_gpu_memory_give(gpu->memory, gpu->weights);
    llmc_gpu_memory_close(gpu->memory);
    gpu->driver->unload(gpu->device, gpu->module);
  }
  if (gpu->device) gpu->driver->close(&a, gpu->device);
  llmc_free(&a, gpu->functions);
  llmc_free(&a, gpu);
}

static llmc_status open_with(const llmc_gpu_plan *plan, const llmc_driver *driver, int32_t index, const char *dir, const llmc_map *weights,
                             const llmc_allocator *allocator, llmc_gpu **out, llmc_error *error) {
  llmc_gpu *gpu = llmc_alloc_zeroed(allocator, 1, sizeof *gpu);
  if (!gpu) return llmc_fail(error, LLMC_ERR_NOMEM, "no memory for a device");
  *gpu = (llmc_gpu){.plan = plan, .driver = driver, .allocator = *allocator};
  snprintf(gpu->name, sizeof gpu->name, "%s", driver->name);
  llmc_status status = driver->open(allocator, index, &gpu->device, error);
  if (!status && driver->enter(gpu->device)) status = llmc_fail(error, LLMC_ERR_DEVICE, "%s device %d cannot be used", driver->name, index);
  if (!status) gpu->memory = llmc_gpu_memory_open(driver, gpu->device, allocator);
  if (!status && !gpu->memory) status = llmc_fail(error, LLMC_ERR_NOMEM, "no memory for a device");
  if (!status) status = fill(gpu, dir, weights, error);
  if (status) llmc_gpu_close(gpu);
  else *out = gpu;
  return status;
}

llmc_status llmc_gpu_open(const llmc_gpu_plan *plan, const char *dir, const char *name, const llmc_map *weights,
                          const llmc_allocator *allocator, llmc_gpu **out, llmc_error *error) {
  llmc_status status = LLMC_ERR_DEVICE;
  int32_t index;
  *out = NULL;
  llmc_fail(error, status, "device \"%.40s\": the artifact holds no code for it", name);
  for (size_t i = 0; i < sizeof drivers / sizeof *drivers; i++) {
    if (!named(name, drivers[i], &index) || !has_code(plan, drivers[i])) continue;
    status = open_with(plan, drivers[i], index, dir, weights, allocator, out, error);
    if (status != LLMC_ERR_DEVICE) break;
  }
  return status;
}

static const char *name_of(const llmc_gpu *gpu) { return gpu->name; }

const llmc_gpu_runtime llmc_gpu_functions = {
    .open = llmc_gpu_open, .close = llmc_gpu_close, .name = name_of, .session_open = llmc_gpu_session_open,
    .session_close = llmc_gpu_session_close, .reserve = llmc_gpu_reserve, .zero_page = llmc_gpu_zero_page, .step = llmc_gpu_run,
    .finish = llmc_gpu_finish, .logits = llmc_gpu_logits, .best = llmc_gpu_best,
};
