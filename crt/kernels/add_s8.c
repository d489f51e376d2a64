#include "crt/add.h"

#include "crt/add_body.h"

void crt_add_s8(const struct crt_add_s8 *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    for (int32_t i = 0; i < p->size; i++) {
        out[i] = crt_add_one(p, a[i], b[i]);
    }
}
