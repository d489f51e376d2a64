#include "crt/quantize.h"

#include "crt/fixed_point.h"

/* Halves away from zero; |x| <= 256. The difference is exact, x + 0.5 would not be. */
static int32_t round_to_nearest(float x)
{
    const int32_t whole = (int32_t)x;
    const float rest = x - (float)whole;
    return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

void crt_quantize_f32_s8(const struct crt_quantize *p, const float *in, int8_t *out)
{
    for (int32_t i = 0; i < p->size; i++) {
        const float x = in[i] / p->scale;
        int32_t q = 0;                  /* of a NaN */
        if (x > 256.0f || x < -256.0f) {
            q = x > 0.0f ? 256 : -256;  /* clamped whatever the zero point is */
        } else if (x >= -256.0f) {
            q = round_to_nearest(x);
        }
        out[i] = (int8_t)crt_clamp(q + p->zero, INT8_MIN, INT8_MAX);
    }
}
