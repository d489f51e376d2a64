#include "crt/softmax.h"

#include "crt/fixed_point.h"

/* The exponential function of one difference to the largest element, Q31. */
static int32_t exp_of(const struct crt_softmax_s8 *p, int32_t difference)
{
    return crt_exp_q5(crt_scale(difference, p->multiplier, p->shift));
}

static int32_t largest_of(const int8_t *x, int32_t n)
{
    int32_t largest = x[0];
    for (int32_t i = 1; i < n; i++) {
        largest = x[i] > largest ? x[i] : largest;
    }
    return largest;
}

/* The sum of all exponentials, 12 integer and 19 fraction bits. */
static uint32_t sum_of(const struct crt_softmax_s8 *p, const int8_t *in, int32_t largest)
{
    uint32_t sum = 0;
    for (int32_t i = 0; i < p->depth; i++) {
        const int32_t difference = in[i] - largest;
        if (difference >= p->diff_min) {
            sum += (uint32_t)crt_shift_right_rounding(exp_of(p, difference), 12);
        }
    }
    return sum;
}

static void softmax(const struct crt_softmax_s8 *p, const int8_t *in, int8_t *out)
{
    const int32_t largest = largest_of(in, p->depth);
    uint32_t sum = sum_of(p, in, largest);
    int32_t shift = 35;     /* 12 integer bits of the sum, 31 - 8 bits that an int8 does not have */
    for (; !(sum >> 31); sum <<= 1) {
        shift--;
    }
    const int32_t scale = crt_reciprocal((int32_t)(sum - (1u << 31)));
    for (int32_t i = 0; i < p->depth; i++) {
        const int32_t difference = in[i] - largest;
        int32_t q = 0;
        if (difference >= p->diff_min && shift < 32) {
            q = crt_shift_right_rounding(crt_multiply_q31(scale, exp_of(p, difference)), shift);
        }
        out[i] = (int8_t)crt_clamp(q - 128, INT8_MIN, INT8_MAX);
    }
}

void crt_softmax_s8(const struct crt_softmax_s8 *p, const int8_t *in, int8_t *out)
{
    for (int32_t vector = 0; vector < p->batch; vector++) {
        softmax(p, in, out);
        in += p->depth;
        out += p->depth;
    }
}
