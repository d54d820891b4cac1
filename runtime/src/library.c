/* What libllmc does itself rather than ask an artifact: vocabularies on their own. */
#include "vocabulary.h"

const llmc_api_table llmc_functions = {
    .version = LLMC_API_VERSION,
    .struct_size = sizeof(llmc_api_table),
    .vocabulary_close = llmc_rt_vocabulary_close,
    .tokenize = llmc_rt_tokenize,
    .detokenize = llmc_rt_detokenize,
    .tokenize_pair = llmc_rt_tokenize_pair,
};

llmc_status llmc_vocabulary_open(const void *data, size_t size, const llmc_allocator *allocator, llmc_error *error,
                                 llmc_vocabulary **out) {
  return llmc_rt_vocabulary_open(data, size, allocator, error, out);
}
