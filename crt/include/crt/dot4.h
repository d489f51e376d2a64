/* Four output channels at a time: the inner loops of the convolutions and the fully connected
 * layer. Weights of four channels lie next to each other, so that one load of an input value
 * serves four multiplies. For kernels only. */
#ifndef CRT_DOT4_H
#define CRT_DOT4_H

#include "crt/fixed_point.h"
#include "crt/kernel.h"

/* Keeps the registers of a loop to itself. */
#define CRT_OUT_OF_LINE static __attribute__((noinline, unused))

struct crt_sums4 {
    int32_t a, b, c, d;
};

/* Where sums go: the output channels that lie next to each other. */
struct crt_output {
    const struct crt_channel *channels; /* [n] */
    int8_t *out;                        /* [n] */
    int32_t n;
    int32_t zero, min, max;
};

/* sums + x[i] * w[4 * i + 0 .. 3] for 0 <= i < n. */
static inline struct crt_sums4 crt_dot4(struct crt_sums4 sums, const int8_t *x, const int8_t *w, int32_t n)
{
    for (const int8_t *end = x + (n & ~1); x != end; x += 2, w += 8) {
        const int32_t even = x[0], odd = x[1];
        sums.a += even * w[0];
        sums.b += even * w[1];
        sums.c += even * w[2];
        sums.d += even * w[3];
        sums.a += odd * w[4];
        sums.b += odd * w[5];
        sums.c += odd * w[6];
        sums.d += odd * w[7];
    }
    if (n & 1) {
        sums.a += x[0] * w[0];
        sums.b += x[0] * w[1];
        sums.c += x[0] * w[2];
        sums.d += x[0] * w[3];
    }
    return sums;
}

static inline int8_t crt_requantize_sum(int32_t sum, const struct crt_channel *channel,
                                        const struct crt_output *output)
{
    const int32_t scaled = crt_scale(sum + channel->bias, channel->multiplier, channel->shift);
    return (int8_t)crt_clamp(crt_add_wrapping(scaled, output->zero), output->min, output->max);
}

/* Writes the outputs of four channels from `first` on, or of as many as there are. Out of line:
 * it is as long as the loops around it, and they need its registers. */
CRT_OUT_OF_LINE void crt_store4(int32_t a, int32_t b, int32_t c, int32_t d, const struct crt_output *output,
                                int32_t first)
{
    const struct crt_channel *channel = output->channels + first;
    const int32_t n = output->n - first;
    int8_t *out = output->out + first;
    out[0] = crt_requantize_sum(a, &channel[0], output);
    if (n > 1) {
        out[1] = crt_requantize_sum(b, &channel[1], output);
    }
    if (n > 2) {
        out[2] = crt_requantize_sum(c, &channel[2], output);
    }
    if (n > 3) {
        out[3] = crt_requantize_sum(d, &channel[3], output);
    }
}

/* One vector of n inputs. weights: [block of 4 outputs][n][4]. */
static inline void crt_dense4(const int8_t *x, int32_t n, const int8_t *weights, const struct crt_output *output)
{
    for (int32_t first = 0; first < output->n; first += 4) {
        const struct crt_sums4 sums = crt_dot4((struct crt_sums4){0, 0, 0, 0}, x, weights, n);
        crt_store4(sums.a, sums.b, sums.c, sums.d, output, first);
        weights += 4 * n;
    }
}

#endif
