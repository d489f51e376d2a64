/* The fully connected layer but for what becomes of its sums. For kernels only. */
#ifndef CRT_FULLY_CONNECTED_BODY_H
#define CRT_FULLY_CONNECTED_BODY_H

#include "crt/dot4.h"
#include "crt/fully_connected.h"

/* Sums of one vector, four outputs at a time, the last fewer. `store` makes those from `first` on of them, `out` being
 * where the first goes, `p` the kernel's parameters. `store` is a constant where this is called: the compiler then
 * calls it directly, and the stack that a model needs can be proved. */
static inline void crt_vector_body(const int8_t *x, int32_t n, const int8_t *weights, int8_t *out, int32_t n_out,
                                   const void *p,
                                   void store(struct crt_sums4 sums, const void *p, int32_t first, int8_t *out))
{
    for (int32_t first = 0; first < n_out; first += 4) {
        store(crt_dot4((struct crt_sums4){0, 0, 0, 0}, x, weights, n), p, first, out + first);
        weights += 4 * n;
    }
}

#endif
