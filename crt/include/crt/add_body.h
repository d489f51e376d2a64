/* The sum of two elements, for the kernels that add. */
#ifndef CRT_ADD_BODY_H
#define CRT_ADD_BODY_H

#include "crt/add.h"
#include "crt/fixed_point.h"

static inline int32_t crt_add_operand(const struct crt_add_operand *p, int32_t q)
{
    return crt_scale((q - p->zero) * (1 << 20), p->multiplier, p->shift);
}

static inline int8_t crt_add_one(const struct crt_add_s8 *p, int32_t a, int32_t b)
{
    const int32_t sum = crt_add_operand(&p->a, a) + crt_add_operand(&p->b, b);
    const int32_t q = crt_add_wrapping(crt_scale(sum, p->multiplier, p->shift), p->out_zero);
    return (int8_t)crt_clamp(q, p->min, p->max);
}

#endif
