/* Element-wise sum of two int8 tensors with scales of their own. */
#ifndef CRT_ADD_H
#define CRT_ADD_H

#include "crt/kernel.h"

/* How an operand enters the sum: (q - zero) * 2^20, times multiplier * 2^(shift - 31). */
struct crt_add_operand {
    int32_t zero;                 /* [-128, 127] */
    int32_t multiplier;           /* 0 or [2^30, 2^31) */
    int32_t shift;                /* [-31, 0] */
};

struct crt_add_s8 {
    int32_t size;                 /* elements of the output */
    struct crt_add_operand a, b;
    int32_t out_zero;             /* [-128, 127] */
    int32_t multiplier, shift;    /* of the sum, as in crt_channel */
    int32_t min, max;             /* fused activation: clamp of the output, [-128, 127] */
};

/* All three of `size` elements; `out` may be `a` or `b`. */
void crt_add_s8(const struct crt_add_s8 *p, const int8_t *a, const int8_t *b, int8_t *out);

/* Broadcasting: the output has the dimensions dims[0..3] (outermost first, unused ones 1), and
 * element i, j, k, l of an operand lies at the sum of index * stride (elements; 0 where the
 * operand is repeated). `out` must not overlap the operands. */
struct crt_add_broadcast_s8 {
    struct crt_add_s8 add;        /* size is not used */
    int32_t dims[4];
    int32_t a_strides[4], b_strides[4];
};

void crt_add_broadcast_s8(const struct crt_add_broadcast_s8 *p, const int8_t *a, const int8_t *b, int8_t *out);

#endif
