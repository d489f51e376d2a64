/* Runs generated models on the host. stdin holds jobs: a struct job, then `count` times the model's
 * inputs. For each of them stdout gets the outputs, or with `steps` the output of every step. Before
 * a job stderr gets the model's name, so that a report of a sanitiser can be told apart. */
#include <stdio.h>

#include "crt/runtime.h"

extern const struct crt_model *const models[];   /* written by the test */

struct job {
    uint32_t model, steps, count;
};

static bool read_inputs(const struct crt_model *model)
{
    for (unsigned i = 0; i < model->n_inputs; i++) {
        if (fread(model->inputs[i].data, 1, model->inputs[i].size, stdin) != model->inputs[i].size) {
            return false;
        }
    }
    return true;
}

static void run(const struct crt_model *model)
{
    model->run();
    for (unsigned i = 0; i < model->n_outputs; i++) {
        fwrite(model->outputs[i].data, 1, model->outputs[i].size, stdout);
    }
}

static void run_steps(const struct crt_model *model)
{
    for (unsigned i = 0; i < model->n_steps; i++) {
        model->step(i);
        fwrite(model->steps[i].output, 1, model->steps[i].size, stdout);
    }
}

int main(void)
{
    struct job job;
    while (fread(&job, sizeof job, 1, stdin) == 1) {
        const struct crt_model *model = models[job.model];
        fprintf(stderr, "%s\n", model->name);
        model->init();
        for (uint32_t i = 0; i < job.count; i++) {
            if (!read_inputs(model)) {
                return 1;
            }
            if (job.steps) {
                run_steps(model);
            } else {
                run(model);
            }
        }
    }
    return 0;
}
