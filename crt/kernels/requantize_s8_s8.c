#include "crt/quantize.h"

#include "crt/requantize_body.h"

void crt_requantize_s8_s8(const struct crt_requantize *p, const int8_t *in, int8_t *out)
{
    for (int32_t i = 0; i < p->size; i++) {
        out[i] = (int8_t)crt_clamp(crt_requantize_one(p, in[i]), INT8_MIN, INT8_MAX);
    }
}
