/* residual - compiled from residual.tflite by tinykiln 0.1.0. Generated; do not edit. */

#include "residual.h"

#include <string.h>

#include "crt/add.h"
#include "crt/conv2d.h"
#include "crt/depthwise_conv2d.h"
#include "crt/fully_connected.h"
#include "crt/pool2d.h"
#include "crt/softmax.h"

#include "residual_weights.h"

#if CRT_VERSION != 0x000100
#error "residual was compiled by tinykiln 0.1.0, crt/ is of another version: generate both again"
#endif

/* Memory plan: 384 B, of which 384 B are alive at once at the peak. */
static _Alignas(16) int8_t arena[384];

#define t_image      (arena + 128)   /* 192 B   caller    -> conv_0    */
#define t_conv_0     (arena +   0)   /* 128 B   conv_0    -> add_3     */
#define t_dwconv_1   (arena + 128)   /* 128 B   dwconv_1  -> conv_2    */
#define t_conv_2     (arena + 256)   /* 128 B   conv_2    -> add_3     */
#define t_add_3      (arena + 128)   /* 128 B   add_3     -> dwconv_4  */
#define t_dwconv_4   (arena +   0)   /*  64 B   dwconv_4  -> maxpool_5 */
#define t_maxpool_5  (arena +  64)   /*  64 B   maxpool_5 -> avgpool_6 */
#define t_avgpool_6  (arena +   0)   /*  16 B   avgpool_6 -> fc_7      */
#define t_fc_7       (arena +  16)   /*   4 B   fc_7      -> softmax_8 */
#define t_scores     (arena +   0)   /*   4 B   softmax_8 -> caller    */

/* CONV_2D "t3" */
static const struct crt_conv2d_s8 conv_0 = {
    .batch = 1, .in = {8, 8, 3}, .out = {4, 4, 8},
    .window = {.kernel = {3, 3}, .stride = {2, 2}, .dilation = {1, 1}, .pad = {0, 0}},
    .groups = 1, .in_zero = -1, .out_zero = -128, .min = -128, .max = 127,
    .weights = conv_0_weights, .channels = conv_0_channels,
};

/* DEPTHWISE_CONV_2D "t6" */
static const struct crt_depthwise_conv2d_s8 dwconv_1 = {
    .batch = 1, .in = {4, 4, 8}, .out = {4, 4, 8},
    .window = {.kernel = {3, 3}, .stride = {1, 1}, .dilation = {1, 1}, .pad = {1, 1}},
    .multiplier = 1, .in_zero = -128, .out_zero = -128, .min = -128, .max = 44,
    .weights = dwconv_1_weights, .channels = dwconv_1_channels,
};

/* CONV_2D "t9" */
static const struct crt_conv2d_s8 conv_2 = {
    .batch = 1, .in = {4, 4, 8}, .out = {4, 4, 8},
    .window = {.kernel = {1, 1}, .stride = {1, 1}, .dilation = {1, 1}, .pad = {0, 0}},
    .groups = 1, .in_zero = -128, .out_zero = 11, .min = -128, .max = 127,
    .weights = conv_2_weights, .channels = conv_2_channels,
};

/* ADD "t10" */
static const struct crt_add_s8 add_3 = {
    .size = 128,
    .a = {-128, 1073741824, 0}, .b = {11, 2010551210, -1},
    .out_zero = -128, .multiplier = 1151453527, .shift = -19, .min = -128, .max = 127,
};

/* DEPTHWISE_CONV_2D "t13" */
static const struct crt_depthwise_conv2d_s8 dwconv_4 = {
    .batch = 1, .in = {4, 4, 8}, .out = {2, 2, 16},
    .window = {.kernel = {3, 3}, .stride = {1, 1}, .dilation = {1, 1}, .pad = {0, 0}},
    .multiplier = 2, .in_zero = -128, .out_zero = -10, .min = -128, .max = 127,
    .weights = dwconv_4_weights, .channels = dwconv_4_channels,
};

/* MAX_POOL_2D "t14" */
static const struct crt_pool2d_s8 maxpool_5 = {
    .batch = 1, .in = {2, 2, 16}, .out = {2, 2, 16},
    .window = {.kernel = {2, 2}, .stride = {1, 1}, .dilation = {1, 1}, .pad = {0, 0}},
    .min = -128, .max = 127,
};

/* AVERAGE_POOL_2D "t15" */
static const struct crt_pool2d_s8 avgpool_6 = {
    .batch = 1, .in = {2, 2, 16}, .out = {1, 1, 16},
    .window = {.kernel = {2, 2}, .stride = {1, 1}, .dilation = {1, 1}, .pad = {0, 0}},
    .min = -128, .max = 127,
};

/* FULLY_CONNECTED "t20" */
static const struct crt_fully_connected_s8 fc_7 = {
    .batch = 1, .in = 16, .out = 4,
    .out_zero = 3, .min = -128, .max = 127,
    .weights = fc_7_weights, .channels = fc_7_channels,
};

/* SOFTMAX "scores" */
static const struct crt_softmax_s8 softmax_8 = {
    .batch = 1, .depth = 4,
    .multiplier = 1973397760, .shift = 22, .diff_min = -496,
};

static void step(unsigned index)
{
    switch (index) {
    case 0:  /* 8x8x3 -> 4x4x8, 3 456 MACs */
        crt_conv2d_s8(&conv_0, t_image, t_conv_0);
        break;
    case 1:  /* 4x4x8 -> 4x4x8, 1 152 MACs */
        crt_depthwise_conv2d_s8(&dwconv_1, t_conv_0, t_dwconv_1);
        break;
    case 2:  /* 4x4x8 -> 4x4x8, 1 024 MACs */
        crt_conv2d_1x1_s8(&conv_2, t_dwconv_1, t_conv_2);
        break;
    case 3:  /* 1x4x4x8 */
        crt_add_s8(&add_3, t_conv_0, t_conv_2, t_add_3);
        break;
    case 4:  /* 4x4x8 -> 2x2x16, 576 MACs */
        crt_depthwise_conv2d_multiplier_s8(&dwconv_4, t_add_3, t_dwconv_4);
        break;
    case 5:  /* 2x2x16 -> 2x2x16 */
        crt_max_pool2d_s8(&maxpool_5, t_dwconv_4, t_maxpool_5);
        break;
    case 6:  /* 2x2x16 -> 1x1x16 */
        crt_average_pool2d_s8(&avgpool_6, t_maxpool_5, t_avgpool_6);
        break;
    case 7:  /* 16 -> 4, 64 MACs */
        crt_fully_connected_s8(&fc_7, t_avgpool_6, t_fc_7);
        break;
    case 8:  /* 1x4 */
        crt_softmax_s8(&softmax_8, t_fc_7, t_scores);
        break;
    default:
        break;
    }
}

void residual_run(void)
{
    for (unsigned i = 0; i < 9; i++) {
        step(i);
    }
}

void residual_init(void)
{
    memset(arena, 0, sizeof arena);
}

int8_t *residual_image(void) { return t_image; }
const int8_t *residual_scores(void) { return t_scores; }

static const struct crt_tensor inputs[] = {
    {.name = "image", .data = t_image, .size = 192, .dtype = CRT_INT8,
     .rank = 4, .shape = (const int32_t[]){1, 8, 8, 3},
     .scale = 0.03125f, .zero = -1},
};

static const struct crt_tensor outputs[] = {
    {.name = "scores", .data = t_scores, .size = 4, .dtype = CRT_INT8,
     .rank = 2, .shape = (const int32_t[]){1, 4},
     .scale = 0.00390625f, .zero = -128},
};

static const struct crt_step steps[] = {
    {.name = "conv_0", .output = t_conv_0, .size = 128},
    {.name = "dwconv_1", .output = t_dwconv_1, .size = 128},
    {.name = "conv_2", .output = t_conv_2, .size = 128},
    {.name = "add_3", .output = t_add_3, .size = 128},
    {.name = "dwconv_4", .output = t_dwconv_4, .size = 64},
    {.name = "maxpool_5", .output = t_maxpool_5, .size = 64},
    {.name = "avgpool_6", .output = t_avgpool_6, .size = 16},
    {.name = "fc_7", .output = t_fc_7, .size = 4},
    {.name = "softmax_8", .output = t_scores, .size = 4},
};

const struct crt_model residual_model = {
    .name = "residual",
    .digest = "sha256:d88804e54ecf2062aa57db36b6b0e19659ff086dae15c2b1d661b1e4de0bbfbc",
    .arena_size = sizeof arena,
    .inputs = inputs, .n_inputs = 1,
    .outputs = outputs, .n_outputs = 1,
    .steps = steps, .n_steps = 9,
    .init = residual_init, .run = residual_run, .step = step,
};
