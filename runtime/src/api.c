/* The one symbol an artifact's library exports. */
#include "embed.h"
#include "generation.h"
#include "sampler.h"
#include "session.h"
#include "vocabulary.h"

const llmc_api_table llmc_functions = {
    .version = LLMC_API_VERSION,
    .struct_size = sizeof(llmc_api_table),
    .model_open = llmc_rt_model_open,
    .model_close = llmc_rt_model_close,
    .model_get_info = llmc_rt_model_get_info,
    .model_vocabulary = llmc_rt_model_vocabulary,
    .vocabulary_close = llmc_rt_vocabulary_close,
    .tokenize = llmc_rt_tokenize,
    .detokenize = llmc_rt_detokenize,
    .session_open = llmc_rt_session_open,
    .session_close = llmc_rt_session_close,
    .session_error = llmc_rt_session_error,
    .session_cancel = llmc_rt_session_cancel,
    .sequence_open = llmc_rt_sequence_open,
    .sequence_truncate = llmc_rt_sequence_truncate,
    .sequence_close = llmc_rt_sequence_close,
    .sequence_length = llmc_rt_sequence_length,
    .step = llmc_rt_session_step,
    .prefill = llmc_rt_session_prefill,
    .logits = llmc_rt_session_logits,
    .sampler_open = llmc_rt_sampler_open,
    .sampler_close = llmc_rt_sampler_close,
    .sample = llmc_rt_sample,
    .sampler_accept = llmc_rt_sampler_accept,
    .generation_open = llmc_rt_generation_open,
    .generation_next = llmc_rt_generation_next,
    .generation_timings = llmc_rt_generation_timings,
    .generation_close = llmc_rt_generation_close,
    .generate = llmc_rt_generate,
    .session_profile = llmc_rt_session_profile,
    .embed = llmc_rt_embed,
    .session_memory = llmc_rt_session_memory,
    .session_sample = llmc_rt_session_sample,
    .model_label = llmc_rt_model_label,
    .tokenize_pair = llmc_rt_tokenize_pair,
    .classify = llmc_rt_classify,
};

#if defined(_WIN32)
#define LLMC_EXPORT __declspec(dllexport)
#else
#define LLMC_EXPORT __attribute__((visibility("default")))
#endif

LLMC_EXPORT const llmc_api_table *llmc_api(uint32_t version) { return version == LLMC_API_VERSION ? &llmc_functions : NULL; }
