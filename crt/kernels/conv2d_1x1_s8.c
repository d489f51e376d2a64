#include "crt/conv2d.h"

#include "crt/dot4.h"
#include "crt/window.h"

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
    for (int32_t image = 0; image < p->batch; image++) {
        const struct crt_rows rows = crt_dense_rows(in, p->in);
        for (int32_t y = 0; y < p->out.h; y++) {
            crt_conv2d_1x1_s8_row(p, &rows, y, out);
            out += p->out.w * p->out.c;
        }
        in += crt_shape_size(p->in);
    }
}
