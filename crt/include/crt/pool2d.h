/* 2-D pooling, int8; input and output have the same scale and zero point. Taps outside the
 * image do not count. dilation = 1. */
#ifndef CRT_POOL2D_H
#define CRT_POOL2D_H

#include "crt/kernel.h"

struct crt_pool2d_s8 {
    int32_t batch;                /* images, >= 1 */
    struct crt_shape in, out;     /* of one image, the same c */
    struct crt_window window;
    int32_t min, max;             /* fused activation: clamp of the output, [-128, 127] */
};

/* The mean, rounded to nearest, halves away from zero. */
void crt_average_pool2d_s8(const struct crt_pool2d_s8 *p, const int8_t *in, int8_t *out);
void crt_average_pool2d_s8_row(const struct crt_pool2d_s8 *p, const struct crt_rows *in, int32_t y, int8_t *out);

void crt_max_pool2d_s8(const struct crt_pool2d_s8 *p, const int8_t *in, int8_t *out);
void crt_max_pool2d_s8_row(const struct crt_pool2d_s8 *p, const struct crt_rows *in, int32_t y, int8_t *out);

#endif
