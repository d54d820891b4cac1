/* llmc: running compiled language models. This header is the manual. C99, C11 and C++; link with libllmc.
**
**     llmc_error error;
**     llmc_model *model;
**     llmc_session *session;
**     if (llmc_model_open("model.llmc", NULL, &error, &model) != LLMC_OK) { puts(error.text); return 1; }
**     if (llmc_session_open(model, NULL, &error, &session) == LLMC_OK) {
**       ... llmc_session_step(), llmc_generate() ...
**       llmc_session_close(session);
**     }
**     llmc_model_close(model);
**
** Words. A *model* is a mapped artifact, immutable. A *session* owns threads, memory for one step and a pool of cache pages. A
** *sequence* is a row of tokens in a session, with its cache. A *step* is one forward pass over tokens appended to one or more
** sequences. *Logits* are the scores before softmax, one per token id.
**
** Threads. A model and a vocabulary may be used by any number of threads at once. A session, and whatever was opened from it, belongs
** to one thread at a time; only llmc_session_cancel() may be called from another. Several sessions of one model run side by side.
**
** Errors. A function returns a status; the text for people lies in the llmc_error passed to the function that opens something, and
** in the session afterwards (llmc_session_error). A failed call has no effect unless its comment says otherwise. NULL where an object
** is needed, a closed session's sequence, a number out of range: LLMC_ERR_ARG. The library never aborts, exits, prints, reads
** environment variables or installs signal handlers.
**
** Structs. Those with `struct_size` grow at the end: set it to sizeof the struct, and everything not set to 0 (0 is the default of
** every option). NULL for a pointer to options means all defaults. */
#ifndef LLMC_H
#define LLMC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#pragma GCC visibility push(default) /* in a library compiled with hidden symbols, these are not */
#endif

typedef enum llmc_status {
  LLMC_OK = 0,
  LLMC_ERR_ARG = 1, /* an argument makes no sense */
  LLMC_ERR_IO = 2, /* a file cannot be read */
  LLMC_ERR_FORMAT = 3, /* not an llmc artifact, truncated, altered, or of a version this library does not know */
  LLMC_ERR_NOMEM = 4, /* the allocator or the system has no memory, or no thread, left */
  LLMC_ERR_CPU = 5, /* the artifact has no code for this processor or platform */
  LLMC_ERR_FULL = 6, /* all sequences or all cache pages of the session are in use */
  LLMC_ERR_CONTEXT = 7, /* a sequence would grow beyond the session's context */
  LLMC_ERR_CANCELLED = 8, /* llmc_session_cancel() was called */
  LLMC_ERR_SPACE = 9, /* the caller's buffer is too small; the needed size has been stored */
  LLMC_ERR_DEVICE = 10 /* no such GPU, no code for it, too little memory on it, or it failed */
} llmc_status;

/* One word for a status, for logs. Never NULL, also for a number that is no status. */
const char *llmc_status_name(llmc_status status);

/* What went wrong, in one sentence, ended by a 0. Empty after success. */
typedef struct llmc_error {
  char text[400];
} llmc_error;

/* Memory functions. alloc returns memory aligned to `align` (a power of two, at least 8), not necessarily zeroed, or NULL; free is
** never given NULL. Both may be called by any thread that uses the model. Weights and code are mapped and do not pass through here. */
typedef struct llmc_allocator {
  void *(*alloc)(void *user, size_t size, size_t align);
  void (*free)(void *user, void *memory);
  void *user;
} llmc_allocator;

typedef struct llmc_model llmc_model;
typedef struct llmc_session llmc_session;
typedef struct llmc_sampler llmc_sampler;
typedef struct llmc_generation llmc_generation;
typedef struct llmc_vocabulary llmc_vocabulary;

/* ---- Models ---------------------------------------------------------------------------------------------------------------- */

typedef struct llmc_model_options {
  size_t struct_size;
  const llmc_allocator *allocator; /* copied; NULL: malloc and free. Sessions of the model use it too */
  const char *isa; /* use this level of the artifact ("avx2"), which the processor must have; NULL: the best one it has */
  const char *device; /* where to compute: "cpu", "cuda", "cuda:1", "rocm"; "gpu" is the first GPU that works. NULL: a GPU if the
                      ** artifact has code for one and it works, otherwise the processor; llmc_model_info says which it became */
} llmc_model_options;

/* Opens a compiled model directory: checks that every file it lists is there in its full size, loads the code for this platform and
** maps the weights, which the system reads ahead in the background. Nothing is copied, or hashed (`llmc verify` does that).
**
** path   directory that holds artifact.bin; not kept after the call.
** error  takes the text on failure; may be NULL.
** out    on LLMC_OK a model the caller closes with llmc_model_close(); otherwise NULL.
**
** Returns LLMC_ERR_IO, LLMC_ERR_FORMAT (the text names the file), LLMC_ERR_CPU, LLMC_ERR_NOMEM, LLMC_ERR_ARG. */
llmc_status llmc_model_open(const char *path, const llmc_model_options *options, llmc_error *error, llmc_model **out);

/* Closes a model. NULL is fine. LLMC_ERR_ARG, and nothing happens, while one of its sessions or samplers is open. */
llmc_status llmc_model_close(llmc_model *model);

typedef struct llmc_model_info {
  size_t struct_size; /* set by the caller */
  const char *name; /* what the checkpoint called itself; lives as long as the model */
  const char *isa; /* level in use; lives as long as the model */
  int32_t vocab; /* token ids are 0 .. vocab - 1 */
  int32_t hidden;
  int32_t layers;
  int32_t context; /* trained context length in tokens */
  int32_t max_step_tokens; /* tokens one llmc_session_step() takes */
  int32_t page_tokens; /* tokens a cache page holds */
  uint64_t page_bytes; /* bytes of one page of all layers that keep every position */
  uint64_t weights_bytes; /* size of the mapped weights file */
  uint64_t arena_bytes; /* working memory of a session, beside its pages and logits */
  uint64_t state_bytes; /* what recurrent layers keep of a sequence, whatever its length; 0 if there are none */
  int32_t row_floats; /* floats of a row of results: vocab, or of an embedding, or a classifier's labels */
  int32_t encoder; /* not 0: the model embeds texts, llmc_embed(), or scores them, llmc_classify(), and generates none */
  int32_t pooling; /* its llmc_pooling */
  int32_t normalize; /* not 0: its pooled embeddings have length 1 */
  int32_t segments; /* it tells apart */
  const char *device; /* "cpu", or the GPU code in use: "cuda:sm_90a"; lives as long as the model */
  uint64_t window_bytes; /* the most that layers with a window keep of a sequence, whatever its length; 0 if there are none */
  int32_t labels; /* scores that a classifier gives; 0: the model is none */
} llmc_model_info;

llmc_status llmc_model_get_info(const llmc_model *model, llmc_model_info *info);

/* What score `number` of a classifier stands for; lives as long as the model. NULL if there is no such score. */
const char *llmc_model_label(const llmc_model *model, int32_t number);

/* The model's vocabulary, or NULL if it was compiled without one. Closed with the model, not by the caller. */
const llmc_vocabulary *llmc_model_vocabulary(const llmc_model *model);

/* ---- Text and tokens ------------------------------------------------------------------------------------------------------- */

/* Opens a vocabulary that was compiled on its own. data is copied. */
llmc_status llmc_vocabulary_open(const void *data, size_t size, const llmc_allocator *allocator, llmc_error *error,
                                 llmc_vocabulary **out);

/* Closes what llmc_vocabulary_open() gave. NULL is fine; a model's own vocabulary is refused with LLMC_ERR_ARG. */
llmc_status llmc_vocabulary_close(llmc_vocabulary *vocabulary);

enum {
  LLMC_ADD_SPECIAL = 1, /* tokenize: add the tokens the model expects around a text (BOS, EOS), if it expects any */
  LLMC_PARSE_SPECIAL = 2, /* tokenize: text that spells a control token becomes that token. Never for text from strangers */
  LLMC_SHOW_SPECIAL = 4 /* detokenize: control tokens give their text instead of nothing */
};

/* Text to token ids.
**
** text, size  any bytes, 0 included; what is not UTF-8 is handled as the model's tokenizer does.
** flags       LLMC_ADD_SPECIAL and LLMC_PARSE_SPECIAL, added.
** tokens      room for `capacity` ids; may be NULL if capacity is 0.
** count       number of ids of the whole text, also with LLMC_ERR_SPACE (then nothing useful is in tokens).
**
** At most 3 * size + 5 ids come out, or more where a tokenizer rewrites characters to longer texts: LLMC_ERR_SPACE and `count` say. */
llmc_status llmc_tokenize(const llmc_vocabulary *vocabulary, const char *text, size_t size, uint32_t flags, int32_t *tokens,
                          size_t capacity, size_t *count);

/* Two texts to the token ids of one, by the template that the model was trained with: [CLS] text [SEP] pair [SEP], or as its tokenizer
** has it. segments: which of the two a token belongs to, [capacity] as well; may be NULL. Otherwise as llmc_tokenize(), whose
** LLMC_ADD_SPECIAL is implied. LLMC_ERR_ARG if the vocabulary has no template for two texts. At most 3 * (text_size + pair_size) + 16
** ids come out, but as there. */
llmc_status llmc_tokenize_pair(const llmc_vocabulary *vocabulary, const char *text, size_t text_size, const char *pair, size_t pair_size,
                               uint32_t flags, int32_t *tokens, int32_t *segments, size_t capacity, size_t *count);

/* Token ids to bytes, not ended by a 0; a token may hold part of a UTF-8 character. `size` gets the number of bytes of the whole
** text, also with LLMC_ERR_SPACE. flags: LLMC_SHOW_SPECIAL. LLMC_ERR_ARG if an id is outside the vocabulary. */
llmc_status llmc_detokenize(const llmc_vocabulary *vocabulary, const int32_t *tokens, size_t count, uint32_t flags, char *text,
                            size_t capacity, size_t *size);

/* ---- Sessions and sequences ------------------------------------------------------------------------------------------------ */

typedef struct llmc_session_options {
  size_t struct_size;
  int32_t context; /* most tokens a sequence may hold; 0: the trained context length, which is also the most */
  int32_t max_sequences; /* open at the same time; 0: 1. At most 4096 */
  int32_t max_pages; /* cache pages over all sequences; 0: enough for max_sequences full ones. Memory grows with use, up to this */
  int32_t threads; /* workers, this thread included; 0: the cores this process may use. At most 1024 */
  int32_t profile; /* not 0: measure what llmc_session_profile() tells; some nanoseconds an op */
  int32_t eager; /* not 0: on a GPU, launch every kernel of every step, where otherwise small steps are recorded once and replayed */
} llmc_session_options;

/* error and out as in llmc_model_open(). Returns LLMC_ERR_NOMEM, LLMC_ERR_ARG. */
llmc_status llmc_session_open(llmc_model *model, const llmc_session_options *options, llmc_error *error, llmc_session **out);

/* Closes a session with all its sequences; ends its threads. NULL is fine. LLMC_ERR_ARG while a generation of it is open. */
llmc_status llmc_session_close(llmc_session *session);

/* The sentence about the last call on this session that failed. Never NULL; valid until the next call on it. */
const char *llmc_session_error(const llmc_session *session);

/* Makes the llmc_session_prefill() or generation that runs in another thread return LLMC_ERR_CANCELLED after its current step;
** without one, the next. Cancelling twice cancels once. */
llmc_status llmc_session_cancel(llmc_session *session);

/* Opens an empty sequence; *sequence is a small number, used again after closing. LLMC_ERR_FULL when max_sequences are open. */
llmc_status llmc_sequence_open(llmc_session *session, int32_t *sequence);

/* Forgets the tokens from position `length` on; 0 empties the sequence. LLMC_ERR_ARG if it is shorter; if it would keep tokens and the
** model has recurrent layers (llmc_model_info.state_bytes), which keep no past; or if that is too far back for layers with a window
** (window_bytes), which forget what their window has left behind: 64 tokens are always possible. */
llmc_status llmc_sequence_truncate(llmc_session *session, int32_t sequence, int32_t length);

/* Frees a sequence and its pages. */
llmc_status llmc_sequence_close(llmc_session *session, int32_t sequence);

/* Number of tokens in a sequence: the position the next one gets. */
llmc_status llmc_sequence_length(const llmc_session *session, int32_t sequence, int32_t *length);

/* ---- Steps ----------------------------------------------------------------------------------------------------------------- */

/* Tokens to append: to sequence sequences[i] the next counts[i] of tokens. */
typedef struct llmc_batch {
  size_t struct_size;
  const int32_t *tokens; /* [sum of counts], 1 .. max_step_tokens of them */
  const int32_t *sequences; /* [n_sequences], no two the same */
  const int32_t *counts; /* [n_sequences], each at least 1 */
  int32_t n_sequences;
  int32_t n_rows; /* how many tokens' logits are wanted; -1: of every token, in order, `rows` unused */
  const int32_t *rows; /* [n_rows] indices into tokens, strictly ascending */
  const int32_t *segments; /* of an encoder, [sum of counts]: which of two texts a token belongs to, 0 or 1. NULL: 0 */
  int32_t on_device; /* not 0: on a GPU the logits stay there until llmc_session_sample() or llmc_session_logits() asks about them,
                     ** and the step may still run when the call returns; what fails then shows there */
} llmc_batch;

/* One forward pass. The logits of a token do not depend, to the bit, on what else is in the batch, on how its prompt was cut into
** steps, or on the number of threads. Returns LLMC_ERR_ARG, LLMC_ERR_CONTEXT, LLMC_ERR_FULL, LLMC_ERR_NOMEM; a refused batch appends
** nothing. */
llmc_status llmc_session_step(llmc_session *session, const llmc_batch *batch);

/* Appends any number of tokens to one sequence, in steps of max_step_tokens; wants the logits of the last one, which is row 0.
** Refused as a whole when they do not fit. After LLMC_ERR_CANCELLED the sequence holds the steps that were done. */
llmc_status llmc_session_prefill(llmc_session *session, int32_t sequence, const int32_t *tokens, size_t count);

/* Logits of wanted row `row` of the last step: `vocab` floats, valid until the next step; NULL if there is no such row, or if a GPU
** failed to give it (llmc_batch.on_device). */
const float *llmc_session_logits(const llmc_session *session, int32_t row);

/* What the workers of a session did in all its steps so far under one name: an op of the model, of all layers. */
typedef struct llmc_profile {
  size_t struct_size; /* set by the caller */
  const char *name; /* such as "linear ffn.down"; lives as long as the model */
  uint64_t calls; /* of all workers together; small ops are done by one of them */
  uint64_t work_ns; /* of all workers together */
  uint64_t wait_ns; /* of all workers together: for the others to finish this op */
} llmc_profile;

/* Names are numbered from 0 in the order of their first use in a step. LLMC_ERR_ARG when there is no such number, or the session was
** opened without `profile`. */
llmc_status llmc_session_profile(llmc_session *session, int32_t number, llmc_profile *profile);

/* What a session takes of memory, besides the mapped weights. Bytes. */
typedef struct llmc_memory {
  size_t struct_size; /* set by the caller */
  uint64_t cache_bytes; /* pages and states that its sequences have now */
  uint64_t cache_peak_bytes; /* the most of them that were ever in use: what stays resident */
  uint64_t arena_bytes; /* values of a step */
  uint64_t logits_bytes;
} llmc_memory;

llmc_status llmc_session_memory(const llmc_session *session, llmc_memory *memory);

/* ---- Embeddings ------------------------------------------------------------------------------------------------------------ */

typedef enum llmc_pooling {
  LLMC_POOLING_DEFAULT = 0, /* as the checkpoint says */
  LLMC_POOLING_NONE = 1, /* the state of every token */
  LLMC_POOLING_MEAN = 2, /* the mean of all states */
  LLMC_POOLING_CLS = 3, /* the state of the first token */
  LLMC_POOLING_LAST = 4, /* the state of the last token */
  LLMC_POOLING_RANK = 5 /* the scores that a classifier gives to its labels, as they are: before softmax or sigmoid */
} llmc_pooling;

typedef struct llmc_embed_options {
  size_t struct_size;
  const int32_t *tokens; /* the text, [n_tokens], 1 .. max_step_tokens of them */
  const int32_t *segments; /* [n_tokens], as in llmc_batch; NULL: 0 */
  size_t n_tokens;
  llmc_pooling pooling;
  int32_t normalize; /* > 0: what comes out has length 1; < 0: it is left as it is; 0: as the checkpoint says */
} llmc_embed_options;

/* What an embedding model makes of a text: row_floats floats, or with LLMC_POOLING_NONE as many for each token. A classifier gives the
** scores of its labels. A model with layers after its pooling (a classifier is one) has no other. Takes one of the session's sequences
** for the time of the call.
**
** out   room for `capacity` floats; may be NULL if capacity is 0.
** size  floats of the result, also with LLMC_ERR_SPACE, when nothing has been computed.
**
** Returns LLMC_ERR_ARG, also for a model that generates text; LLMC_ERR_CONTEXT, LLMC_ERR_SPACE, LLMC_ERR_FULL, LLMC_ERR_NOMEM. */
llmc_status llmc_embed(llmc_session *session, const llmc_embed_options *options, float *out, size_t capacity, size_t *size);

typedef struct llmc_classify_options {
  size_t struct_size;
  const char *text; /* any bytes */
  size_t text_size;
  const char *pair; /* a second text, such as the document that a query is matched with; NULL: there is none */
  size_t pair_size;
} llmc_classify_options;

/* The scores that a classifier or reranker gives to its labels (llmc_model_label()), before softmax or sigmoid: of a text, or of two as
** the model's own template puts them together (llmc_tokenize_pair()).
**
** scores  room for `capacity` floats; may be NULL if capacity is 0.
** count   scores there are, also with LLMC_ERR_SPACE, when nothing has been computed.
**
** Returns LLMC_ERR_ARG for a model that is no classifier, and where there is no template for two texts; LLMC_ERR_CONTEXT for texts that
** are too long: nothing is cut off; LLMC_ERR_SPACE, LLMC_ERR_FULL, LLMC_ERR_NOMEM. */
llmc_status llmc_classify(llmc_session *session, const llmc_classify_options *options, float *scores, size_t capacity, size_t *count);

/* ---- Sampling -------------------------------------------------------------------------------------------------------------- */

/* Applied in this order: repetition penalty, top_k, temperature, top_p, min_p, draw. */
typedef struct llmc_sampler_options {
  size_t struct_size;
  float temperature; /* logits are divided by it; 0: always the best token (of equals the lowest id), and nothing below matters */
  int32_t top_k; /* keep the k best; 0: all */
  float top_p; /* then keep the fewest best whose probabilities reach p; 0 or 1: all */
  float min_p; /* then drop tokens less likely than min_p times the best; 0: none */
  float repetition_penalty; /* > 0: logits of recent tokens are divided by it if positive, else multiplied; 0 or 1: none */
  int32_t repetition_window; /* how many recent tokens; 0: 64. At most 65536 */
  uint64_t seed; /* same seed, same logits: same tokens, on every machine */
} llmc_sampler_options;

llmc_status llmc_sampler_open(llmc_model *model, const llmc_sampler_options *options, llmc_error *error, llmc_sampler **out);
llmc_status llmc_sampler_close(llmc_sampler *sampler); /* NULL is fine */

/* Picks a token from `vocab` logits, which are not changed. A NaN counts as minus infinity. Does not record the token. */
llmc_status llmc_sample(llmc_sampler *sampler, const float *logits, int32_t *token);

/* llmc_sample() of row `row` of the session's last step. On a GPU the best tokens are found there, if they are all that the options
** depend on (greedy, or a top_k, with up to 128 candidates and a repetition penalty that is none or lowers), and the logits are not
** copied; the token is the same. LLMC_ERR_ARG, LLMC_ERR_DEVICE; the text is in the session. */
llmc_status llmc_session_sample(llmc_session *session, int32_t row, llmc_sampler *sampler, int32_t *token);

/* Records a token for the repetition penalty: prompt tokens and chosen ones. */
llmc_status llmc_sampler_accept(llmc_sampler *sampler, int32_t token);

/* ---- Generating text ------------------------------------------------------------------------------------------------------- */

typedef struct llmc_generate_options {
  size_t struct_size;
  const int32_t *tokens; /* the prompt, [n_tokens], at least one */
  size_t n_tokens;
  int32_t max_tokens; /* 0: until the model ends or the context is full */
  const llmc_sampler_options *sampler; /* NULL: greedy */
  const char *const *stop; /* texts that end the generation; not part of the output. Compared as bytes, across tokens */
  size_t n_stop; /* at most 64, each 1 .. 4096 bytes */
  int32_t ignore_end; /* not 0: tokens that end a text do not end the generation */
  int32_t show_special; /* not 0: control tokens give their text */
} llmc_generate_options;

typedef enum llmc_reason {
  LLMC_RUNNING = 0,
  LLMC_END_OF_TEXT = 1, /* the model produced a token that ends a text */
  LLMC_STOP_TEXT = 2, /* a stop text came */
  LLMC_MAX_TOKENS = 3,
  LLMC_CONTEXT_FULL = 4,
  LLMC_CALLER = 5 /* the callback of llmc_generate() said so */
} llmc_reason;

/* What one call of llmc_generation_next() brought. */
typedef struct llmc_piece {
  size_t struct_size; /* set by the caller */
  const char *text; /* ended by a 0; valid until the next call. Never cuts a UTF-8 character or a stop text in two */
  size_t size; /* bytes of text; 0 when the token's text is held back until more is known */
  int32_t token; /* the chosen id; -1 when none was chosen */
  llmc_reason reason; /* LLMC_RUNNING, or why this was the last piece */
} llmc_piece;

typedef struct llmc_timings {
  size_t struct_size; /* set by the caller */
  size_t prompt_tokens;
  size_t tokens; /* chosen by the sampler */
  uint64_t prompt_ns; /* in the prompt's steps */
  uint64_t decode_ns; /* in all later steps, and in choosing tokens */
} llmc_timings;

/* Starts a generation in a sequence of its own. The options' arrays are copied. Nothing is computed yet. Close it
** before its session. LLMC_ERR_CONTEXT if the prompt leaves no room for a token, LLMC_ERR_FULL if all sequences are open. A model
** without a vocabulary gives tokens without text and takes no stop texts. */
llmc_status llmc_generation_open(llmc_session *session, const llmc_generate_options *options, llmc_generation **out);

/* Computes the prompt (first call) or the last token, and chooses the next one. A failed call ends the generation; after the end:
** LLMC_ERR_ARG. */
llmc_status llmc_generation_next(llmc_generation *generation, llmc_piece *piece);

llmc_status llmc_generation_timings(const llmc_generation *generation, llmc_timings *timings);

/* Ends a generation, finished or not, and frees its sequence. NULL is fine. */
llmc_status llmc_generation_close(llmc_generation *generation);

/* Called with every piece that has text or is the last. Returns 0 to go on, anything else to stop. */
typedef int (*llmc_piece_callback)(void *user, const llmc_piece *piece);

/* The three functions above as one call. timings and reason may be NULL. */
llmc_status llmc_generate(llmc_session *session, const llmc_generate_options *options, llmc_piece_callback callback, void *user,
                          llmc_timings *timings, llmc_reason *reason);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
