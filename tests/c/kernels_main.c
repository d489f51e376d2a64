/* Runs kernels on cases read from stdin and writes what they make to stdout. Built with the
 * address sanitiser: every buffer has exactly its size, so a stray access ends the run.
 *
 * A case is: kernel, number of parameters, bytes of weights, of channels, of input, of a second
 * input, of output (int32 each); then those parameters (int32) and buffers. The answer is the
 * output; a kernel with a _row function answers twice, the second time row by row. */
#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crt/add.h"
#include "crt/conv2d.h"
#include "crt/depthwise_conv2d.h"
#include "crt/fixed_point.h"
#include "crt/fully_connected.h"
#include "crt/pool2d.h"
#include "crt/quantize.h"
#include "crt/softmax.h"

enum kernel {
    CONV2D, CONV2D_1X1, DEPTHWISE, DEPTHWISE_MULTIPLIER, AVERAGE_POOL, MAX_POOL,
    FULLY_CONNECTED, FULLY_CONNECTED_F64, ADD, ADD_BROADCAST, SOFTMAX, QUANTIZE, DEQUANTIZE,
    REQUANTIZE_S8_S8, REQUANTIZE_U8_S8, REQUANTIZE_S8_U8,
    EXP, RECIPROCAL,     /* of fixed_point.h */
};

struct test {
    int32_t kernel, n_params, weights_size, channels_size, in_size, in2_size, out_size;
    int32_t *params;
    void *weights, *channels, *in, *in2, *out;
};

static void *take(int32_t size)
{
    void *memory = malloc((size_t)size);
    if (!memory || fread(memory, 1, (size_t)size, stdin) != (size_t)size) {
        exit(2);
    }
    return memory;
}

static struct crt_conv2d_s8 conv_of(const struct test *t)
{
    const int32_t *p = t->params;
    return (struct crt_conv2d_s8){
        .batch = p[0], .in = {p[1], p[2], p[3]}, .out = {p[4], p[5], p[6]},
        .window = {{p[7], p[8]}, {p[9], p[10]}, {p[11], p[12]}, {p[13], p[14]}}, .groups = p[15],
        .in_zero = p[16], .out_zero = p[17], .min = p[18], .max = p[19],
        .weights = t->weights, .channels = t->channels,
    };
}

static struct crt_depthwise_conv2d_s8 depthwise_of(const struct test *t)
{
    const struct crt_conv2d_s8 c = conv_of(t);
    return (struct crt_depthwise_conv2d_s8){
        .batch = c.batch, .in = c.in, .out = c.out, .window = c.window, .multiplier = c.groups,
        .in_zero = c.in_zero, .out_zero = c.out_zero, .min = c.min, .max = c.max,
        .weights = c.weights, .channels = c.channels,
    };
}

static struct crt_pool2d_s8 pool_of(const struct test *t)
{
    const struct crt_conv2d_s8 c = conv_of(t);
    return (struct crt_pool2d_s8){
        .batch = c.batch, .in = c.in, .out = c.out, .window = c.window, .min = c.min, .max = c.max,
    };
}

static void make_row(const struct test *t, const struct crt_rows *rows, int32_t y, int8_t *out)
{
    const struct crt_conv2d_s8 conv = conv_of(t);
    const struct crt_depthwise_conv2d_s8 depthwise = depthwise_of(t);
    const struct crt_pool2d_s8 pool = pool_of(t);
    switch (t->kernel) {
    case CONV2D: crt_conv2d_s8_row(&conv, rows, y, out); break;
    case CONV2D_1X1: crt_conv2d_1x1_s8_row(&conv, rows, y, out); break;
    case DEPTHWISE: crt_depthwise_conv2d_s8_row(&depthwise, rows, y, out); break;
    case DEPTHWISE_MULTIPLIER: crt_depthwise_conv2d_multiplier_s8_row(&depthwise, rows, y, out); break;
    case AVERAGE_POOL: crt_average_pool2d_s8_row(&pool, rows, y, out); break;
    case MAX_POOL: crt_max_pool2d_s8_row(&pool, rows, y, out); break;
    }
}

static int reaches(const struct crt_window *w, int32_t out_y, int32_t in_y)
{
    for (int32_t i = 0; i < w->kernel.h; i++) {
        if (out_y * w->stride.h - w->pad.h + i * w->dilation.h == in_y) {
            return 1;
        }
    }
    return 0;
}

/* Row y of one image. Only the input rows that it needs can be read; they lie in reverse order,
 * with gaps, at addresses of any alignment. */
static void make_scattered(const struct test *t, const int8_t *image, int32_t y, int8_t *out)
{
    const struct crt_conv2d_s8 p = conv_of(t);
    const size_t row = (size_t)(p.in.w * p.in.c), slot = (row + 31) / 16 * 16;
    uint16_t *at = malloc(sizeof *at * (size_t)p.in.h);
    int8_t *arena = malloc(slot * (size_t)p.in.h);
    ASAN_POISON_MEMORY_REGION(arena, slot * (size_t)p.in.h);
    for (int32_t i = 0; i < p.in.h; i++) {
        at[i] = (uint16_t)(slot * (size_t)(p.in.h - 1 - i) + (size_t)(i % 7));
        if (reaches(&p.window, y, i)) {
            ASAN_UNPOISON_MEMORY_REGION(arena + at[i], row);
            memcpy(arena + at[i], image + row * (size_t)i, row);
        }
    }
    make_row(t, &(struct crt_rows){arena, at, 0}, y, out);
    ASAN_UNPOISON_MEMORY_REGION(arena, slot * (size_t)p.in.h);
    free(arena);
    free(at);
}

static void make_rows(const struct test *t)
{
    const struct crt_conv2d_s8 p = conv_of(t);
    const int32_t size = p.out.w * p.out.c;
    for (int32_t b = 0; b < p.batch; b++) {
        for (int32_t y = 0; y < p.out.h; y++) {
            make_scattered(t, (const int8_t *)t->in + b * p.in.h * p.in.w * p.in.c, y,
                           (int8_t *)t->out + (b * p.out.h + y) * size);
        }
    }
}

static void run_spatial(const struct test *t)
{
    const struct crt_conv2d_s8 conv = conv_of(t);
    const struct crt_depthwise_conv2d_s8 depthwise = depthwise_of(t);
    const struct crt_pool2d_s8 pool = pool_of(t);
    switch (t->kernel) {
    case CONV2D: crt_conv2d_s8(&conv, t->in, t->out); break;
    case CONV2D_1X1: crt_conv2d_1x1_s8(&conv, t->in, t->out); break;
    case DEPTHWISE: crt_depthwise_conv2d_s8(&depthwise, t->in, t->out); break;
    case DEPTHWISE_MULTIPLIER: crt_depthwise_conv2d_multiplier_s8(&depthwise, t->in, t->out); break;
    case AVERAGE_POOL: crt_average_pool2d_s8(&pool, t->in, t->out); break;
    case MAX_POOL: crt_max_pool2d_s8(&pool, t->in, t->out); break;
    }
}

static void run_add(const struct test *t)
{
    const int32_t *p = t->params;
    struct crt_add_broadcast_s8 add = {
        .add = {p[0], {p[1], p[2], p[3]}, {p[4], p[5], p[6]}, p[7], p[8], p[9], p[10], p[11]},
    };
    if (t->kernel == ADD) {
        crt_add_s8(&add.add, t->in, t->in2, t->out);
        return;
    }
    memcpy(add.dims, p + 12, sizeof add.dims);
    memcpy(add.a_strides, p + 16, sizeof add.a_strides);
    memcpy(add.b_strides, p + 20, sizeof add.b_strides);
    crt_add_broadcast_s8(&add, t->in, t->in2, t->out);
}

static void run_format(const struct test *t)
{
    const int32_t *p = t->params;
    const struct crt_requantize requantize = {p[0], p[1], p[2], t->n_params > 3 ? p[3] : 0, t->n_params > 4 ? p[4] : 0};
    struct crt_quantize quantize = {.size = p[0], .zero = p[2]};
    memcpy(&quantize.scale, p + 1, sizeof quantize.scale);
    switch (t->kernel) {
    case QUANTIZE: crt_quantize_f32_s8(&quantize, t->in, t->out); break;
    case DEQUANTIZE: crt_dequantize_s8_f32(&quantize, t->in, t->out); break;
    case REQUANTIZE_S8_S8: crt_requantize_s8_s8(&requantize, t->in, t->out); break;
    case REQUANTIZE_U8_S8: crt_requantize_u8_s8(&requantize, t->in, t->out); break;
    case REQUANTIZE_S8_U8: crt_requantize_s8_u8(&requantize, t->in, t->out); break;
    }
}

static void run_functions(const struct test *t)
{
    const int32_t *in = t->in;
    int32_t *out = t->out;
    for (int32_t i = 0; i < t->params[0]; i++) {
        out[i] = t->kernel == EXP ? crt_exp_q5(in[i]) : crt_reciprocal(in[i]);
    }
}

static void run_vectors(const struct test *t)
{
    const int32_t *p = t->params;
    if (t->kernel == SOFTMAX) {
        crt_softmax_s8(&(struct crt_softmax_s8){p[0], p[1], p[2], p[3], p[4]}, t->in, t->out);
    } else if (t->kernel == FULLY_CONNECTED_F64) {
        crt_fully_connected_f64_s8(
            &(struct crt_fully_connected_f64_s8){p[0], p[1], p[2], p[3], p[4], p[5], t->weights, t->channels, t->in2},
            t->in, t->out);
    } else {
        crt_fully_connected_s8(
            &(struct crt_fully_connected_s8){p[0], p[1], p[2], p[3], p[4], p[5], t->weights, t->channels}, t->in,
            t->out);
    }
}

static void answer(const struct test *t)
{
    fwrite(t->out, 1, (size_t)t->out_size, stdout);
    memset(t->out, 0x55, (size_t)t->out_size);
}

static void run(const struct test *t)
{
    if (t->kernel <= MAX_POOL) {
        run_spatial(t);
        answer(t);
        make_rows(t);
    } else if (t->kernel == ADD || t->kernel == ADD_BROADCAST) {
        run_add(t);
    } else if (t->kernel == SOFTMAX || t->kernel <= FULLY_CONNECTED_F64) {
        run_vectors(t);
    } else if (t->kernel >= EXP) {
        run_functions(t);
    } else {
        run_format(t);
    }
    answer(t);
}

int main(void)
{
    struct test t;
    while (fread(&t, 1, 7 * sizeof(int32_t), stdin) == 7 * sizeof(int32_t)) {
        t.params = take(t.n_params * 4);
        t.weights = take(t.weights_size);
        t.channels = take(t.channels_size);
        t.in = take(t.in_size);
        t.in2 = take(t.in2_size);
        t.out = malloc((size_t)t.out_size);
        run(&t);
        void *all[] = {t.params, t.weights, t.channels, t.in, t.in2, t.out};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            free(all[i]);
        }
    }
    return 0;
}
