/* digits - compiled from digits.tflite by tinykiln 0.1.0. Generated; do not edit. */

#include "digits.h"

#include <string.h>

#include "crt/add.h"
#include "crt/conv2d.h"
#include "crt/depthwise_conv2d.h"
#include "crt/fully_connected.h"
#include "crt/pool2d.h"
#include "crt/softmax.h"

#include "digits_weights.h"

#if CRT_VERSION != 0x000100
#error "digits was compiled by tinykiln 0.1.0, crt/ is of another version: generate both again"
#endif

/* Memory plan: 3 072 B, of which 3 072 B are alive at once at the peak. */
static _Alignas(16) int8_t arena[3072];

#define t_image      (arena + 1024)   /*    64 B   caller    -> conv_0    */
#define t_conv_0     (arena +    0)   /* 1 024 B   conv_0    -> add_3     */
#define t_dwconv_1   (arena + 1024)   /* 1 024 B   dwconv_1  -> conv_2    */
#define t_conv_2     (arena + 2048)   /* 1 024 B   conv_2    -> add_3     */
#define t_add_3      (arena + 1024)   /* 1 024 B   add_3     -> maxpool_4 */
#define t_maxpool_4  (arena +  512)   /*   256 B   maxpool_4 -> conv_5    */
#define t_conv_5     (arena +    0)   /*   512 B   conv_5    -> avgpool_6 */
#define t_avgpool_6  (arena +  512)   /*   128 B   avgpool_6 -> fc_7      */
#define t_fc_7       (arena +    0)   /*    10 B   fc_7      -> softmax_8 */
#define t_scores     (arena +   12)   /*    10 B   softmax_8 -> caller    */

/* CONV_2D "conv" */
static const struct crt_conv2d_s8 conv_0 = {
    .batch = 1, .in = {8, 8, 1}, .out = {8, 8, 16},
    .window = {.kernel = {3, 3}, .stride = {1, 1}, .dilation = {1, 1}, .pad = {1, 1}},
    .groups = 1, .in_zero = -128, .out_zero = -128, .min = -128, .max = 127,
    .weights = conv_0_weights, .channels = conv_0_channels,
};

/* DEPTHWISE_CONV_2D "depthwise" */
static const struct crt_depthwise_conv2d_s8 dwconv_1 = {
    .batch = 1, .in = {8, 8, 16}, .out = {8, 8, 16},
    .window = {.kernel = {3, 3}, .stride = {1, 1}, .dilation = {1, 1}, .pad = {1, 1}},
    .multiplier = 1, .in_zero = -128, .out_zero = -128, .min = -128, .max = 127,
    .weights = dwconv_1_weights, .channels = dwconv_1_channels,
};

/* CONV_2D "pointwise" */
static const struct crt_conv2d_s8 conv_2 = {
    .batch = 1, .in = {8, 8, 16}, .out = {8, 8, 16},
    .window = {.kernel = {1, 1}, .stride = {1, 1}, .dilation = {1, 1}, .pad = {0, 0}},
    .groups = 1, .in_zero = -128, .out_zero = -13, .min = -128, .max = 127,
    .weights = conv_2_weights, .channels = conv_2_channels,
};

/* ADD "residual" */
static const struct crt_add_s8 add_3 = {
    .size = 1024,
    .a = {-128, 1380626793, -2}, .b = {-13, 1073741824, 0},
    .out_zero = -128, .multiplier = 1950330926, .shift = -18, .min = -128, .max = 127,
};

/* MAX_POOL_2D "max_pool" */
static const struct crt_pool2d_s8 maxpool_4 = {
    .batch = 1, .in = {8, 8, 16}, .out = {4, 4, 16},
    .window = {.kernel = {2, 2}, .stride = {2, 2}, .dilation = {1, 1}, .pad = {0, 0}},
    .min = -128, .max = 127,
};

/* CONV_2D "conv_wide" */
static const struct crt_conv2d_s8 conv_5 = {
    .batch = 1, .in = {4, 4, 16}, .out = {4, 4, 32},
    .window = {.kernel = {3, 3}, .stride = {1, 1}, .dilation = {1, 1}, .pad = {1, 1}},
    .groups = 1, .in_zero = -128, .out_zero = -128, .min = -128, .max = 127,
    .weights = conv_5_weights, .channels = conv_5_channels,
};

/* AVERAGE_POOL_2D "average_pool" */
static const struct crt_pool2d_s8 avgpool_6 = {
    .batch = 1, .in = {4, 4, 32}, .out = {2, 2, 32},
    .window = {.kernel = {2, 2}, .stride = {2, 2}, .dilation = {1, 1}, .pad = {0, 0}},
    .min = -128, .max = 127,
};

/* FULLY_CONNECTED "logits" */
static const struct crt_fully_connected_s8 fc_7 = {
    .batch = 1, .in = 128, .out = 10,
    .out_zero = 7, .min = -128, .max = 127,
    .weights = fc_7_weights, .channels = fc_7_channels,
};

/* SOFTMAX "scores" */
static const struct crt_softmax_s8 softmax_8 = {
    .batch = 1, .depth = 10,
    .multiplier = 1550233728, .shift = 24, .diff_min = -124,
};

static void step(unsigned index)
{
    switch (index) {
    case 0:  /* 8x8x1 -> 8x8x16, 9 216 MACs */
        crt_conv2d_s8(&conv_0, t_image, t_conv_0);
        break;
    case 1:  /* 8x8x16 -> 8x8x16, 9 216 MACs */
        crt_depthwise_conv2d_s8(&dwconv_1, t_conv_0, t_dwconv_1);
        break;
    case 2:  /* 8x8x16 -> 8x8x16, 16 384 MACs */
        crt_conv2d_1x1_s8(&conv_2, t_dwconv_1, t_conv_2);
        break;
    case 3:  /* 1x8x8x16 */
        crt_add_s8(&add_3, t_conv_0, t_conv_2, t_add_3);
        break;
    case 4:  /* 8x8x16 -> 4x4x16 */
        crt_max_pool2d_s8(&maxpool_4, t_add_3, t_maxpool_4);
        break;
    case 5:  /* 4x4x16 -> 4x4x32, 73 728 MACs */
        crt_conv2d_s8(&conv_5, t_maxpool_4, t_conv_5);
        break;
    case 6:  /* 4x4x32 -> 2x2x32 */
        crt_average_pool2d_s8(&avgpool_6, t_conv_5, t_avgpool_6);
        break;
    case 7:  /* 128 -> 10, 1 280 MACs */
        crt_fully_connected_s8(&fc_7, t_avgpool_6, t_fc_7);
        break;
    case 8:  /* 1x10 */
        crt_softmax_s8(&softmax_8, t_fc_7, t_scores);
        break;
    default:
        break;
    }
}

void digits_run(void)
{
    for (unsigned i = 0; i < 9; i++) {
        step(i);
    }
}

void digits_init(void)
{
    memset(arena, 0, sizeof arena);
}

int8_t *digits_image(void) { return t_image; }
const int8_t *digits_scores(void) { return t_scores; }

static const struct crt_tensor inputs[] = {
    {.name = "image", .data = t_image, .size = 64, .dtype = CRT_INT8,
     .rank = 4, .shape = (const int32_t[]){1, 8, 8, 1},
     .scale = 0.003921569f, .zero = -128},
};

static const struct crt_tensor outputs[] = {
    {.name = "scores", .data = t_scores, .size = 10, .dtype = CRT_INT8,
     .rank = 2, .shape = (const int32_t[]){1, 10},
     .scale = 0.00390625f, .zero = -128},
};

static const struct crt_step steps[] = {
    {.name = "conv_0", .output = t_conv_0, .size = 1024},
    {.name = "dwconv_1", .output = t_dwconv_1, .size = 1024},
    {.name = "conv_2", .output = t_conv_2, .size = 1024},
    {.name = "add_3", .output = t_add_3, .size = 1024},
    {.name = "maxpool_4", .output = t_maxpool_4, .size = 256},
    {.name = "conv_5", .output = t_conv_5, .size = 512},
    {.name = "avgpool_6", .output = t_avgpool_6, .size = 128},
    {.name = "fc_7", .output = t_fc_7, .size = 10},
    {.name = "softmax_8", .output = t_scores, .size = 10},
};

const struct crt_model digits_model = {
    .name = "digits",
    .digest = "sha256:8e9fd1a7b1e072bf2c4a2293d915cd87f2e56f6296bdcd1229ef3b222a455a14",
    .arena_size = sizeof arena,
    .inputs = inputs, .n_inputs = 1,
    .outputs = outputs, .n_outputs = 1,
    .steps = steps, .n_steps = 9,
    .init = digits_init, .run = digits_run, .step = step,
};
