#include "crt/depthwise_conv2d.h"

#include "crt/conv2d_body.h"
#include "crt/depthwise_conv2d_body.h"

/* A depthwise convolution is a convolution in which every input channel is a group. */
void crt_depthwise_conv2d_multiplier_s8_row(const struct crt_depthwise_conv2d_s8 *p, const struct crt_rows *in,
                                            int32_t y, int8_t *out)
{
    const struct crt_conv2d_s8 conv = {
        .in = p->in, .out = p->out, .window = p->window, .groups = p->in.c,
        .in_zero = p->in_zero, .out_zero = p->out_zero, .min = p->min, .max = p->max,
        .weights = p->weights, .channels = p->channels,
    };
    crt_conv2d_body(&conv, in, y, out);
}

void crt_depthwise_conv2d_multiplier_s8(const struct crt_depthwise_conv2d_s8 *p, const int8_t *in, int8_t *out)
{
    crt_depthwise_conv2d_whole(p, in, out, crt_depthwise_conv2d_multiplier_s8_row);
}
