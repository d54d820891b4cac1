/* What an artifact's library exports: one function that returns a table of functions. libllmc and the program `run` call it.
**
** The table is the contract between an artifact and every later libllmc: functions are only added at the end, never changed.
** Each has the meaning that llmc.h gives to the function of the same name; handles must be valid, other arguments are checked. */
#ifndef LLMC_API_H
#define LLMC_API_H

#include "llmc.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LLMC_API_VERSION 1u

typedef struct llmc_api_table {
  uint32_t version; /* LLMC_API_VERSION */
  uint32_t struct_size; /* sizeof(llmc_api_table) of the library */
  llmc_status (*model_open)(const char *, const llmc_model_options *, llmc_error *, llmc_model **);
  llmc_status (*model_close)(llmc_model *);
  llmc_status (*model_get_info)(const llmc_model *, llmc_model_info *);
  const llmc_vocabulary *(*model_vocabulary)(const llmc_model *);
  llmc_status (*vocabulary_close)(llmc_vocabulary *);
  llmc_status (*tokenize)(const llmc_vocabulary *, const char *, size_t, uint32_t, int32_t *, size_t, size_t *);
  llmc_status (*detokenize)(const llmc_vocabulary *, const int32_t *, size_t, uint32_t, char *, size_t, size_t *);
  llmc_status (*session_open)(llmc_model *, const llmc_session_options *, llmc_error *, llmc_session **);
  llmc_status (*session_close)(llmc_session *);
  const char *(*session_error)(const llmc_session *);
  llmc_status (*session_cancel)(llmc_session *);
  llmc_status (*sequence_open)(llmc_session *, int32_t *);
  llmc_status (*sequence_truncate)(llmc_session *, int32_t, int32_t);
  llmc_status (*sequence_close)(llmc_session *, int32_t);
  llmc_status (*sequence_length)(const llmc_session *, int32_t, int32_t *);
  llmc_status (*step)(llmc_session *, const llmc_batch *);
  llmc_status (*prefill)(llmc_session *, int32_t, const int32_t *, size_t);
  const float *(*logits)(const llmc_session *, int32_t);
  llmc_status (*sampler_open)(llmc_model *, const llmc_sampler_options *, llmc_error *, llmc_sampler **);
  llmc_status (*sampler_close)(llmc_sampler *);
  llmc_status (*sample)(llmc_sampler *, const float *, int32_t *);
  llmc_status (*sampler_accept)(llmc_sampler *, int32_t);
  llmc_status (*generation_open)(llmc_session *, const llmc_generate_options *, llmc_generation **);
  llmc_status (*generation_next)(llmc_generation *, llmc_piece *);
  llmc_status (*generation_timings)(const llmc_generation *, llmc_timings *);
  llmc_status (*generation_close)(llmc_generation *);
  llmc_status (*generate)(llmc_session *, const llmc_generate_options *, llmc_piece_callback, void *, llmc_timings *, llmc_reason *);
  llmc_status (*session_profile)(llmc_session *, int32_t, llmc_profile *);
  llmc_status (*embed)(llmc_session *, const llmc_embed_options *, float *, size_t, size_t *);
  llmc_status (*session_memory)(const llmc_session *, llmc_memory *);
  llmc_status (*session_sample)(llmc_session *, int32_t, llmc_sampler *, int32_t *);
  const char *(*model_label)(const llmc_model *, int32_t);
  llmc_status (*tokenize_pair)(const llmc_vocabulary *, const char *, size_t, const char *, size_t, uint32_t, int32_t *, int32_t *, size_t,
                               size_t *);
  llmc_status (*classify)(llmc_session *, const llmc_classify_options *, float *, size_t, size_t *);
} llmc_api_table;

/* The table for `version`, or NULL if this library does not speak it. */
const llmc_api_table *llmc_api(uint32_t version);

/* How every handle begins, in every library: who made it, and what it is. */
typedef struct llmc_handle {
  const llmc_api_table *api; /* of the library that made the object */
  void *library; /* what libllmc closes after a model; NULL in all other handles */
  uint32_t magic; /* LLMC_MAGIC_*; 0 once closed */
} llmc_handle;

enum {
  LLMC_MAGIC_MODEL = 0x4c4d4f44,
  LLMC_MAGIC_VOCABULARY = 0x4c564f43,
  LLMC_MAGIC_SESSION = 0x4c534553,
  LLMC_MAGIC_SAMPLER = 0x4c53414d,
  LLMC_MAGIC_GENERATION = 0x4c47454e
};

#ifdef __cplusplus
}
#endif
#endif
