/* The loop of the depthwise convolution kernels over all rows. */
#ifndef CRT_DEPTHWISE_CONV2D_BODY_H
#define CRT_DEPTHWISE_CONV2D_BODY_H

#include "crt/depthwise_conv2d.h"
#include "crt/window.h"

/* Whole tensors, row by row. `row` is a constant where this is called: the compiler then calls it directly, and the
 * stack that a model needs can be proved. */
static inline void crt_depthwise_conv2d_whole(const struct crt_depthwise_conv2d_s8 *p, const int8_t *in, int8_t *out,
                                              void row(const struct crt_depthwise_conv2d_s8 *p,
                                                        const struct crt_rows *in,
                                                       int32_t y, int8_t *out))
{
    for (int32_t image = 0; image < p->batch; image++) {
        const struct crt_rows rows = crt_dense_rows(in, p->in);
        for (int32_t y = 0; y < p->out.h; y++) {
            row(p, &rows, y, out);
            out += p->out.w * p->out.c;
        }
        in += crt_shape_size(p->in);
    }
}

#endif
