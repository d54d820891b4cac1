/* What an artifact looks like on disk. All numbers are little-endian; compiler/artifact.py writes the same structs.
**
**     model.llmc/
**       artifact.bin          llmc_index_header, then `count` llmc_index_entry: all other files, sorted by name
**       manifest.json         the same facts and more, for people and `llmc inspect`; not read at run time
**       x86_64-linux-gnu.so   one library per platform
**       run                   a program: text in, text out
**       weights-<layout>.bin  llmc_file_header, then tensors, each at a multiple of LLMC_TENSOR_ALIGN from the start of the file
**       tokenizer.bin         llmc_file_header, then the compiled vocabulary
*/
#ifndef LLMC_ARTIFACT_H
#define LLMC_ARTIFACT_H

#include <assert.h>
#include <stdint.h>

#define LLMC_INDEX_NAME "artifact.bin"
#define LLMC_INDEX_VERSION 1u
#define LLMC_INDEX_MAX 64u /* entries an index may hold */
#define LLMC_FILE_VERSION 1u
#define LLMC_TENSOR_ALIGN 65536u
#define LLMC_NAME_BYTES 64

/* "LLMCINDX", "LLMCWGTS" and "LLMCVOCB". */
#define LLMC_INDEX_MAGIC UINT64_C(0x58444e49434d4c4c)
#define LLMC_WEIGHTS_MAGIC UINT64_C(0x53544757434d4c4c)
#define LLMC_VOCABULARY_MAGIC UINT64_C(0x42434f56434d4c4c)

typedef struct llmc_index_header {
  uint64_t magic; /* LLMC_INDEX_MAGIC */
  uint32_t version; /* LLMC_INDEX_VERSION */
  uint32_t count; /* 1 .. LLMC_INDEX_MAX; the file ends after this many entries */
} llmc_index_header;

typedef struct llmc_index_entry {
  char name[LLMC_NAME_BYTES]; /* no folder, padded with zeros, at least one of them */
  uint64_t size; /* bytes */
  uint8_t sha256[32]; /* of the whole file; checked by `llmc verify`, not when opening */
} llmc_index_entry;

/* First bytes of a weights or tokenizer file. The library holds the size and id it was compiled with. */
typedef struct llmc_file_header {
  uint64_t magic; /* LLMC_WEIGHTS_MAGIC or LLMC_VOCABULARY_MAGIC */
  uint32_t version; /* LLMC_FILE_VERSION */
  uint32_t reserved; /* 0 */
  uint64_t size; /* of the whole file, this header included */
  uint8_t id[32]; /* SHA-256 that stands for the content: of a canonical description of the weights; of the vocabulary's bytes */
  uint8_t zero[8];
} llmc_file_header;

#ifdef __cplusplus
#define LLMC_STATIC_ASSERT static_assert
#else
#define LLMC_STATIC_ASSERT _Static_assert
#endif
LLMC_STATIC_ASSERT(sizeof(llmc_index_header) == 16, "index header");
LLMC_STATIC_ASSERT(sizeof(llmc_index_entry) == 104, "index entry");
LLMC_STATIC_ASSERT(sizeof(llmc_file_header) == 64, "file header");

#endif
