/* Depthwise 2-D convolution, int8, one scale per output channel: output channel
 * c * multiplier + m is made from input channel c alone. */
#ifndef CRT_DEPTHWISE_CONV2D_H
#define CRT_DEPTHWISE_CONV2D_H

#include "crt/kernel.h"

struct crt_depthwise_conv2d_s8 {
    int32_t batch;                /* images, >= 1 */
    struct crt_shape in, out;     /* of one image; out.c = in.c * multiplier */
    struct crt_window window;
    int32_t multiplier;           /* >= 1 */
    int32_t in_zero, out_zero;    /* zero points, [-128, 127] */
    int32_t min, max;             /* fused activation: clamp of the output, [-128, 127] */
    const int8_t *weights;        /* see each kernel */
    const struct crt_channel *channels; /* [out.c] */
};

/* multiplier = 1, any window.
 * weights: [block of 4 channels][kernel.h][kernel.w][4], the last block filled up with zero weights. */
void crt_depthwise_conv2d_s8(const struct crt_depthwise_conv2d_s8 *p, const int8_t *in, int8_t *out);
void crt_depthwise_conv2d_s8_row(const struct crt_depthwise_conv2d_s8 *p, const struct crt_rows *in, int32_t y,
                                 int8_t *out);

/* Any multiplier, any window.
 * weights: [input channel][block of 4 of its output channels][kernel.h][kernel.w][4], the last block
 * of each input channel filled up with zero weights. */
void crt_depthwise_conv2d_multiplier_s8(const struct crt_depthwise_conv2d_s8 *p, const int8_t *in, int8_t *out);
void crt_depthwise_conv2d_multiplier_s8_row(const struct crt_depthwise_conv2d_s8 *p, const struct crt_rows *in,
                                            int32_t y, int8_t *out);

#endif
