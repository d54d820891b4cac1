/* `run --timings`: where the time from the start of the process to the first token went, and that of every token after it. */
#ifndef LLMC_REPORT_H
#define LLMC_REPORT_H

#include <stdint.h>
#include <stdio.h>

#include "llmc.h"

enum { LLMC_REPORT_OPS = 64 }; /* more ops than a model has names for; what is beyond is left out of the table, not of the sums */

typedef enum llmc_phase {
  LLMC_PHASE_LOAD, /* of the program, before main: processor time, for the clock starts in main */
  LLMC_PHASE_OPEN, /* options and prompt read, library loaded, files mapped */
  LLMC_PHASE_TOKENIZE,
  LLMC_PHASE_SESSION, /* threads started, memory for a step allocated */
  LLMC_PHASE_FIRST, /* prompt computed, first token chosen and shown */
  LLMC_PHASES
} llmc_phase;

typedef struct llmc_report {
  double mark_ms; /* the clock when a phase ended last */
  double phases[LLMC_PHASES]; /* ms */
  llmc_profile prompt[LLMC_REPORT_OPS]; /* of the steps up to the first token */
  int32_t n_ops;
} llmc_report;

void llmc_report_begin(llmc_report *report);
void llmc_report_phase(llmc_report *report, llmc_phase ended);

/* The phase LLMC_PHASE_FIRST has ended; remembers what its steps did. */
void llmc_report_first_token(llmc_report *report, llmc_session *session);

double llmc_report_open_ms(const llmc_report *report); /* up to the prompt's first step */
double llmc_report_first_token_ms(const llmc_report *report);

void llmc_report_text(const llmc_report *report, llmc_session *session, const llmc_timings *timings, FILE *out);

/* Members of a JSON object, after one that is there: "phases_ms" and "ops". */
void llmc_report_json(const llmc_report *report, llmc_session *session, const llmc_timings *timings, FILE *out);

#endif
