/* What all kernels share.
 *
 * A kernel works from a const parameter struct. Shapes, strides and ranges were checked when
 * the struct was generated, so a kernel cannot fail and returns nothing; it allocates nothing,
 * keeps no state and may be called from any context. Input and output must not overlap unless
 * the kernel's header says so. All results equal the TensorFlow Lite reference kernels bit for
 * bit.
 */
#ifndef CRT_KERNEL_H
#define CRT_KERNEL_H

#include <stddef.h>
#include <stdint.h>

/* One image: rows, columns, channels. Elements lie in this order, channels next to each other. */
struct crt_shape {
    int32_t h, w, c;
};

struct crt_pair {
    int32_t h, w;               /* vertical, horizontal */
};

/* A window that slides over the image. Output row y reads the input rows
 * y * stride.h - pad.h + i * dilation.h, 0 <= i < kernel.h, as far as they exist; columns
 * likewise. Strides, dilations and kernel sizes are at least 1, pads at least 0. */
struct crt_window {
    struct crt_pair kernel, stride, dilation, pad;
};

/* Where the rows of a tensor lie: row y at base + at[y], or at base + y * pitch (bytes) where
 * `at` is NULL. Rows outside the image are never asked for. */
struct crt_rows {
    const int8_t *base;
    const uint16_t *at;
    int32_t pitch;
};

static inline const int8_t *crt_row(const struct crt_rows *rows, int32_t y)
{
    return rows->base + (rows->at ? (ptrdiff_t)rows->at[y] : (ptrdiff_t)y * rows->pitch);
}

/* What an output channel adds and how its sum becomes an int8: the bias (the input's zero point
 * is already in it), then multiplier * 2^(shift - 31), shift in [-31, 30]. The multiplier is 0 or in
 * [2^30, 2^31); a fully connected layer may have a neighbour of the nearest: 0 or [2^30 - 2, 2^31). */
struct crt_channel {
    int32_t bias;
    int32_t multiplier;
    int32_t shift;
};

#endif
