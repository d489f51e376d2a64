/* Softmax over the last dimension, int8 to int8, in fixed point; the output's scale is 1/256,
 * its zero point -128. */
#ifndef CRT_SOFTMAX_H
#define CRT_SOFTMAX_H

#include "crt/kernel.h"

struct crt_softmax_s8 {
    int32_t batch, depth;         /* vectors; elements of one vector, [1, 4095] */
    int32_t multiplier, shift;    /* beta * input scale, as fixed point with 5 integer bits; shift in [0, 31] */
    int32_t diff_min;             /* differences to the largest element below this add nothing; <= 0 */
};

/* `out` may be `in`. */
void crt_softmax_s8(const struct crt_softmax_s8 *p, const int8_t *in, int8_t *out);

#endif
