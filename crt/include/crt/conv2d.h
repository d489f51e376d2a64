/* 2-D convolution, int8 activations and weights, one scale per output channel. */
#ifndef CRT_CONV2D_H
#define CRT_CONV2D_H

#include "crt/kernel.h"

struct crt_conv2d_s8 {
    int32_t batch;                /* images, >= 1 */
    struct crt_shape in, out;     /* of one image */
    struct crt_window window;
    int32_t groups;               /* divides in.c and out.c */
    int32_t in_zero, out_zero;    /* zero points, [-128, 127] */
    int32_t min, max;             /* fused activation: clamp of the output, [-128, 127] */
    const int8_t *weights;        /* see each kernel */
    const struct crt_channel *channels; /* [out.c] */
};

/* Any window, any groups.
 * weights: [group][block of 4 output channels][kernel.h][kernel.w][in.c / groups][4], the last
 * block of each group filled up with zero weights. */
void crt_conv2d_s8(const struct crt_conv2d_s8 *p, const int8_t *in, int8_t *out);

/* Makes row y, 0 <= y < out.h, of one image from the input rows that its window reaches. */
void crt_conv2d_s8_row(const struct crt_conv2d_s8 *p, const struct crt_rows *in, int32_t y, int8_t *out);

/* The same for 1x1 windows without padding, groups = 1, any stride. Same weights. */
void crt_conv2d_1x1_s8(const struct crt_conv2d_s8 *p, const int8_t *in, int8_t *out);
void crt_conv2d_1x1_s8_row(const struct crt_conv2d_s8 *p, const struct crt_rows *in, int32_t y, int8_t *out);

#endif
