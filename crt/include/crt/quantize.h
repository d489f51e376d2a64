/* Changes of number format, element by element. */
#ifndef CRT_QUANTIZE_H
#define CRT_QUANTIZE_H

#include "crt/kernel.h"

/* real = scale * (q - zero) */
struct crt_quantize {
    int32_t size;                 /* elements */
    float scale;                  /* > 0 */
    int32_t zero;                 /* [-128, 127] */
};

/* q = round(real / scale) + zero, halves away from zero, clamped; a NaN becomes `zero`. */
void crt_quantize_f32_s8(const struct crt_quantize *p, const float *in, int8_t *out);
void crt_dequantize_s8_f32(const struct crt_quantize *p, const int8_t *in, float *out);

/* From one scale and zero point to another; multiplier and shift as in crt_channel. */
struct crt_requantize {
    int32_t size;                 /* elements */
    int32_t in_zero, out_zero;    /* within the range of the type */
    int32_t multiplier, shift;
};

/* `out` may be `in`. */
void crt_requantize_s8_s8(const struct crt_requantize *p, const int8_t *in, int8_t *out);
void crt_requantize_u8_s8(const struct crt_requantize *p, const uint8_t *in, int8_t *out);
void crt_requantize_s8_u8(const struct crt_requantize *p, const int8_t *in, uint8_t *out);

#endif
