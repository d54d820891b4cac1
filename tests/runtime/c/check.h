/* What the C tests share: a check that says where it failed, and a model opened from the folder given as argument. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

#include "fake_model.h"
#include "llmc.h"

#define CHECK(condition)                                                           \
  do {                                                                             \
    if (!(condition)) {                                                            \
      fprintf(stderr, "%s:%d: CHECK(%s)\n", __FILE__, __LINE__, #condition);       \
      exit(1);                                                                     \
    }                                                                              \
  } while (0)

static inline llmc_model *open_model(const char *folder) {
  llmc_error error;
  llmc_model *model;
  llmc_status status = llmc_model_open(folder, NULL, &error, &model);
  if (status) fprintf(stderr, "%s: %s\n", llmc_status_name(status), error.text);
  CHECK(status == LLMC_OK && model && error.text[0] == 0);
  return model;
}

static inline llmc_session *open_session(llmc_model *model, llmc_session_options options) {
  llmc_error error;
  llmc_session *session;
  options.struct_size = sizeof options;
  llmc_status status = llmc_session_open(model, &options, &error, &session);
  if (status) fprintf(stderr, "%s: %s\n", llmc_status_name(status), error.text);
  CHECK(status == LLMC_OK);
  return session;
}

/* Every logit of a row is the one that this text must give, but for the one that recites. */
static inline void check_row(const llmc_session *session, int32_t row, const int32_t *tokens, int32_t n) {
  const float *logits = llmc_session_logits(session, row);
  uint64_t hash = fake_hash(tokens, n);
  int recited = 0;
  CHECK(logits);
  for (int32_t v = 0; v < FAKE_VOCAB; v++) CHECK(logits[v] == fake_logit(hash, v) || (logits[v] == 100 && !recited++));
}

#endif
