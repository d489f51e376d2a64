#include "crt/fixed_point.h"
#include "crt/pool2d_body.h"
#include "crt/window.h"

static int32_t sum_of(const struct crt_rows *in, struct crt_taps rows, struct crt_taps cols, int32_t depth,
                      int32_t channel)
{
    int32_t sum = 0;
    for (int32_t i = rows.first; i < rows.end; i++) {
        const int8_t *x = crt_row(in, rows.start + i) + (cols.start + cols.first) * depth + channel;
        for (int32_t j = cols.first; j < cols.end; j++) {
            sum += *x;
            x += depth;
        }
    }
    return sum;
}

void crt_average_pool2d_s8_row(const struct crt_pool2d_s8 *p, const struct crt_rows *in, int32_t y, int8_t *out)
{
    const struct crt_taps rows = crt_taps_of_row(&p->window, y, p->in.h);
    for (int32_t x = 0; x < p->out.w; x++) {
        const struct crt_taps cols = crt_taps_of_column(&p->window, x, p->in.w);
        const int32_t n = (rows.end - rows.first) * (cols.end - cols.first);
        for (int32_t c = 0; c < p->in.c; c++) {
            const int32_t sum = sum_of(in, rows, cols, p->in.c, c);
            const int32_t mean = (sum > 0 ? sum + n / 2 : sum - n / 2) / n;
            *out++ = (int8_t)crt_clamp(mean, p->min, p->max);
        }
    }
}

void crt_average_pool2d_s8(const struct crt_pool2d_s8 *p, const int8_t *in, int8_t *out)
{
    crt_pool2d_whole(p, in, out, crt_average_pool2d_s8_row);
}
