/* The C runtime API: what firmware and tools call.
 *
 * This header and crt/backend.h are the definition of the C runtime (CRT): the runtime is
 * exactly the implementation of the two, and what they need. There is no executor in it;
 * a generated model brings its own. Nothing here allocates, blocks or keeps state, and every
 * function may be called from any context that owns the objects it passes.
 */
#ifndef CRT_RUNTIME_H
#define CRT_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* major << 16 | minor << 8 | patch. Generated code refuses to compile with another version. */
#define CRT_VERSION 0x000100

/* ---- Status ---- */

enum crt_status {
    CRT_OK = 0,
    CRT_BAD_ARGUMENT,   /* an index, size or type that the callee does not have */
    CRT_NO_MEMORY,      /* the workspace is used up */
    CRT_NOT_FOUND,      /* no function or tensor of that name */
    CRT_DEVICE_FAILED,  /* an accelerator reported an error */
};

/* A short English text, never NULL, for any value. */
const char *crt_status_text(enum crt_status status);

/* ---- Tensors ---- */

enum crt_dtype {
    CRT_INT8 = 1,
    CRT_UINT8,
    CRT_INT32,
    CRT_FLOAT32,
};

/* Bytes of one element; 0 for a value that is no crt_dtype. */
size_t crt_dtype_size(enum crt_dtype dtype);

/* A tensor in memory, elements in row-major order. For quantised types
 * real = scale * (q - zero); scale is 0 where there is none. */
struct crt_tensor {
    const char *name;
    void *data;
    uint32_t size;              /* bytes */
    enum crt_dtype dtype;
    uint8_t rank;
    const int32_t *shape;       /* [rank] */
    float scale;
    int32_t zero;
};

/* ---- Models ---- */

/* One step of the model's schedule: an operator and the tensor that it makes. */
struct crt_step {
    const char *name;           /* <kind>_<index in run order>, the same in plan, profiler and errors */
    const void *output;         /* valid between this step and the step that reuses the memory */
    uint32_t size;              /* bytes */
};

/* A compiled model, for code that does not know it by name. Not reentrant: one caller at a
 * time. `init` sets the state that a model keeps between runs and must be called once before
 * the first `run`. `run` is step(0), step(1), ..., step(n_steps - 1) in this order; it may
 * overwrite the inputs, and the outputs stay valid until the next run or step. */
struct crt_model {
    const char *name;
    const char *digest;         /* "sha256:" and 64 hex digits, of the model file */
    uint32_t arena_size;        /* bytes */
    const struct crt_tensor *inputs, *outputs;
    const struct crt_step *steps;
    uint16_t n_inputs, n_outputs, n_steps;
    void (*init)(void);
    void (*run)(void);
    void (*step)(unsigned index);   /* index < n_steps */
};

/* ---- Functions and devices ---- */

/* A function is an operator with uniform arguments (the packed calling convention). It checks
 * its arguments and answers with a status. */
struct crt_function {
    const char *name;
    enum crt_status (*call)(const struct crt_tensor *args, size_t n_args);
};

/* Functions that belong together, in any order; names are unique. */
struct crt_module {
    const struct crt_function *functions;
    size_t n_functions;
};

/* A device is where functions run. `launch` starts one and may return before it has ended;
 * `args` stay valid until `sync`. `sync` waits for all that was launched and returns the first
 * failure. A second launch before sync waits or queues, as the device likes. */
struct crt_device {
    const char *name;
    void *context;              /* the device's own */
    enum crt_status (*launch)(void *context, const struct crt_function *function, const struct crt_tensor *args,
                              size_t n_args);
    enum crt_status (*sync)(void *context);
};

#ifdef __cplusplus
}
#endif

#endif
