/* The C backend API: what generated operator code calls.
 *
 * Plain generated models have their memory planned and their operators called directly, so
 * they need none of this; operators of a user or a platform, packed and registry calling
 * conventions do. See crt/runtime.h for what holds for both headers.
 */
#ifndef CRT_BACKEND_H
#define CRT_BACKEND_H

#include "crt/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Workspace: scratch memory for the time of a call, given back in reverse order ---- */

#define CRT_WORKSPACE_ALIGN 16u

/* `memory` is the caller's and aligned to CRT_WORKSPACE_ALIGN; `used` and `peak` start as 0.
 * `peak` is the largest `used` so far, for sizing it. */
struct crt_workspace {
    uint8_t *memory;
    size_t size, used, peak;    /* bytes */
};

/* `size` bytes aligned to CRT_WORKSPACE_ALIGN, or NULL where they are not there; size 0 gives a
 * block as well. The contents are undefined. */
void *crt_workspace_take(struct crt_workspace *workspace, size_t size);

/* Gives `block` back and with it all that was taken after it. CRT_BAD_ARGUMENT, and nothing
 * changes, where it is no aligned address in what is taken (a block given twice, of another
 * workspace, NULL). */
enum crt_status crt_workspace_give(struct crt_workspace *workspace, const void *block);

/* ---- Devices ---- */

/* The processor itself: launch calls the function and keeps nothing, so sync has nothing to
 * wait for; a failure is returned by launch. */
extern const struct crt_device crt_cpu;

/* CRT_NOT_FOUND where `function` is NULL, so that the result of a look-up can be passed as it
 * is; else what the device answers. */
enum crt_status crt_launch(const struct crt_device *device, const struct crt_function *function,
                           const struct crt_tensor *args, size_t n_args);
enum crt_status crt_sync(const struct crt_device *device);

/* A blocking call: launch followed by sync, or the failure of launch. */
enum crt_status crt_call(const struct crt_device *device, const struct crt_function *function,
                         const struct crt_tensor *args, size_t n_args);

/* ---- Function look-up ---- */

/* The function of that name, or NULL. */
const struct crt_function *crt_find_function(const struct crt_module *module, const char *name);

#ifdef __cplusplus
}
#endif

#endif
