/* llmc_model_open() and llmc_model_close() for a program that one artifact's library is linked to. */
#include "llmc_api.h"

llmc_status llmc_model_open(const char *path, const llmc_model_options *options, llmc_error *error, llmc_model **out) {
  return llmc_api(LLMC_API_VERSION)->model_open(path, options, error, out);
}

llmc_status llmc_model_close(llmc_model *m) {
  if (!m) return LLMC_OK;
  return ((const llmc_handle *)(const void *)m)->magic == LLMC_MAGIC_MODEL ? ((llmc_handle *)(void *)m)->api->model_close(m) : LLMC_ERR_ARG;
}
