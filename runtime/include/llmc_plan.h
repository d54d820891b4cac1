/* The interface between a generated plan and the runtime that is compiled around it. Not installed, not public.
**
** A compiled model is one C file that defines `llmc_model_plan`: facts, sizes, and one function that computes one step. The runtime
** (runtime/src) maps the weights, owns threads, sessions and cache pages, checks every argument, and then lets all workers of a
** session's team call `step` at the same time. The plan trusts what it is given here: nothing is checked twice. */
#ifndef LLMC_PLAN_H
#define LLMC_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LLMC_PLAN_VERSION 1u /* what llmc_plan.abi_version must hold */
#define LLMC_PAGE_TOKENS 64 /* tokens of a KV page, and the interleave of keys inside it */

/* Rows a kernel touches when it computes n of them: tiles of 16, then one tile of the smallest power of two that holds the rest. */
static inline int32_t llmc_padded_rows(int32_t n) {
  int32_t rest = n & 15, tail = 1;
  while (tail < rest) tail *= 2;
  return rest ? n - rest + tail : n;
}

/* One worker of the team that executes a step. Every worker calls every barrier, in the same order. */
typedef struct llmc_worker {
  int32_t index; /* 0 <= index < count */
  int32_t count; /* workers in the team, at least 1; 1 while it is alone */
  struct llmc_pool *pool; /* the runtime's, opaque here */
  struct llmc_trace *trace; /* NULL: nobody asked where the time goes */
} llmc_worker;

/* Returns once all workers of the team have called it. What a worker wrote before is seen by all after. */
void llmc_barrier(llmc_worker *worker);

/* Clock readings for llmc_session_profile(): the op that `label` names has ended here; everybody has. */
void llmc_trace_worked(struct llmc_trace *trace, int32_t label);
void llmc_trace_waited(struct llmc_trace *trace, int32_t label);

/* The end of an op: a barrier. label: index into llmc_plan.labels. */
static inline void llmc_done(llmc_worker *worker, int32_t label) {
  if (worker->trace) llmc_trace_worked(worker->trace, label);
  llmc_barrier(worker);
  if (worker->trace) llmc_trace_waited(worker->trace, label);
}

/* Work too small to share is done by the worker that reaches it last, whom nobody keeps waiting: one barrier instead of two.
**
** llmc_enter() ends the op `label`. `alone`, the same for all workers: it is true for the last one, which is then a team of one until
** it calls llmc_leave(); for the others it is false, and returns after that. Not `alone`: true for all, and llmc_leave() a barrier. */
bool llmc_hold(llmc_worker *worker);
void llmc_release(llmc_worker *worker);

static inline bool llmc_enter(llmc_worker *worker, bool alone, int32_t label) {
  if (worker->trace) llmc_trace_worked(worker->trace, label);
  bool mine = true;
  if (alone) mine = llmc_hold(worker);
  else llmc_barrier(worker);
  if (worker->trace) llmc_trace_waited(worker->trace, label);
  return mine;
}

static inline void llmc_leave(llmc_worker *worker, int32_t label) {
  if (worker->trace) llmc_trace_worked(worker->trace, label);
  llmc_release(worker);
  if (worker->trace) llmc_trace_waited(worker->trace, label);
}

/* Things [lo, hi) of an op. */
typedef struct llmc_range { int32_t lo, hi; } llmc_range;

/* Deals `count` things out in ascending runs of at least `least`, large ones first, to whoever asks next, so that workers end together
** even if some are slower: `for (llmc_range r = {0, 0}; llmc_claim(w, count, least, &r);)`. All workers ask for the same `count`, once
** between two barriers. */
bool llmc_claim(llmc_worker *worker, int32_t count, int32_t least, llmc_range *range);

/* The cache of one group as one step sees it. Page p of sequence s lies at pool + (int64_t)tables[s * table_stride + p] * page_bytes
** and holds positions [64 p, 64 p + 64). Every page a token of this step needs is in the table; entries past those must not be used,
** entries before them are of one that is. Of a group of states there is page 0 alone, the sequence's slot: zeros before its first
** token. */
typedef struct llmc_step_cache {
  uint8_t *pool; /* aligned to 64 bytes */
  const int32_t *tables; /* [n_seqs][table_stride] */
  int32_t table_stride; /* entries between two sequences' tables, >= pages of the session's context */
} llmc_step_cache;

/* One forward pass over n_tokens tokens of n_seqs sequences: any mix of prefill chunks and decode rows.
** The arrays tokens, positions and rows may be read up to llmc_padded_rows(their length): the excess is 0. */
typedef struct llmc_step {
  int32_t n_tokens; /* 1 .. plan.max_step_tokens */
  int32_t n_seqs; /* 1 .. n_tokens */
  int32_t n_rows; /* 0 .. n_tokens: token rows whose logits are wanted */
  int32_t context; /* the session's declared context length, in tokens; rope factors that depend on length use it */
  const int32_t *tokens; /* [n_tokens], 0 <= id < vocab; a sequence's tokens are contiguous */
  const int32_t *segments; /* [n_tokens], 0 <= segment < plan.segments; of encoders that tell segments apart */
  const int32_t *positions; /* [n_tokens], ascending by one inside a sequence, < context */
  const int32_t *sequence_start; /* [n_seqs + 1]: tokens of sequence s are [start[s], start[s + 1]), never empty */
  const int32_t *rows; /* [n_rows], strictly ascending token indices */
  const llmc_step_cache *caches; /* [plan.n_cache_groups] */
  float *logits; /* [llmc_padded_rows(n_rows)][plan.row_stride], aligned to 64 bytes; row i belongs to token rows[i] */
  uint8_t *arena; /* plan.arena_bytes, aligned to 64 bytes, uninitialised */
  const uint8_t *weights; /* the mapped weights file from its first byte; the plan's offsets count from there */
  const void *kernels; /* llmc_isa.kernels of the chosen level */
} llmc_step;

typedef enum llmc_cache_kind {
  LLMC_CACHE_PAGED = 0, /* every position is kept */
  LLMC_CACHE_STATE = 1, /* what recurrent layers made of all positions so far, in one slot per sequence; cannot go back */
  LLMC_CACHE_WINDOW = 2 /* the last positions are kept, those that a window reaches */
} llmc_cache_kind;

/* Layers whose cache is allocated together. A page holds LLMC_PAGE_TOKENS positions of all of them, layer after layer. */
typedef struct llmc_cache_group {
  llmc_cache_kind kind;
  int32_t layers;
  int32_t tokens_per_page; /* LLMC_PAGE_TOKENS; 0 of a group of states */
  int32_t window; /* positions that a token sees, its own among them; 0 unless the kind is LLMC_CACHE_WINDOW */
  uint64_t page_bytes; /* of one page over all layers; a multiple of 64 */
} llmc_cache_group;

/* CPU features, as cpuid names them. A bit is reported only if the operating system also saves its registers (XCR0). */
enum {
  LLMC_CPU_SSE3 = 1 << 0,
  LLMC_CPU_SSSE3 = 1 << 1,
  LLMC_CPU_SSE41 = 1 << 2,
  LLMC_CPU_SSE42 = 1 << 3,
  LLMC_CPU_POPCNT = 1 << 4,
  LLMC_CPU_CX16 = 1 << 5,
  LLMC_CPU_AVX = 1 << 6,
  LLMC_CPU_F16C = 1 << 7,
  LLMC_CPU_FMA = 1 << 8,
  LLMC_CPU_MOVBE = 1 << 9,
  LLMC_CPU_AVX2 = 1 << 10,
  LLMC_CPU_BMI1 = 1 << 11,
  LLMC_CPU_BMI2 = 1 << 12,
  LLMC_CPU_LZCNT = 1 << 13,
  LLMC_CPU_GFNI = 1 << 14,
  LLMC_CPU_AVX_VNNI = 1 << 15,
  LLMC_CPU_AVX512F = 1 << 16,
  LLMC_CPU_AVX512BW = 1 << 17,
  LLMC_CPU_AVX512CD = 1 << 18,
  LLMC_CPU_AVX512DQ = 1 << 19,
  LLMC_CPU_AVX512VL = 1 << 20,
  LLMC_CPU_AVX512_VNNI = 1 << 21,
  LLMC_CPU_AVX512_VBMI = 1 << 22,
  LLMC_CPU_AVX512_VBMI2 = 1 << 23,
  LLMC_CPU_AVX512_BITALG = 1 << 24,
  LLMC_CPU_AVX512_VPOPCNTDQ = 1 << 25,
  LLMC_CPU_AVX512_IFMA = 1 << 26,
  LLMC_CPU_VAES = 1 << 27,
  LLMC_CPU_VPCLMULQDQ = 1 << 28,
  LLMC_CPU_LAHF = 1 << 29,
  LLMC_CPU_AMX = 1 << 30, /* amx_tile and amx_int8, and the system lets this process use them */

  /* What code compiled for each level may use, including what the code generator picks on its own (GFNI for byte shifts). */
  LLMC_CPU_X86_64_V2 = LLMC_CPU_SSE3 | LLMC_CPU_SSSE3 | LLMC_CPU_SSE41 | LLMC_CPU_SSE42 | LLMC_CPU_POPCNT | LLMC_CPU_CX16 |
                       LLMC_CPU_LAHF,
  LLMC_CPU_LEVEL_AVX2 = LLMC_CPU_X86_64_V2 | LLMC_CPU_AVX | LLMC_CPU_F16C | LLMC_CPU_FMA | LLMC_CPU_MOVBE | LLMC_CPU_AVX2 |
                        LLMC_CPU_BMI1 | LLMC_CPU_BMI2 | LLMC_CPU_LZCNT, /* x86-64-v3 */
  LLMC_CPU_LEVEL_AVX_VNNI = LLMC_CPU_LEVEL_AVX2 | LLMC_CPU_AVX_VNNI | LLMC_CPU_GFNI | LLMC_CPU_VAES | LLMC_CPU_VPCLMULQDQ, /* alderlake */
  LLMC_CPU_LEVEL_AVX512_VNNI = LLMC_CPU_LEVEL_AVX2 | LLMC_CPU_GFNI | LLMC_CPU_VAES | LLMC_CPU_VPCLMULQDQ | LLMC_CPU_AVX512F | LLMC_CPU_AVX512BW | LLMC_CPU_AVX512CD |
                               LLMC_CPU_AVX512DQ | LLMC_CPU_AVX512VL | LLMC_CPU_AVX512_VNNI | LLMC_CPU_AVX512_VBMI |
                               LLMC_CPU_AVX512_VBMI2 | LLMC_CPU_AVX512_BITALG | LLMC_CPU_AVX512_VPOPCNTDQ |
                               LLMC_CPU_AVX512_IFMA, /* icelake-server */
  LLMC_CPU_LEVEL_AVX512_AMX = LLMC_CPU_LEVEL_AVX512_VNNI | LLMC_CPU_AMX
};

/* One level the library holds kernels for. */
typedef struct llmc_isa {
  const char *name; /* "avx512-vnni" */
  uint32_t features; /* LLMC_CPU_* bits, all of them needed */
  const void *kernels; /* the plan's own table of function pointers */
} llmc_isa;

/* A file beside the library: its header (llmc_artifact.h) must hold this size and id. `name` NULL: the model has none. */
typedef struct llmc_plan_file {
  const char *name; /* without a folder */
  uint64_t size; /* bytes, header included */
  uint8_t id[32];
} llmc_plan_file;

typedef struct llmc_plan {
  uint32_t struct_size; /* sizeof(llmc_plan) */
  uint32_t abi_version; /* LLMC_PLAN_VERSION */
  const char *model_name; /* what the checkpoint calls itself; never NULL */
  int32_t vocab;
  int32_t row_floats; /* of a row of results: vocab, or of a model that embeds what its head gives, hidden or the labels of a classifier */
  int32_t row_stride; /* row_floats rounded up to 16 */
  int32_t hidden;
  int32_t layers;
  int32_t context; /* trained context length, in tokens */
  int32_t max_step_tokens; /* 128 */
  uint64_t arena_bytes; /* of a step of max_step_tokens, per session; not per worker */
  int32_t n_cache_groups;
  int32_t n_isas;
  const llmc_cache_group *cache_groups;
  const llmc_isa *isas; /* best first; the last is the floor of the library */
  llmc_plan_file weights;
  llmc_plan_file tokenizer;
  uint64_t step_bytes; /* of weights that a step of one token reads */
  int32_t syncs; /* barriers of a step of one token */
  int32_t n_labels;
  const char *const *labels; /* what the ops of a step are called in a profile */
  int32_t n_classes; /* of a classifier; otherwise 0 */
  const char *const *classes; /* the names of its scores, in their order */
  bool embeds; /* rows of results are states of tokens, or what a head makes of pooled ones: no logits, and nothing is generated */
  bool encoder; /* a step holds whole sequences, whose tokens see each other on both sides, and leaves nothing behind. It embeds */
  bool normalize; /* whether a pooled row is brought to length 1 unless asked otherwise */
  int32_t pooling; /* llmc_pooling of a model that embeds, unless asked otherwise */
  int32_t pooled; /* llmc_pooling that a row of results comes from, where layers follow it: then there is no other; or 0 */
  int32_t segments; /* an encoder tells apart; 0 or more */
  void (*step)(const llmc_step *step, llmc_worker *worker); /* called by all workers at once; returns when this worker is done */
  const struct llmc_gpu_plan *gpu; /* llmc_gpu_plan.h; NULL: compiled for processors alone. Then n_isas is at least 1 */
} llmc_plan;

extern const llmc_plan llmc_model_plan; /* defined by the generated file */

#endif
