#include "crt/conv2d.h"

#include "crt/conv2d_body.h"

void crt_conv2d_s8_row(const struct crt_conv2d_s8 *p, const struct crt_rows *in, int32_t y, int8_t *out)
{
    crt_conv2d_body(p, in, y, out);
}

void crt_conv2d_s8(const struct crt_conv2d_s8 *p, const int8_t *in, int8_t *out)
{
    crt_conv2d_whole(p, in, out, crt_conv2d_s8_row);
}
