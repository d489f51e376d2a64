/* digits - compiled from digits.tflite by tinykiln 0.1.0. Generated; do not edit.
 *
 * Call digits_init() once; then write the inputs, call digits_run(), read the outputs.
 *
 * Inputs and outputs live in one static arena: a run may overwrite the inputs, and the outputs stay
 * valid until the next run or the next write to an input. Nothing is allocated and nothing can
 * fail. Not reentrant.
 *
 *   flash  7 768 B weights      RAM  3 072 B arena      109 824 MACs
 *   model  sha256:8e9fd1a7b1e072bf2c4a2293d915cd87f2e56f6296bdcd1229ef3b222a455a14
 */
#ifndef DIGITS_H
#define DIGITS_H

#include "crt/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* image: int8[1][8][8][1], real = 0.003921569 * (q + 128) */
#define DIGITS_IMAGE_SIZE   64
#define DIGITS_IMAGE_SCALE  0.003921569f
#define DIGITS_IMAGE_ZERO   (-128)

/* scores: int8[1][10], real = 0.00390625 * (q + 128) */
#define DIGITS_SCORES_SIZE   10
#define DIGITS_SCORES_SCALE  0.00390625f
#define DIGITS_SCORES_ZERO   (-128)

void digits_init(void);   /* once, before the first run; again, to forget everything */
void digits_run(void);

int8_t *digits_image(void);
const int8_t *digits_scores(void);

/* The same model for code that does not know it by name, such as crt/link.h. */
extern const struct crt_model digits_model;

#ifdef __cplusplus
}
#endif

#endif
