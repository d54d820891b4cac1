/* Read-only mapped files. */
#ifndef LLMC_FILE_H
#define LLMC_FILE_H

#include "llmc_artifact.h"
#include "llmc_plan.h"
#include "status.h"

typedef struct llmc_map {
  const uint8_t *data; /* NULL when nothing is mapped */
  size_t size;
} llmc_map;

/* Size of dir/name in bytes. LLMC_ERR_IO, naming the file, if it is missing or no regular file. */
llmc_status llmc_file_size(const char *dir, const char *name, uint64_t *size, llmc_error *error);

/* Maps dir/name. LLMC_ERR_IO, LLMC_ERR_FORMAT (empty), LLMC_ERR_NOMEM. */
llmc_status llmc_map_open(const char *dir, const char *name, llmc_map *out, llmc_error *error);

/* Maps a file that begins with an llmc_file_header and must be the one the library was compiled with. */
llmc_status llmc_map_checked(const char *dir, const llmc_plan_file *file, uint64_t magic, llmc_map *out, llmc_error *error);

void llmc_map_close(llmc_map *map);

/* dir + "/" + name into out. LLMC_ERR_ARG if it does not fit. */
enum { LLMC_PATH_BYTES = 4096 };
llmc_status llmc_path_join(const char *dir, const char *name, char out[LLMC_PATH_BYTES], llmc_error *error);

#endif
