/* One element from one scale and zero point to another, for the kernels that do so. */
#ifndef CRT_REQUANTIZE_BODY_H
#define CRT_REQUANTIZE_BODY_H

#include "crt/fixed_point.h"
#include "crt/quantize.h"

static inline int32_t crt_requantize_one(const struct crt_requantize *p, int32_t q)
{
    return crt_add_wrapping(crt_scale(q - p->in_zero, p->multiplier, p->shift), p->out_zero);
}

#endif
