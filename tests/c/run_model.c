/* Runs a generated model on the host: reads inputs from stdin until it ends, writes outputs to
 * stdout. With the argument "steps", writes the output of every step instead. */
#include <stdio.h>
#include <string.h>

#include "crt/runtime.h"

extern const struct crt_model MODEL;

static bool read_inputs(void)
{
    for (unsigned i = 0; i < MODEL.n_inputs; i++) {
        if (fread(MODEL.inputs[i].data, 1, MODEL.inputs[i].size, stdin) != MODEL.inputs[i].size)
            return false;
    }
    return true;
}

static void run(void)
{
    MODEL.run();
    for (unsigned i = 0; i < MODEL.n_outputs; i++)
        fwrite(MODEL.outputs[i].data, 1, MODEL.outputs[i].size, stdout);
}

static void run_steps(void)
{
    for (unsigned i = 0; i < MODEL.n_steps; i++) {
        MODEL.step(i);
        fwrite(MODEL.steps[i].output, 1, MODEL.steps[i].size, stdout);
    }
}

int main(int argc, char **argv)
{
    bool steps = argc > 1 && strcmp(argv[1], "steps") == 0;
    MODEL.init();
    while (read_inputs()) {
        if (steps)
            run_steps();
        else
            run();
    }
    return 0;
}
