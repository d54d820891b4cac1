/* llmc_model_open() of libllmc and of the program `run`: finds an artifact's library, after its index has said that every file is
** there in its full size. */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

#include "file.h"
#include "llmc_api.h"
#include "llmc_artifact.h"

#if defined(__x86_64__) && defined(__linux__)
#define LLMC_PLATFORM_LIBRARY "x86_64-linux-gnu.so"
#elif defined(__aarch64__) && defined(__linux__)
#define LLMC_PLATFORM_LIBRARY "aarch64-linux-gnu.so"
#else
#error "no artifact library has a name for this platform yet"
#endif

static bool good_name(const char name[LLMC_NAME_BYTES]) {
  size_t size = strnlen(name, LLMC_NAME_BYTES);
  return size && size < LLMC_NAME_BYTES && name[0] != '.' && !memchr(name, '/', size);
}

static llmc_status check_entry(const char *dir, const llmc_index_entry *entry, llmc_error *error) {
  uint64_t size;
  if (!good_name(entry->name)) return llmc_fail(error, LLMC_ERR_FORMAT, "%s/" LLMC_INDEX_NAME ": an entry has no valid name", dir);
  llmc_status status = llmc_file_size(dir, entry->name, &size, error);
  if (status == LLMC_ERR_IO) return LLMC_ERR_FORMAT; /* the artifact is incomplete; the text names the file */
  if (status || size == entry->size) return status;
  return llmc_fail(error, LLMC_ERR_FORMAT, "%s/%s: has %llu bytes, the artifact was written with %llu", dir, entry->name,
                   (unsigned long long)size, (unsigned long long)entry->size);
}

/* Checks all entries; `library` tells whether one is this platform's. */
static llmc_status check_index(const char *dir, const llmc_map *index, bool *library, llmc_error *error) {
  llmc_index_header header;
  if (index->size < sizeof header) return llmc_fail(error, LLMC_ERR_FORMAT, "%s/" LLMC_INDEX_NAME ": truncated", dir);
  memcpy(&header, index->data, sizeof header);
  if (header.magic != LLMC_INDEX_MAGIC) return llmc_fail(error, LLMC_ERR_FORMAT, "%s/" LLMC_INDEX_NAME ": not an llmc index", dir);
  if (header.version != LLMC_INDEX_VERSION)
    return llmc_fail(error, LLMC_ERR_FORMAT, "%s/" LLMC_INDEX_NAME ": format version %u, this library reads %u", dir,
                     (unsigned)header.version, LLMC_INDEX_VERSION);
  if (!header.count || header.count > LLMC_INDEX_MAX || index->size != sizeof header + header.count * sizeof(llmc_index_entry))
    return llmc_fail(error, LLMC_ERR_FORMAT, "%s/" LLMC_INDEX_NAME ": truncated or altered", dir);
  for (uint32_t i = 0; i < header.count; i++) {
    llmc_index_entry entry;
    memcpy(&entry, index->data + sizeof header + i * sizeof entry, sizeof entry);
    llmc_status status = check_entry(dir, &entry, error);
    if (status) return status;
    if (strcmp(entry.name, LLMC_PLATFORM_LIBRARY) == 0) *library = true;
  }
  return LLMC_OK;
}

static llmc_status check_artifact(const char *dir, llmc_error *error) {
  llmc_map index = {NULL, 0};
  bool library = false;
  llmc_status status = llmc_map_open(dir, LLMC_INDEX_NAME, &index, error);
  if (!status) status = check_index(dir, &index, &library, error);
  llmc_map_close(&index);
  if (!status && !library) return llmc_fail(error, LLMC_ERR_CPU, "%s: has no " LLMC_PLATFORM_LIBRARY, dir);
  return status;
}

typedef const llmc_api_table *(*api_function)(uint32_t);

/* A table of at least our size, or NULL. ISO C has no cast from object to function pointer; POSIX promises that this copy works. */
static const llmc_api_table *find_table(void *library) {
  void *symbol = dlsym(library, "llmc_api");
  api_function function;
  memcpy(&function, &symbol, sizeof function);
  const llmc_api_table *table = symbol ? function(LLMC_API_VERSION) : NULL;
  return table && table->version == LLMC_API_VERSION && table->struct_size >= sizeof *table ? table : NULL;
}

llmc_status llmc_model_open(const char *path, const llmc_model_options *options, llmc_error *error, llmc_model **out) {
  char name[LLMC_PATH_BYTES];
  if (!out) return llmc_fail(error, LLMC_ERR_ARG, "no place for the model");
  *out = NULL;
  llmc_error_clear(error);
  if (!path || !*path) return llmc_fail(error, LLMC_ERR_ARG, "no path");
  llmc_status status = check_artifact(path, error);
  if (!status) status = llmc_path_join(path, LLMC_PLATFORM_LIBRARY, name, error);
  if (status) return status;
  void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!library) return llmc_fail(error, LLMC_ERR_FORMAT, "%s: cannot load: %s", name, dlerror());
  const llmc_api_table *api = find_table(library);
  if (!api) status = llmc_fail(error, LLMC_ERR_FORMAT, "%s: not an llmc artifact, or of another version", name);
  else status = api->model_open(path, options, error, out);
  if (status) dlclose(library);
  else ((llmc_handle *)(void *)*out)->library = library;
  return status;
}

llmc_status llmc_model_close(llmc_model *m) {
  llmc_handle *handle = (llmc_handle *)(void *)m;
  if (!m) return LLMC_OK;
  if (handle->magic != LLMC_MAGIC_MODEL) return LLMC_ERR_ARG;
  void *library = handle->library;
  llmc_status status = handle->api->model_close(m);
  if (!status && library) dlclose(library);
  return status;
}
