#include "crt/depthwise_conv2d.h"

#include "crt/depthwise_conv2d_body.h"
#include "crt/dot4.h"
#include "crt/window.h"

/* One tap of four channels. */
static inline struct crt_sums4 add_tap(struct crt_sums4 sums, const int8_t *x, const int8_t *w)
{
    sums.a += x[0] * w[0];
    sums.b += x[1] * w[1];
    sums.c += x[2] * w[2];
    sums.d += x[3] * w[3];
    return sums;
}

/* One pixel: where it is read from and written to; `step` from tap to tap. */
struct pixel {
    struct crt_view view;
    struct crt_output output;
    int32_t step, in_zero;
};

/* Four channels from `channel` on. */
CRT_OUT_OF_LINE void make4(const struct pixel *pixel, int32_t channel, const int8_t *w)
{
    const struct crt_view *view = &pixel->view;
    const int32_t step = pixel->step;
    struct crt_sums4 sums = crt_start4(view, pixel->in_zero, w);
    w += 4 * (view->first * view->line + view->before);
    for (int32_t i = view->first; i < view->end; i++) {
        const int8_t *x = crt_row(&view->rows, view->y + i * view->dilation) + channel;
        const int8_t *v = w;
        for (const int8_t *end = w + 4 * view->inside; v != end; v += 4) {
            sums = add_tap(sums, x, v);
            x += step;
        }
        w += 4 * view->line;
    }
    crt_store4(sums.a, sums.b, sums.c, sums.d, &pixel->output, channel);
}

/* The taps inside the image of one channel. */
static int32_t sum_inside(const struct crt_view *view, int32_t step, int32_t channel, const int8_t *w)
{
    int32_t sum = 0;
    for (int32_t i = view->first; i < view->end; i++) {
        const int8_t *x = crt_row(&view->rows, view->y + i * view->dilation) + channel;
        const int8_t *v = w + 4 * (i * view->line + view->before);
        for (int32_t n = view->inside; n > 0; n--) {
            sum += *x * *v;
            x += step;
            v += 4;
        }
    }
    return sum;
}

/* The last channels, less than four. */
static void make_rest(const struct pixel *pixel, int32_t channel, const int8_t *w)
{
    const struct crt_view *view = &pixel->view;
    const int32_t n = pixel->output.n - channel;
    struct crt_sums4 sums = crt_start4(view, pixel->in_zero, w);
    sums.a += sum_inside(view, pixel->step, channel, w);
    if (n > 1) {
        sums.b += sum_inside(view, pixel->step, channel + 1, w + 1);
    }
    if (n > 2) {
        sums.c += sum_inside(view, pixel->step, channel + 2, w + 2);
    }
    crt_store4(sums.a, sums.b, sums.c, 0, &pixel->output, channel);
}

static void make_pixel(const struct pixel *pixel, const int8_t *w)
{
    const int32_t block_size = 4 * pixel->view.lines * pixel->view.line;
    int32_t channel = 0;
    for (; channel + 4 <= pixel->output.n; channel += 4) {
        make4(pixel, channel, w);
        w += block_size;
    }
    if (channel < pixel->output.n) {
        make_rest(pixel, channel, w);
    }
}

void crt_depthwise_conv2d_s8_row(const struct crt_depthwise_conv2d_s8 *p, const struct crt_rows *in, int32_t y,
                                 int8_t *out)
{
    struct pixel pixel = {
        .view = crt_view(&p->window, in, y, p->in, 1),
        .output = {p->channels, out, p->out.c, p->out_zero, p->min, p->max},
        .step = p->window.dilation.w * p->in.c, .in_zero = p->in_zero,
    };
    for (int32_t x = 0; x < p->out.w; x++) {
        crt_view_move(&pixel.view, &p->window, in, x, p->in, 1);
        make_pixel(&pixel, p->weights);
        pixel.output.out += p->out.c;
    }
}

void crt_depthwise_conv2d_s8(const struct crt_depthwise_conv2d_s8 *p, const int8_t *in, int8_t *out)
{
    crt_depthwise_conv2d_whole(p, in, out, crt_depthwise_conv2d_s8_row);
}
