#include "crt/backend.h"

#include <string.h>

/* ---- Workspace ---- */

void *crt_workspace_take(struct crt_workspace *workspace, size_t size)
{
    const size_t misaligned = workspace->used % CRT_WORKSPACE_ALIGN;
    const size_t gap = misaligned == 0 ? 0 : CRT_WORKSPACE_ALIGN - misaligned;
    const size_t left = workspace->size - workspace->used;
    if (size == 0) {
        size = 1;   /* so that the block has an address of its own */
    }
    if (gap > left || size > left - gap) {
        return NULL;
    }
    uint8_t *block = workspace->memory + workspace->used + gap;
    workspace->used += gap + size;
    if (workspace->peak < workspace->used) {
        workspace->peak = workspace->used;
    }
    return block;
}

enum crt_status crt_workspace_give(struct crt_workspace *workspace, const void *block)
{
    /* Addresses as numbers: `block` may lie anywhere, and pointers into different objects must not be compared. */
    const uintptr_t offset = (uintptr_t)block - (uintptr_t)workspace->memory;
    if (block == NULL || offset >= workspace->used || offset % CRT_WORKSPACE_ALIGN != 0) {
        return CRT_BAD_ARGUMENT;
    }
    workspace->used = offset;
    return CRT_OK;
}

/* ---- Devices ---- */

static enum crt_status cpu_launch(void *context, const struct crt_function *function, const struct crt_tensor *args,
                                  size_t n_args)
{
    (void)context;
    return function->call(args, n_args);
}

static enum crt_status cpu_sync(void *context)
{
    (void)context;
    return CRT_OK;
}

const struct crt_device crt_cpu = {"cpu", NULL, cpu_launch, cpu_sync};

enum crt_status crt_launch(const struct crt_device *device, const struct crt_function *function,
                           const struct crt_tensor *args, size_t n_args)
{
    if (function == NULL) {
        return CRT_NOT_FOUND;
    }
    return device->launch(device->context, function, args, n_args);
}

enum crt_status crt_sync(const struct crt_device *device)
{
    return device->sync(device->context);
}

enum crt_status crt_call(const struct crt_device *device, const struct crt_function *function,
                         const struct crt_tensor *args, size_t n_args)
{
    const enum crt_status status = crt_launch(device, function, args, n_args);
    return status == CRT_OK ? crt_sync(device) : status;
}

/* ---- Function look-up ---- */

const struct crt_function *crt_find_function(const struct crt_module *module, const char *name)
{
    for (size_t i = 0; i < module->n_functions; i++) {
        if (strcmp(module->functions[i].name, name) == 0) {
            return &module->functions[i];
        }
    }
    return NULL;
}
