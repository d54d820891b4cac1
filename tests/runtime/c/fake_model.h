/* Numbers of the fake model. Sizes and ids of its files come from generated.h, which the test that wrote them makes. */
#ifndef FAKE_MODEL_H
#define FAKE_MODEL_H

#include <stdint.h>

#include "generated.h"

enum { FAKE_VOCAB = 300, FAKE_VOCAB_PADDED = 304, FAKE_CONTEXT = 1000, FAKE_STEP = 128, FAKE_WINDOW = 70 };

/* Ids below 256 are bytes. */
enum { FAKE_BOS = 256, FAKE_END = 257, FAKE_CONTROL = 258, FAKE_LONG = 259, FAKE_SMILE = 260 };

/* The logit of a token after a text with this hash, and the hash of a text. */
float fake_logit(uint64_t hash, int32_t token);
uint64_t fake_hash(const int32_t *tokens, int32_t n);

#endif
