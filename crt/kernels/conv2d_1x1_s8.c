#include "crt/conv2d.h"

#include "crt/conv2d_body.h"
#include "crt/dot4.h"

void crt_conv2d_1x1_s8_row(const struct crt_conv2d_s8 *p, const struct crt_rows *in, int32_t y, int8_t *out)
{
    struct crt_output output = {p->channels, out, p->out.c, p->out_zero, p->min, p->max};
    const int8_t *x = crt_row(in, y * p->window.stride.h);
    for (int32_t column = 0; column < p->out.w; column++) {
        crt_dense4(x, p->in.c, p->weights, &output);
        x += p->window.stride.w * p->in.c;
        output.out += p->out.c;
    }
}

void crt_conv2d_1x1_s8(const struct crt_conv2d_s8 *p, const int8_t *in, int8_t *out)
{
    crt_conv2d_whole(p, in, out, crt_conv2d_1x1_s8_row);
}
