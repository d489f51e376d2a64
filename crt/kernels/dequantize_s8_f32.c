#include "crt/quantize.h"

void crt_dequantize_s8_f32(const struct crt_quantize *p, const int8_t *in, float *out)
{
    for (int32_t i = 0; i < p->size; i++) {
        out[i] = p->scale * (float)(in[i] - p->zero);
    }
}
