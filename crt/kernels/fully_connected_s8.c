#include "crt/fully_connected.h"

#include "crt/dot4.h"

void crt_fully_connected_s8(const struct crt_fully_connected_s8 *p, const int8_t *in, int8_t *out)
{
    struct crt_output output = {p->channels, out, p->out, p->out_zero, p->min, p->max};
    for (int32_t vector = 0; vector < p->batch; vector++) {
        crt_dense4(in, p->in, p->weights, &output);
        in += p->in;
        output.out += p->out;
    }
}
