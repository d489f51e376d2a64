/* Parts of the convolution kernels: the loop over all rows, and the general 2-D convolution of a row. */
#ifndef CRT_CONV2D_BODY_H
#define CRT_CONV2D_BODY_H

#include "crt/conv2d.h"
#include "crt/dot4.h"
#include "crt/window.h"

/* Whole tensors, row by row. `row` is a constant where this is called: the compiler then calls it directly, and the
 * stack that a model needs can be proved. */
static inline void crt_conv2d_whole(const struct crt_conv2d_s8 *p, const int8_t *in, int8_t *out,
                                    void row(const struct crt_conv2d_s8 *p, const struct crt_rows *in,
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

/* The part of a line inside the image: `runs` runs of `length` neighbouring values, `step` apart. */
struct crt_runs {
    int32_t runs, length, step;
};

static inline struct crt_runs crt_runs(const struct crt_conv2d_s8 *p, int32_t depth, const struct crt_view *view)
{
    const int32_t step = p->window.dilation.w * p->in.c;
    if (step == depth) {
        return (struct crt_runs){1, view->inside, 0};
    }
    return (struct crt_runs){view->inside / depth, view->inside > 0 ? depth : 0, step};
}

/* One pixel: where it is read from and written to. */
struct crt_conv2d_pixel {
    struct crt_view view;
    struct crt_runs runs;
    struct crt_output output;
    int32_t in_zero;
};

/* Four output channels from `first` on of the group whose input channels start at `channel`. */
CRT_OUT_OF_LINE void crt_conv2d_block(const struct crt_conv2d_pixel *pixel, int32_t channel, int32_t first,
                                      const int8_t *w)
{
    const struct crt_view *view = &pixel->view;
    struct crt_sums4 sums = crt_start4(view, pixel->in_zero, w);
    w += 4 * (view->first * view->line + view->before);
    for (int32_t i = view->first; i < view->end; i++) {
        const int8_t *x = crt_row(&view->rows, view->y + i * view->dilation) + channel;
        int32_t run = pixel->runs.runs;
        do {
            sums = crt_dot4(sums, x, w, pixel->runs.length);
            w += 4 * pixel->runs.length;
            x += pixel->runs.step;
        } while (--run > 0);
        w += 4 * (view->line - view->inside);
    }
    crt_store4(sums.a, sums.b, sums.c, sums.d, &pixel->output, first);
}

/* All output channels of one pixel. */
static inline void crt_conv2d_pixel(const struct crt_conv2d_s8 *p, struct crt_conv2d_pixel *pixel, int32_t depth)
{
    const int32_t block_size = 4 * pixel->view.lines * pixel->view.line;
    const int8_t *w = p->weights;
    for (int32_t channel = 0; channel < p->in.c; channel += depth) {
        for (int32_t first = 0; first < pixel->output.n; first += 4) {
            crt_conv2d_block(pixel, channel, first, w);
            w += block_size;
        }
        pixel->output.channels += pixel->output.n;
        pixel->output.out += pixel->output.n;
    }
}

/* crt_conv2d_s8_row. Out of line: in the loop over rows it would have fewer registers. */
CRT_OUT_OF_LINE void crt_conv2d_body(const struct crt_conv2d_s8 *p, const struct crt_rows *in, int32_t y, int8_t *out)
{
    const int32_t depth = p->in.c / p->groups, n = p->out.c / p->groups;
    struct crt_conv2d_pixel pixel = {
        .view = crt_view(&p->window, in, y, p->in, depth),
        .output = {p->channels, out, n, p->out_zero, p->min, p->max}, .in_zero = p->in_zero,
    };
    for (int32_t x = 0; x < p->out.w; x++) {
        crt_view_move(&pixel.view, &p->window, in, x, p->in, depth);
        pixel.runs = crt_runs(p, depth, &pixel.view);
        pixel.output.channels = p->channels;
        crt_conv2d_pixel(p, &pixel, depth);
    }
}

#endif
