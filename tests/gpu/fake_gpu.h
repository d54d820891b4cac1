/* A GPU without a GPU, for a fake driver library to be made of (fake_cuda.c, fake_hip.c).
**
** Device memory is host memory. What is queued on a stream is done as late as is allowed: when a stream, an event or a copy to ordinary
** memory is waited for. So what is read too early, or overwritten too soon, shows. Launches go to a callback. What a real driver would
** refuse is refused here: a copy outside an allocation, pinned memory that is freed while a copy from it is queued, an unknown kernel,
** a grid of nothing, an allocation while recording. */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { MAX_BLOCKS = 4096, MAX_KERNELS = 512, MAX_ARGUMENTS = 32, MAX_STREAMS = 256, MAX_NAMES = 8192 };
enum { INVALID = 1, OUT_OF_MEMORY = 2, BAD_IMAGE = 200, NOT_FOUND = 500, LAUNCH_FAILED = 719, RECORDING = 900 };

typedef int launch_callback(const char *name, unsigned x, unsigned y, unsigned z, unsigned threads, void **arguments);

typedef struct kernel {
  char name[120];
  int n, sizes[MAX_ARGUMENTS]; /* of arguments, in bytes */
} kernel;

typedef struct op {
  enum { COPY, SET, LAUNCH, WAIT } kind;
  void *to;
  const void *from;
  size_t n;
  void *owned; /* a copy of `from`, where that was ordinary memory */
  int value;
  const kernel *function;
  unsigned grid[3], threads;
  uint64_t arguments[MAX_ARGUMENTS];
  struct stream *other;
  size_t position;
} op;

typedef struct ops {
  op *list;
  size_t n, capacity;
} ops;

typedef struct stream {
  ops queued;
  size_t done, before; /* ops of the list; ops that were done before the list began */
  ops *recording; /* NULL: none */
  int open;
} stream;

typedef struct event {
  stream *on; /* NULL: never marked */
  size_t position;
} event;

typedef struct block {
  uint8_t *start;
  size_t size;
} block;

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static _Thread_local int recording_here;
static block blocks[MAX_BLOCKS], pinned[MAX_BLOCKS];
static kernel kernels[MAX_KERNELS];
static stream streams[MAX_STREAMS];
static int n_kernels, objects /* alive */, fault /* of a launch that ran; no call works any more */, calls, failing_call, failing_code;
static int launches, uploads, downloads, replays, recordings;
static size_t memory_limit = (size_t)1 << 33, used, downloaded;
static const char *failing_name;
static int failing_always;
static launch_callback *launched;
static int capability = 80;

EXPORT void fake_reset(launch_callback *callback, int sm, size_t memory) {
  launched = callback;
  capability = sm;
  memory_limit = memory;
  n_kernels = fault = calls = failing_call = launches = uploads = downloads = replays = recordings = 0;
  downloaded = 0;
  failing_name = NULL;
}

EXPORT void fake_kernel(const char *name, int n, const int *sizes) {
  kernel *k = &kernels[n_kernels++];
  strncpy(k->name, name, sizeof k->name - 1);
  k->n = n;
  memcpy(k->sizes, sizes, (size_t)n * sizeof *sizes);
}

/* Call number `call` from now on fails with `code`; with a name, the call-th of that name. */
EXPORT void fake_fail(int call, int code, const char *name) {
  static char kept[80];
  calls = 0;
  failing_call = call;
  failing_code = code;
  failing_name = name ? strncpy(kept, name, sizeof kept - 1) : NULL;
}

/* Whether every call from the failing one on fails, and not that one alone. */
EXPORT void fake_always(int on) { failing_always = on; }

EXPORT int fake_failed(void) { return failing_call && calls >= failing_call; }
EXPORT int fake_count(const char *what) {
  return !strcmp(what, "launches") ? launches : !strcmp(what, "uploads") ? uploads : !strcmp(what, "downloads") ? downloads
         : !strcmp(what, "replays") ? replays : !strcmp(what, "recordings") ? recordings : !strcmp(what, "objects") ? objects : -1;
}
EXPORT size_t fake_used(void) { return used; }
EXPORT size_t fake_downloaded(void) { return downloaded; }

/* What every function of a driver begins with; giving back never fails on request. */
static int enter(const char *name) {
  pthread_mutex_lock(&lock);
  if (fault) return fault;
  if (failing_name && strcmp(failing_name, name)) return 0;
  calls++;
  return failing_call && (failing_always ? calls >= failing_call : calls == failing_call) ? failing_code : 0;
}

static int leave(int code) { return pthread_mutex_unlock(&lock), code; }

#define CALL(...)                         \
  int code = enter(__func__);             \
  if (!code) code = (__VA_ARGS__);        \
  return leave(code)

#define GIVE_BACK(...)       \
  pthread_mutex_lock(&lock); \
  int code = (__VA_ARGS__);  \
  return leave(code)

/* Index of the block that holds [memory, memory + n), or -1. */
static int find_in(const block *list, const void *memory, size_t n) {
  const uint8_t *at = memory;
  for (int i = 0; i < MAX_BLOCKS; i++)
    if (list[i].start && at >= list[i].start && at + n <= list[i].start + list[i].size) return i;
  return -1;
}

/* Bytes from an address to the end of its allocation; 0 if it is in none. */
EXPORT size_t fake_extent(uint64_t memory) {
  int i = find_in(blocks, (void *)(uintptr_t)memory, 0);
  return i < 0 ? 0 : (size_t)((uintptr_t)blocks[i].start + blocks[i].size - memory);
}

static int put(block *list, uint8_t *start, size_t n) {
  int i = 0;
  while (i < MAX_BLOCKS && list[i].start) i++;
  if (i == MAX_BLOCKS) return INVALID;
  list[i] = (block){start, n};
  return 0;
}

static void run_to(stream *s, size_t position);

static int run_launch(const op *o) {
  void *arguments[MAX_ARGUMENTS];
  for (int i = 0; i < o->function->n; i++) arguments[i] = (void *)(uintptr_t)&o->arguments[i];
  return launched && launched(o->function->name, o->grid[0], o->grid[1], o->grid[2], o->threads, arguments) ? LAUNCH_FAILED : 0;
}

static void run_op(op *o) {
  if (fault) return;
  if (o->kind == COPY) memcpy(o->to, o->owned ? o->owned : o->from, o->n);
  if (o->kind == SET) memset(o->to, o->value, o->n);
  if (o->kind == WAIT && o->other) run_to(o->other, o->position);
  if (o->kind == LAUNCH) fault = run_launch(o);
}

/* Does what was queued on a stream before `position`. */
static void run_to(stream *s, size_t position) {
  while (s->before + s->done < position) {
    op o = s->queued.list[s->done++];
    run_op(&o);
    free(o.owned);
  }
  if (s->done == s->queued.n) {
    s->before += s->done;
    s->done = s->queued.n = 0;
  }
}

static void run_stream(stream *s) { run_to(s, s->before + s->queued.n); }
static void run_all(void) {
  for (int i = 0; i < MAX_STREAMS; i++) run_stream(&streams[i]);
}

static void append(ops *to, op o) {
  if (to->n == to->capacity) {
    to->capacity = to->capacity ? 2 * to->capacity : 64;
    to->list = realloc(to->list, to->capacity * sizeof o);
  }
  to->list[to->n++] = o;
}

static stream *known(void *handle) {
  stream *s = handle;
  return s >= streams && s < streams + MAX_STREAMS && s->open ? s : NULL;
}

static int queue(void *handle, op o) {
  stream *s = known(handle);
  if (!s) return INVALID;
  append(s->recording ? s->recording : &s->queued, o);
  return 0;
}

static int gpu_alloc(void **out, size_t n) {
  if (!n) return INVALID;
  if (recording_here) return RECORDING;
  if (used + n > memory_limit) return OUT_OF_MEMORY;
  uint8_t *start = aligned_alloc(256, (n + 255) / 256 * 256);
  memset(start, 0xCD, n); /* what a kernel forgets to write shows */
  used += n;
  return *out = start, put(blocks, start, n);
}

static int gpu_free(void *memory) {
  int i = find_in(blocks, memory, 0);
  if (i < 0 || blocks[i].start != memory || recording_here) return INVALID;
  run_all();
  used -= blocks[i].size;
  free(blocks[i].start);
  blocks[i].start = NULL;
  return 0;
}

static int gpu_alloc_host(void **out, size_t n, unsigned flags) {
  if (flags || recording_here) return INVALID;
  uint8_t *start = malloc(n);
  memset(start, 0xCD, n);
  objects++;
  return *out = start, put(pinned, start, n);
}

static int uses(const op *o, const block *b) {
  const uint8_t *from = o->from, *to = o->to;
  return o->kind == COPY && ((from >= b->start && from < b->start + b->size) || (to >= b->start && to < b->start + b->size));
}

static int gpu_free_host(void *memory) {
  int i = find_in(pinned, memory, 0);
  if (i < 0 || pinned[i].start != memory) return INVALID;
  for (int s = 0; s < MAX_STREAMS && !fault; s++)
    for (size_t k = streams[s].done; k < streams[s].queued.n; k++)
      if (uses(&streams[s].queued.list[k], &pinned[i])) return INVALID;
  free(pinned[i].start);
  pinned[i].start = NULL;
  return objects--, 0;
}

static int gpu_stream_create(void **out, unsigned flags) {
  int i = 0;
  while (i < MAX_STREAMS && streams[i].open) i++;
  if (flags != 1 || i == MAX_STREAMS) return INVALID;
  streams[i].open = 1;
  return objects++, *out = &streams[i], 0;
}

static int gpu_stream_destroy(void *handle) {
  stream *s = known(handle);
  if (!s) return INVALID;
  run_stream(s);
  s->open = 0;
  return objects--, 0;
}

static int gpu_stream_synchronize(void *handle) {
  stream *s = known(handle);
  if (!s) return INVALID;
  if (recording_here) return RECORDING;
  run_stream(s);
  return fault;
}

static int gpu_upload(void *to, const void *from, size_t n, void *stream) {
  op o = {.kind = COPY, .to = to, .from = from, .n = n};
  if (find_in(blocks, to, n) < 0) return INVALID;
  uploads++;
  if (find_in(pinned, from, n) < 0) o.owned = memcpy(malloc(n), from, n);
  return queue(stream, o);
}

static int gpu_download(void *to, const void *from, size_t n, void *handle) {
  if (find_in(blocks, from, n) < 0) return INVALID;
  downloads++;
  downloaded += n;
  int code = queue(handle, (op){.kind = COPY, .to = to, .from = from, .n = n});
  if (!code && find_in(pinned, to, n) < 0) run_stream(known(handle));
  return code ? code : fault;
}

static int gpu_copy(void *to, const void *from, size_t n, void *stream) {
  if (find_in(blocks, from, n) < 0 || find_in(blocks, to, n) < 0) return INVALID;
  return queue(stream, (op){.kind = COPY, .to = to, .from = from, .n = n});
}

static int gpu_set(void *to, int value, size_t n, void *stream) {
  return find_in(blocks, to, n) < 0 ? INVALID : queue(stream, (op){.kind = SET, .to = to, .value = value, .n = n});
}

static int gpu_module_load(void **module, const char *image) {
  if (memcmp(image, "\177ELF", 4) && !strstr(image, ".version")) return BAD_IMAGE;
  return objects++, *module = malloc(1), 0;
}

static int gpu_module_unload(void *module) { return free(module), objects--, 0; }

/* A handle is the kernel's name, of which there is one copy. */
static int gpu_function(void **function, void *module, const char *name) {
  static char *names[MAX_NAMES];
  int i = 0;
  while (i < MAX_NAMES && names[i] && strcmp(names[i], name)) i++;
  if (!module || !*name || i == MAX_NAMES) return NOT_FOUND;
  if (!names[i]) names[i] = strdup(name);
  return *function = names[i], 0;
}

static int gpu_launch(const char *name, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                      void *stream, void **arguments, void **extra) {
  op o = {.kind = LAUNCH, .grid = {x, y, z}, .threads = bx};
  launches++;
  if (!name || !x || !y || !z || !bx || bx > 1024 || by != 1 || bz != 1 || y > 65535 || z > 65535 || shared || extra) return INVALID;
  for (int i = 0; i < n_kernels && !o.function; i++)
    if (!strcmp(kernels[i].name, name)) o.function = &kernels[i];
  if (!o.function) return INVALID;
  for (int i = 0; i < o.function->n; i++) memcpy(&o.arguments[i], arguments[i], (size_t)o.function->sizes[i]);
  return queue(stream, o);
}

static int gpu_event_create(void **out, unsigned flags) {
  return flags == 2 ? (objects++, *out = calloc(1, sizeof(event)), 0) : INVALID;
}

static int gpu_event_destroy(void *e) { return free(e), objects--, 0; }

static int gpu_event_record(void *handle, void *on) {
  event *e = handle;
  stream *s = known(on);
  if (!s || s->recording) return INVALID;
  *e = (event){s, s->before + s->queued.n};
  return 0;
}

static int gpu_event_synchronize(void *handle) {
  event *e = handle;
  if (recording_here) return RECORDING;
  if (e->on) run_to(e->on, e->position);
  return fault;
}

static int gpu_wait_event(void *on, void *handle, unsigned flags) {
  event *e = handle;
  if (flags || (known(on) && known(on)->recording)) return INVALID;
  return queue(on, (op){.kind = WAIT, .other = e->on, .position = e->position});
}

/* Recording: the graph and what is made of it are the same list here. */
static int gpu_capture_begin(void *handle, int mode) {
  stream *s = known(handle);
  if (!s || s->recording || mode != 1) return INVALID;
  s->recording = calloc(1, sizeof *s->recording);
  return objects++, recordings++, recording_here = 1, 0;
}

static int gpu_capture_end(void *handle, void **graph) {
  stream *s = known(handle);
  if (!s || !s->recording) return INVALID;
  *graph = s->recording;
  s->recording = NULL;
  return recording_here = 0, 0;
}

static int gpu_graph_destroy(void *graph) {
  free(((ops *)graph)->list);
  free(graph);
  return objects--, 0;
}

static int gpu_graph_instantiate(void **out, const ops *graph) {
  ops *copy = calloc(1, sizeof *copy);
  for (size_t i = 0; i < graph->n; i++) append(copy, graph->list[i]);
  return objects++, *out = copy, 0;
}

static int gpu_graph_launch(const ops *graph, void *on) {
  int code = 0;
  replays++;
  for (size_t i = 0; i < graph->n && !code; i++) code = queue(on, graph->list[i]);
  return code;
}

static const char *gpu_error(int code) {
  switch (code) {
  case OUT_OF_MEMORY: return "out of memory";
  case BAD_IMAGE: return "device kernel image is invalid";
  case 209: return "no kernel image is available for execution on the device";
  case 222: return "the provided PTX was compiled with an unsupported toolchain.";
  case NOT_FOUND: return "named symbol not found";
  case LAUNCH_FAILED: return "unspecified launch failure";
  case RECORDING: return "operation not permitted when stream is capturing";
  default: return "invalid argument";
  }
}
