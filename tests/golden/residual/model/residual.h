/* residual - compiled from residual.tflite by tinykiln 0.1.0. Generated; do not edit.
 *
 * Call residual_init() once; then write the inputs, call residual_run(), read the outputs.
 *
 * Inputs and outputs live in one static arena: a run may overwrite the inputs, and the outputs stay
 * valid until the next run or the next write to an input. Nothing is allocated and nothing can
 * fail. Not reentrant.
 *
 *   flash  1 232 B weights      RAM  384 B arena      6 272 MACs
 *   model  sha256:d88804e54ecf2062aa57db36b6b0e19659ff086dae15c2b1d661b1e4de0bbfbc
 */
#ifndef RESIDUAL_H
#define RESIDUAL_H

#include "crt/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* image: int8[1][8][8][3], real = 0.03125 * (q + 1) */
#define RESIDUAL_IMAGE_SIZE   192
#define RESIDUAL_IMAGE_SCALE  0.03125f
#define RESIDUAL_IMAGE_ZERO   (-1)

/* scores: int8[1][4], real = 0.00390625 * (q + 128) */
#define RESIDUAL_SCORES_SIZE   4
#define RESIDUAL_SCORES_SCALE  0.00390625f
#define RESIDUAL_SCORES_ZERO   (-128)

void residual_init(void);   /* once, before the first run; again, to forget everything */
void residual_run(void);

int8_t *residual_image(void);
const int8_t *residual_scores(void);

/* The same model for code that does not know it by name, such as crt/link.h. */
extern const struct crt_model residual_model;

#ifdef __cplusplus
}
#endif

#endif
