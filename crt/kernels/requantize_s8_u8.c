#include "crt/quantize.h"

#include "crt/requantize_body.h"

void crt_requantize_s8_u8(const struct crt_requantize *p, const int8_t *in, uint8_t *out)
{
    for (int32_t i = 0; i < p->size; i++) {
        out[i] = (uint8_t)crt_clamp(crt_requantize_one(p, in[i]), 0, UINT8_MAX);
    }
}
