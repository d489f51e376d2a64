#include <math.h>

#include "crt/fully_connected_body.h"

/* The clamp comes before the conversion, as a rounded sum may be beyond int32. */
static int8_t scaled(int32_t sum, double scale, const struct crt_fully_connected_f64_s8 *p)
{
    const double q = round((double)sum * scale) + p->out_zero;
    return (int8_t)(q < p->min ? p->min : q > p->max ? p->max : (int32_t)q);
}

static void store(struct crt_sums4 sums, const void *params, int32_t first, int8_t *out)
{
    const struct crt_fully_connected_f64_s8 *p = params;
    const int32_t sum[4] = {sums.a, sums.b, sums.c, sums.d};
    for (int32_t i = 0; i < 4 && first + i < p->out; i++) {
        out[i] = scaled(sum[i] + p->bias[first + i], p->scales[first + i], p);
    }
}

void crt_fully_connected_f64_s8(const struct crt_fully_connected_f64_s8 *p, const int8_t *in, int8_t *out)
{
    for (int32_t vector = 0; vector < p->batch; vector++) {
        crt_vector_body(in, p->in, p->weights, out, p->out, p, store);
        in += p->in;
        out += p->out;
    }
}
