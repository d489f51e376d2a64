/* A model of two steps for tests of the link, with state: it counts its runs, so that a run
 * too many or too few shows in every later output.
 *
 *   scale_0: scaled[i] = int8(3 * values[i] + bias[i % 4] + runs); `values` is overwritten
 *   sum_1:   sums[j] = sum of scaled[i] with i % 4 = j; then runs += 1
 *
 * inputs: values int8[SIZE], bias int32[4]; outputs: sums int32[4], scaled int8[SIZE]. */
#ifndef TINY_MODEL_H
#define TINY_MODEL_H

#include "crt/runtime.h"

#define TINY_SIZE_MAX 600

/* Sets SIZE, at most TINY_SIZE_MAX, and the digest of the model. */
void tiny_model_setup(uint32_t size, const char *digest);
extern struct crt_model tiny_model;
extern uint64_t tiny_ticks;   /* 1000 more after scale_0, 24 more after sum_1 */

#endif
