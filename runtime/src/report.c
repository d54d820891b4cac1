#define _POSIX_C_SOURCE 200809L
#include "report.h"

#include <stdbool.h>
#include <time.h>

static const char *const names[LLMC_PHASES] = {"load", "open", "tokenize", "session", "first_token"};

static double clock_ms(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

void llmc_report_begin(llmc_report *r) {
  r->phases[LLMC_PHASE_LOAD] = clock_ms(CLOCK_PROCESS_CPUTIME_ID);
  r->mark_ms = clock_ms(CLOCK_MONOTONIC);
}

void llmc_report_phase(llmc_report *r, llmc_phase ended) {
  double now = clock_ms(CLOCK_MONOTONIC);
  r->phases[ended] += now - r->mark_ms;
  r->mark_ms = now;
}

/* Entry `number` of the session's profile; false past the last one. */
static bool read_op(llmc_session *session, int32_t number, llmc_profile *out) {
  *out = (llmc_profile){.struct_size = sizeof *out};
  return number < LLMC_REPORT_OPS && llmc_session_profile(session, number, out) == LLMC_OK;
}

void llmc_report_first_token(llmc_report *r, llmc_session *session) {
  llmc_report_phase(r, LLMC_PHASE_FIRST);
  while (r->n_ops < LLMC_REPORT_OPS && read_op(session, r->n_ops, &r->prompt[r->n_ops])) r->n_ops++;
}

double llmc_report_open_ms(const llmc_report *r) {
  return r->phases[LLMC_PHASE_OPEN] + r->phases[LLMC_PHASE_TOKENIZE] + r->phases[LLMC_PHASE_SESSION];
}

double llmc_report_first_token_ms(const llmc_report *r) {
  return r->phases[LLMC_PHASE_LOAD] + llmc_report_open_ms(r) + r->phases[LLMC_PHASE_FIRST];
}

/* Milliseconds of one op on all workers: in the steps up to the first token, and in each step after it. */
typedef struct row {
  const char *name;
  double prompt_work, prompt_wait, step_work, step_wait;
} row;

static bool row_of(const llmc_report *r, llmc_session *session, const llmc_timings *t, int32_t number, row *out) {
  llmc_profile now;
  if (number >= r->n_ops || !read_op(session, number, &now)) return false;
  const llmc_profile *first = &r->prompt[number];
  double steps = t->tokens > 1 ? (double)(t->tokens - 1) : 1;
  *out = (row){now.name, (double)first->work_ns * 1e-6, (double)first->wait_ns * 1e-6,
               (double)(now.work_ns - first->work_ns) * 1e-6 / steps, (double)(now.wait_ns - first->wait_ns) * 1e-6 / steps};
  return true;
}

static double rate(size_t tokens, uint64_t ns) { return ns ? (double)tokens * 1e9 / (double)ns : 0; }

void llmc_report_text(const llmc_report *r, llmc_session *session, const llmc_timings *t, FILE *out) {
  row op;
  fputs("\nmilliseconds to the first token\n", out);
  for (int i = 0; i < LLMC_PHASES; i++) fprintf(out, "  %-36s%10.2f\n", names[i], r->phases[i]);
  fprintf(out, "  %-36s%10.2f\n", "together", llmc_report_first_token_ms(r));
  fprintf(out, "\n%-38s%20s%20s\n", "milliseconds of all workers", "prompt", "each later token");
  fprintf(out, "%-38s%10s%10s%10s%10s\n", "", "work", "wait", "work", "wait");
  for (int32_t i = 0; row_of(r, session, t, i, &op); i++)
    fprintf(out, "  %-36s%10.3f%10.3f%10.3f%10.3f\n", op.name, op.prompt_work, op.prompt_wait, op.step_work, op.step_wait);
  fprintf(out, "\nprompt  %9.1f ms, %zu tokens, %.1f tokens/s\ndecode  %9.1f ms, %zu tokens, %.1f tokens/s\n", (double)t->prompt_ns * 1e-6,
          t->prompt_tokens, rate(t->prompt_tokens, t->prompt_ns), (double)t->decode_ns * 1e-6, t->tokens,
          rate(t->tokens ? t->tokens - 1 : 0, t->decode_ns));
}

void llmc_report_json(const llmc_report *r, llmc_session *session, const llmc_timings *t, FILE *out) {
  row op;
  fputs(", \"phases_ms\": {", out);
  for (int i = 0; i < LLMC_PHASES; i++) fprintf(out, "%s\"%s\": %.3f", i ? ", " : "", names[i], r->phases[i]);
  fputs("}, \"ops\": [", out);
  for (int32_t i = 0; row_of(r, session, t, i, &op); i++)
    fprintf(out, "%s{\"name\": \"%s\", \"prompt_work_ms\": %.4f, \"prompt_wait_ms\": %.4f, \"token_work_ms\": %.4f, \"token_wait_ms\": %.4f}",
            i ? ", " : "", op.name, op.prompt_work, op.prompt_wait, op.step_work, op.step_wait);
  fputc(']', out);
}
