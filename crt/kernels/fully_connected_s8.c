#include "crt/fully_connected_body.h"

/* The outputs from `first` on, at most four. The sum is rounded once, other than that of a convolution. */
static void store(struct crt_sums4 sums, const void *params, int32_t first, int8_t *out)
{
    const struct crt_fully_connected_s8 *p = params;
    const int32_t sum[4] = {sums.a, sums.b, sums.c, sums.d};
    for (int32_t i = 0; i < 4 && first + i < p->out; i++) {
        const struct crt_channel *channel = &p->channels[first + i];
        out[i] = (int8_t)crt_requantize_once(sum[i] + channel->bias, channel->multiplier, channel->shift, p->out_zero,
                                             p->min, p->max);
    }
}

void crt_fully_connected_s8(const struct crt_fully_connected_s8 *p, const int8_t *in, int8_t *out)
{
    for (int32_t vector = 0; vector < p->batch; vector++) {
        crt_vector_body(in, p->in, p->weights, out, p->out, p, store);
        in += p->in;
        out += p->out;
    }
}
