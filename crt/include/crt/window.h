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

CRT_OUT_OF_LINE struct crt_taps crt_taps(int32_t start, int32_t dilation, int32_t kernel, int32_t size)
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
    return crt_taps(y * window->stride.h - window->pad.h, window->dilation.h, window->kernel.h, height);
}

/* Output column x. */
static inline struct crt_taps crt_taps_of_column(const struct crt_window *window, int32_t x, int32_t width)
{
    return crt_taps(x * window->stride.w - window->pad.w, window->dilation.w, window->kernel.w, width);
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

/* The windows of output row y over an input image of the shape `in`, with `depth` values a tap;
 * crt_view_move must follow. */
static inline struct crt_view crt_view(const struct crt_window *window, const struct crt_rows *rows, int32_t y,
                                       struct crt_shape in, int32_t depth)
{
    const struct crt_taps taps = crt_taps_of_row(window, y, in.h);
    return (struct crt_view){
        .rows = *rows, .y = taps.start, .dilation = window->dilation.h, .first = taps.first, .end = taps.end,
        .line = window->kernel.w * depth, .lines = window->kernel.h,
    };
}

/* To output column x. */
static inline void crt_view_move(struct crt_view *view, const struct crt_window *window, const struct crt_rows *rows,
                                 int32_t x, struct crt_shape in, int32_t depth)
{
    const struct crt_taps taps = crt_taps_of_column(window, x, in.w);
    view->before = taps.first * depth;
    view->inside = (taps.end - taps.first) * depth;
    view->rows.base = rows->base;
    if (view->inside > 0) {
        view->rows.base += (taps.start + taps.first * window->dilation.w) * in.c;
    }
}

/* The sums of the weights of the taps outside the image, times the value that counts there. */
CRT_OUT_OF_LINE struct crt_sums4 crt_outside4(const struct crt_view *view, int32_t value, const int8_t *w)
{
    struct crt_sums4 sums = {0, 0, 0, 0};
    const int8_t *last = w + 4 * view->lines * view->line;
    const int8_t *end = w + 4 * (view->first * view->line + view->before);  /* of a run outside */
    for (int32_t i = view->first;; i++) {
        if (i >= view->end) {
            end = last;
        }
        for (; w != end; w += 4) {
            sums.a += w[0];
            sums.b += w[1];
            sums.c += w[2];
            sums.d += w[3];
        }
        if (end == last) {
            return (struct crt_sums4){sums.a * value, sums.b * value, sums.c * value, sums.d * value};
        }
        w += 4 * view->inside;
        end += 4 * view->line;
    }
}

static inline struct crt_sums4 crt_start4(const struct crt_view *view, int32_t value, const int8_t *w)
{
    if (view->inside == view->line && view->end - view->first == view->lines) {
        return (struct crt_sums4){0, 0, 0, 0};
    }
    return crt_outside4(view, value, w);
}

#endif
