/* What is asked about the last step of a session: its logits, or the best tokens of each row. */
#include "gpu_session.h"

/* Room in pinned memory; what it held is lost. Nothing queued may use it. */
static llmc_status pin(llmc_gpu *gpu, llmc_gpu_pinned *p, uint64_t bytes, llmc_error *error) {
  if (bytes <= p->bytes) return LLMC_OK;
  gpu->driver->release_host(gpu->device, p->data);
  *p = (llmc_gpu_pinned){0};
  int code = gpu->driver->alloc_host(gpu->device, bytes, &p->data);
  if (code) return llmc_gpu_fail(gpu, code, error, "making room for results");
  p->bytes = bytes;
  return LLMC_OK;
}

llmc_status llmc_gpu_finish(llmc_gpu_session *s, llmc_error *error) {
  llmc_gpu *gpu = s->gpu;
  if (!llmc_gpu_fail_once(&s->queue, gpu->driver->enter(gpu->device))) llmc_gpu_fail_once(&s->queue, gpu->driver->wait(gpu->device, s->queue.stream));
  return llmc_gpu_report(s, error, "a step");
}

llmc_status llmc_gpu_logits(llmc_gpu_session *s, const float **out, llmc_error *error) {
  llmc_gpu *gpu = s->gpu;
  uint64_t bytes = (uint64_t)s->last.n_rows * (uint64_t)s->needs.row_stride * sizeof(float);
  *out = s->host_logits.data;
  if (s->fetched) return LLMC_OK;
  *out = NULL;
  if (llmc_gpu_fail_once(&s->queue, gpu->driver->enter(gpu->device))) return llmc_gpu_report(s, error, "a step");
  llmc_status status = pin(gpu, &s->host_logits, bytes, error);
  if (status) return status;
  llmc_gpu_fail_once(&s->queue, gpu->driver->download(gpu->device, s->host_logits.data, s->logits, bytes, s->queue.stream));
  status = llmc_gpu_finish(s, error);
  if (status) return status;
  s->fetched = true;
  *out = s->host_logits.data;
  return LLMC_OK;
}

/* Room on the device for the picks of a step, [rows][count] twice and then [rows][parts][count] twice. */
static llmc_status place(llmc_gpu_session *s, int32_t count, llmc_gpu_picks *p, llmc_error *error) {
  uint64_t result = (uint64_t)s->last.n_rows * (uint64_t)count * sizeof(float), parts = result * (uint64_t)s->gpu->plan->pick_parts;
  uint64_t bytes = 2 * (result + parts);
  if (bytes > s->picks_bytes) {
    int code = s->gpu->driver->wait(s->gpu->device, s->queue.stream);
    if (code) return llmc_gpu_fail(s->gpu, code, error, "a step");
    llmc_gpu_memory_give(s->gpu->memory, s->picks);
    s->picks_bytes = 0;
    llmc_status status = llmc_gpu_alloc(s->gpu, "the best tokens", bytes, &s->picks, error);
    if (status) return status;
    s->picks_bytes = bytes;
  }
  *p = (llmc_gpu_picks){.count = count, .scores = s->picks, .ids = s->picks + result, .part_scores = s->picks + 2 * result,
                        .part_ids = s->picks + 2 * result + parts};
  return LLMC_OK;
}

llmc_status llmc_gpu_best(llmc_gpu_session *s, int32_t count, const float **scores, const int32_t **ids, llmc_error *error) {
  llmc_gpu *gpu = s->gpu;
  llmc_gpu_picks picks;
  size_t n = (size_t)s->last.n_rows * (size_t)count;
  uint64_t bytes = 2 * n * sizeof(float);
  if (llmc_gpu_fail_once(&s->queue, gpu->driver->enter(gpu->device))) return llmc_gpu_report(s, error, "a step");
  llmc_status status = pin(gpu, &s->host_picks, bytes, error);
  if (!status) status = place(s, count, &picks, error);
  if (status) return status;
  gpu->plan->pick(&s->last, &picks);
  if (!s->queue.code)
    llmc_gpu_fail_once(&s->queue, gpu->driver->download(gpu->device, s->host_picks.data, picks.scores, bytes, s->queue.stream));
  status = llmc_gpu_finish(s, error);
  *scores = s->host_picks.data;
  *ids = (const int32_t *)s->host_picks.data + n;
  return status;
}
