/* Where a sliding window meets the image. For kernels only. */
#ifndef CRT_WINDOW_H
#define CRT_WINDOW_H

#include "crt/dot4.h"
#include "crt/kernel.h"

/* A window in one direction: tap i lies at start + i * dilation; the taps first <= i < end are
 * those inside the image, 0 <= first <= end <= kernel. */
struct crt_taps {
    int32_t start, first, end;
};

static inline struct crt_taps crt_taps(int32_t start, int32_t dilation, int32_t kernel, int32_t size)
{
    struct crt_taps taps = {start, 0, kernel};
    while (taps.first < kernel && start + taps.first * dilation < 0) {
        taps.first++;
    }
    while (taps.end > taps.first && start + (taps.end - 1) * dilation >= size) {
        taps.end--;
    }
    return taps;
}

/* Output row y. */
static inline struct crt_taps crt_taps_of_row(const struct crt_window *window, int32_t y, int32_t height)
{
    return crt_taps(y * window->stride_h - window->pad_top, window->dilation_h, window->kernel_h, height);
}

/* Output column x. */
static inline struct crt_taps crt_taps_of_column(const struct crt_window *window, int32_t x, int32_t width)
{
    return crt_taps(x * window->stride_w - window->pad_left, window->dilation_w, window->kernel_w, width);
}

/* The rows of one image of a dense tensor. */
static inline struct crt_rows crt_dense_rows(const int8_t *image, struct crt_shape shape)
{
    return (struct crt_rows){image, NULL, shape.w * shape.c};
}

static inline int32_t crt_shape_size(struct crt_shape shape)
{
    return shape.h * shape.w * shape.c;
}

/* The window of one output pixel over weights of [lines][line][4]. Only the part of it that is
 * inside the image is read; for the rest see crt_outside4. */
struct crt_view {
    struct crt_rows rows;         /* of the input, moved to the first column inside */
    int32_t y, dilation;          /* input row of line 0, rows from line to line */
    int32_t first, end;           /* lines inside the image */
    int32_t before, inside;       /* values of a line left of the image, and inside */
    int32_t line, lines;
};

/* `depth` values a tap. */
static inline struct crt_view crt_view(const struct crt_window *window, const struct crt_rows *in,
                                       struct crt_taps rows, struct crt_taps cols, int32_t depth, int32_t channels)
{
    struct crt_view view;
    view.rows = *in;
    if (cols.first < cols.end) {
        view.rows.base += (cols.start + cols.first * window->dilation_w) * channels;
    }
    view.y = rows.start;
    view.dilation = window->dilation_h;
    view.first = rows.first;
    view.end = rows.end;
    view.before = cols.first * depth;
    view.inside = (cols.end - cols.first) * depth;
    view.line = window->kernel_w * depth;
    view.lines = window->kernel_h;
    return view;
}

/* The sums of the weights of the taps outside the image, times the value that counts there. */
CRT_OUT_OF_LINE struct crt_sums4 crt_outside4(const struct crt_view *view, int32_t value, const int8_t *w)
{
    struct crt_sums4 sums = {0, 0, 0, 0};
    for (int32_t i = 0; i < view->lines; i++) {
        const int32_t skip = i >= view->first && i < view->end ? view->inside : 0;
        const int8_t *gap = w + 4 * view->before, *end = w + 4 * view->line;
        for (; w != end; w += 4) {
            if (w == gap) {
                w += 4 * skip;
                if (w == end) {
                    break;
                }
            }
            sums.a += w[0];
            sums.b += w[1];
            sums.c += w[2];
            sums.d += w[3];
        }
    }
    return (struct crt_sums4){sums.a * value, sums.b * value, sums.c * value, sums.d * value};
}

static inline struct crt_sums4 crt_start4(const struct crt_view *view, int32_t value, const int8_t *w)
{
    if (view->inside == view->line && view->end - view->first == view->lines) {
        return (struct crt_sums4){0, 0, 0, 0};
    }
    return crt_outside4(view, value, w);
}

#endif
