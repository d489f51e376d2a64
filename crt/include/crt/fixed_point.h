/* Fixed-point arithmetic that kernels share.
 *
 * A number in [-1, 1) with 31 fraction bits is called a Q31. Right shifts of negative numbers
 * are arithmetic and conversions to int32_t wrap, as every compiler for these processors has it.
 * Nothing here overflows for arguments in the ranges given.
 */
#ifndef CRT_FIXED_POINT_H
#define CRT_FIXED_POINT_H

#include <stdint.h>

static inline int32_t crt_clamp(int32_t x, int32_t min, int32_t max)
{
    return x < min ? min : x > max ? max : x;
}

/* x * 2^n modulo 2^32; n in [0, 31]. */
static inline int32_t crt_shift_left(int32_t x, int32_t n)
{
    return (int32_t)((uint32_t)x << n);
}

/* a + b modulo 2^32. */
static inline int32_t crt_add_wrapping(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

/* a * b / 2^31, rounded to nearest, halves up. Not for a = b = -2^31. */
static inline int32_t crt_multiply_q31(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

/* x / 2^n, rounded to nearest, halves away from zero; n in [0, 31]. Not for x = -2^31. */
static inline int32_t crt_shift_right_rounding(int32_t x, int32_t n)
{
    if (n == 0) {
        return x;
    }
    x += x >> 31;                       /* negative halves go down */
    return ((x >> (n - 1)) + 1) >> 1;   /* x + 2^(n-1) could overflow */
}

/* x * multiplier * 2^(shift - 31): shifted left (modulo 2^32) where shift > 0, multiplied and
 * rounded, shifted right and rounded once more where shift < 0. This double rounding is that of
 * TensorFlow Lite. multiplier in [0, 2^31), shift in [-31, 31]. */
static inline int32_t crt_scale(int32_t x, int32_t multiplier, int32_t shift)
{
    const int32_t left = shift > 0 ? shift : 0;
    return crt_shift_right_rounding(crt_multiply_q31(crt_shift_left(x, left), multiplier), left - shift);
}

/* x * multiplier * 2^(shift - 31), rounded once, to nearest, halves away from zero, plus zero, clamped to
 * [min, max]. multiplier in [0, 2^31), shift in [-31, 30]. */
static inline int32_t crt_requantize_once(int32_t x, int32_t multiplier, int32_t shift, int32_t zero, int32_t min,
                                          int32_t max)
{
    const int64_t half = (int64_t)1 << (30 - shift);
    const int64_t q = (((int64_t)x * multiplier + half + (x >> 31)) >> (31 - shift)) + zero;
    return q < min ? min : q > max ? max : (int32_t)q;
}

/* x * 2^n, n in [0, 30], saturated to int32. */
static inline int32_t crt_shift_left_saturating(int32_t x, int32_t n)
{
    const int32_t limit = INT32_MAX >> n;
    return x > limit ? INT32_MAX : x < -limit - 1 ? INT32_MIN : crt_shift_left(x, n);
}

/* exp(x) as Q31 for x in [-1/4, 0), Q31: the Taylor series about -1/8, to the fourth power. */
static inline int32_t crt_exp_quarter(int32_t x)
{
    const int32_t exp_minus_eighth = 1895147668;
    const int32_t third = 715827883;
    const int32_t d = x + (1 << 28);
    const int32_t d2 = crt_multiply_q31(d, d);
    const int32_t d3 = crt_multiply_q31(d2, d);
    const int32_t d4_quarter = crt_shift_right_rounding(crt_multiply_q31(d2, d2), 2);
    const int32_t tail = crt_shift_right_rounding(crt_multiply_q31(d4_quarter + d3, third) + d2, 1);
    return exp_minus_eighth + crt_multiply_q31(exp_minus_eighth, d + tail);
}

/* exp(x) as Q31 for x <= 0 with 5 integer and 26 fraction bits; exp(0) is INT32_MAX. */
static inline int32_t crt_exp_q5(int32_t x)
{
    /* exp(-2^k) as Q31 for k = -2 .. 4 */
    static const int32_t powers[7] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
    if (x == 0) {
        return INT32_MAX;
    }
    const int32_t quarter = 1 << 24;
    const int32_t part = (x & (quarter - 1)) - quarter;         /* x = part - whole quarters */
    const uint32_t quarters = (uint32_t)(part - x) >> 24;
    int32_t result = crt_exp_quarter(part * 32);
    for (int i = 0; i < 7; i++) {
        if (quarters >> i & 1u) {
            result = crt_multiply_q31(result, powers[i]);
        }
    }
    return result;
}

/* 1 / (1 + x) as Q31 for x in [0, 1), Q31: three steps of Newton and Raphson on half of the
 * denominator, from the line 48/17 - 32/17 * d. */
static inline int32_t crt_reciprocal(int32_t x)
{
    const int32_t half = (int32_t)(((int64_t)x + INT32_MAX + 1) / 2);
    int32_t y = 1515870810 + crt_multiply_q31(half, -1010580540);   /* 2 integer bits */
    for (int i = 0; i < 3; i++) {
        const int32_t error = (1 << 29) - crt_multiply_q31(half, y);
        y += crt_shift_left_saturating(crt_multiply_q31(y, error), 2);
    }
    return crt_shift_left_saturating(y, 1);
}

#endif
