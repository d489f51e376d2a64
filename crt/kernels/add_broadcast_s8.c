#include "crt/add.h"

#include "crt/add_body.h"

/* The last two dimensions. */
static void add_plane(const struct crt_add_broadcast_s8 *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    for (int32_t k = 0; k < p->dims[2]; k++) {
        for (int32_t l = 0; l < p->dims[3]; l++) {
            *out++ = crt_add_one(&p->add, a[k * p->a_strides[2] + l * p->a_strides[3]],
                                 b[k * p->b_strides[2] + l * p->b_strides[3]]);
        }
    }
}

void crt_add_broadcast_s8(const struct crt_add_broadcast_s8 *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    for (int32_t i = 0; i < p->dims[0]; i++) {
        for (int32_t j = 0; j < p->dims[1]; j++) {
            add_plane(p, a + i * p->a_strides[0] + j * p->a_strides[1], b + i * p->b_strides[0] + j * p->b_strides[1],
                      out);
            out += p->dims[2] * p->dims[3];
        }
    }
}
