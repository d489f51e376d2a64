#include "tiny_model.h"

#include <string.h>

uint64_t tiny_ticks;
static int32_t runs, bias[4], sums[4], size = TINY_SIZE_MAX;
static int8_t values[TINY_SIZE_MAX], scaled[TINY_SIZE_MAX];
static const int32_t four = 4;

static void init(void)
{
    runs = 0;
}

static void step(unsigned index)
{
    if (index == 0) {
        for (int32_t i = 0; i < size; i++) {
            scaled[i] = (int8_t)(uint8_t)((uint32_t)(3 * values[i]) + (uint32_t)bias[i % 4] + (uint32_t)runs);
        }
        memset(values, 0x35, sizeof values);
        tiny_ticks += 1000;
        return;
    }
    memset(sums, 0, sizeof sums);
    for (int32_t i = 0; i < size; i++) {
        sums[i % 4] += scaled[i];
    }
    runs++;
    tiny_ticks += 24;
}

static void run(void)
{
    step(0);
    step(1);
}

static struct crt_tensor inputs[] = {
    {"values", values, 0, CRT_INT8, 1, &size, 1.0f, 0},
    {"bias", bias, sizeof bias, CRT_INT32, 1, &four, 0.0f, 0},
};
static struct crt_tensor outputs[] = {
    {"sums", sums, sizeof sums, CRT_INT32, 1, &four, 0.0f, 0},
    {"scaled", scaled, 0, CRT_INT8, 1, &size, 1.0f, 0},
};
static struct crt_step steps[] = {{"scale_0", scaled, 0}, {"sum_1", sums, sizeof sums}};

struct crt_model tiny_model = {
    .name = "tiny", .arena_size = 0, .inputs = inputs, .outputs = outputs, .steps = steps,
    .n_inputs = 2, .n_outputs = 2, .n_steps = 2, .init = init, .run = run, .step = step,
};

void tiny_model_setup(uint32_t new_size, const char *digest)
{
    size = (int32_t)new_size;
    inputs[0].size = outputs[1].size = steps[0].size = new_size;
    tiny_model.digest = digest;
    init();
}
