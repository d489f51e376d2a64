/* Fully connected layer, int8: out[b][o] = requantised(bias[o] + sum over i of in[b][i] * weight[o][i]).
 *
 * Other than in the convolutions, the scaled sum is rounded once, to nearest, halves away from zero:
 * TensorFlow Lite's reference multiplies the sum by a double here and rounds that. The generator
 * proves for each layer that fixed point gives the same outputs; where it cannot, it calls the
 * variant that computes in double. */
#ifndef CRT_FULLY_CONNECTED_H
#define CRT_FULLY_CONNECTED_H

#include "crt/kernel.h"

struct crt_fully_connected_s8 {
    int32_t batch;                /* vectors, >= 1 */
    int32_t in, out;              /* elements of one vector */
    int32_t out_zero;             /* [-128, 127] */
    int32_t min, max;             /* fused activation: clamp of the output, [-128, 127] */
    const int8_t *weights;        /* [block of 4 outputs][in][4], the last block filled up with zeros */
    const struct crt_channel *channels; /* [out] */
};

void crt_fully_connected_s8(const struct crt_fully_connected_s8 *p, const int8_t *in, int8_t *out);

/* The same with the scale of each output as a double: about 200 instructions more an output. */
struct crt_fully_connected_f64_s8 {
    int32_t batch;                /* vectors, >= 1 */
    int32_t in, out;              /* elements of one vector */
    int32_t out_zero;             /* [-128, 127] */
    int32_t min, max;             /* fused activation: clamp of the output, [-128, 127] */
    const int8_t *weights;        /* as above */
    const int32_t *bias;          /* [out], the input's zero point is already in it */
    const double *scales;         /* [out], >= 0 */
};

void crt_fully_connected_f64_s8(const struct crt_fully_connected_f64_s8 *p, const int8_t *in, int8_t *out);

#endif
