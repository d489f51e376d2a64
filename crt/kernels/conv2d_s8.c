#include "crt/conv2d.h"

#include "crt/conv2d_body.h"

void crt_conv2d_s8_row(const struct crt_conv2d_s8 *p, const struct crt_rows *in, int32_t y, int8_t *out)
{
    crt_conv2d_body(p, in, y, out);
}

void crt_conv2d_s8(const struct crt_conv2d_s8 *p, const int8_t *in, int8_t *out)
{
    for (int32_t image = 0; image < p->batch; image++) {
        const struct crt_rows rows = crt_dense_rows(in, p->in);
        for (int32_t y = 0; y < p->out.h; y++) {
            crt_conv2d_s8_row(p, &rows, y, out);
            out += p->out.w * p->out.c;
        }
        in += crt_shape_size(p->in);
    }
}
