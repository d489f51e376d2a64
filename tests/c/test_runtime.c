/* Each sentence of crt/runtime.h and crt/backend.h that code can break. Prints what failed. */
#include <stdio.h>
#include <string.h>

#include "crt/backend.h"

static int failures;

#define CHECK(condition)                                                \
    do {                                                                \
        if (!(condition)) {                                             \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #condition);      \
            failures++;                                                 \
        }                                                               \
    } while (0)

static void test_status_text(void)
{
    const char *texts[5];
    for (int i = 0; i < 5; i++) {
        texts[i] = crt_status_text((enum crt_status)i);
        CHECK(texts[i] != NULL && strlen(texts[i]) > 0 && strlen(texts[i]) < 40);
        for (int j = 0; j < i; j++) {
            CHECK(strcmp(texts[i], texts[j]) != 0);
        }
    }
    CHECK(strcmp(crt_status_text(CRT_OK), "ok") == 0);
    CHECK(strcmp(crt_status_text((enum crt_status)5), "unknown status") == 0);
    CHECK(strcmp(crt_status_text((enum crt_status)1000), "unknown status") == 0);
}

static void test_dtype_size(void)
{
    CHECK(crt_dtype_size(CRT_INT8) == sizeof(int8_t));
    CHECK(crt_dtype_size(CRT_UINT8) == sizeof(uint8_t));
    CHECK(crt_dtype_size(CRT_INT32) == sizeof(int32_t));
    CHECK(crt_dtype_size(CRT_FLOAT32) == sizeof(float));
    CHECK(crt_dtype_size((enum crt_dtype)0) == 0);
    CHECK(crt_dtype_size((enum crt_dtype)5) == 0);
}

static void test_workspace_take(void)
{
    static _Alignas(CRT_WORKSPACE_ALIGN) uint8_t memory[100];
    struct crt_workspace workspace = {.memory = memory, .size = sizeof memory};
    uint8_t *one = crt_workspace_take(&workspace, 1);
    uint8_t *none = crt_workspace_take(&workspace, 0);
    uint8_t *rest = crt_workspace_take(&workspace, 68);
    CHECK(one == memory && none == memory + 16 && rest == memory + 32);
    CHECK(workspace.used == 100 && workspace.peak == 100);
    CHECK(crt_workspace_take(&workspace, 0) == NULL);
    CHECK(crt_workspace_take(&workspace, SIZE_MAX) == NULL);
    CHECK(workspace.used == 100 && workspace.peak == 100);
    memset(rest, 1, 68);
}

static void test_workspace_limits(void)
{
    static _Alignas(CRT_WORKSPACE_ALIGN) uint8_t memory[64];
    struct crt_workspace empty = {.memory = NULL, .size = 0}, workspace = {.memory = memory, .size = sizeof memory};
    CHECK(crt_workspace_take(&empty, 0) == NULL && empty.peak == 0);
    CHECK(crt_workspace_take(&workspace, 65) == NULL && workspace.used == 0 && workspace.peak == 0);
    CHECK(crt_workspace_take(&workspace, 64) == memory);
    workspace.used = 0;
    CHECK(crt_workspace_take(&workspace, 49) == memory);
    CHECK(crt_workspace_take(&workspace, SIZE_MAX - 60) == NULL);
    CHECK(crt_workspace_take(&workspace, 1) == NULL);
}

static void test_workspace_give(void)
{
    static _Alignas(CRT_WORKSPACE_ALIGN) uint8_t memory[64], other[64];
    struct crt_workspace workspace = {.memory = memory, .size = sizeof memory};
    uint8_t *first = crt_workspace_take(&workspace, 16);
    uint8_t *second = crt_workspace_take(&workspace, 5);
    uint8_t *third = crt_workspace_take(&workspace, 16);
    const size_t used = workspace.used;
    CHECK(crt_workspace_give(&workspace, NULL) == CRT_BAD_ARGUMENT);
    CHECK(crt_workspace_give(&workspace, other) == CRT_BAD_ARGUMENT);
    CHECK(crt_workspace_give(&workspace, second + 1) == CRT_BAD_ARGUMENT);
    CHECK(crt_workspace_give(&workspace, third + 16) == CRT_BAD_ARGUMENT);
    CHECK(workspace.used == used);
    CHECK(crt_workspace_give(&workspace, second) == CRT_OK);
    CHECK(crt_workspace_give(&workspace, third) == CRT_BAD_ARGUMENT);
    CHECK(crt_workspace_give(&workspace, second) == CRT_BAD_ARGUMENT);
    CHECK(crt_workspace_take(&workspace, 32) == second);
    CHECK(crt_workspace_give(&workspace, first) == CRT_OK);
    CHECK(workspace.used == 0 && workspace.peak == 48);
    CHECK(crt_workspace_take(&workspace, 64) == first && workspace.peak == 64);
}

static size_t calls, synced;

static enum crt_status count(const struct crt_tensor *args, size_t n_args)
{
    calls += n_args;
    return args == NULL ? CRT_BAD_ARGUMENT : CRT_OK;
}

/* An accelerator that does the work when it is waited for. */
static const struct crt_function *queued;

static enum crt_status later(void *context, const struct crt_function *function, const struct crt_tensor *args,
                             size_t n_args)
{
    (void)args;
    CHECK(*(int *)context == 7 && n_args == 2);
    queued = function;
    return CRT_OK;
}

static enum crt_status wait(void *context)
{
    CHECK(*(int *)context == 7);
    synced++;
    return queued == NULL ? CRT_OK : CRT_DEVICE_FAILED;
}

static void test_cpu(void)
{
    const struct crt_function function = {"count", count};
    const struct crt_tensor args[2] = {{.name = "a"}, {.name = "b"}};
    CHECK(crt_launch(&crt_cpu, &function, args, 2) == CRT_OK && calls == 2);
    CHECK(crt_sync(&crt_cpu) == CRT_OK && calls == 2);
    CHECK(crt_call(&crt_cpu, &function, args, 1) == CRT_OK && calls == 3);
    CHECK(crt_launch(&crt_cpu, &function, NULL, 0) == CRT_BAD_ARGUMENT);
    CHECK(crt_sync(&crt_cpu) == CRT_OK);
    CHECK(crt_call(&crt_cpu, &function, NULL, 0) == CRT_BAD_ARGUMENT);
    CHECK(crt_launch(&crt_cpu, NULL, args, 2) == CRT_NOT_FOUND);
    CHECK(crt_call(&crt_cpu, NULL, args, 2) == CRT_NOT_FOUND && calls == 3);
}

static void test_device(void)
{
    int context = 7;
    const struct crt_function function = {"count", count};
    const struct crt_tensor args[2] = {{.name = "a"}, {.name = "b"}};
    const struct crt_device device = {"accelerator", &context, later, wait};
    const size_t before = calls;
    CHECK(crt_sync(&device) == CRT_OK && synced == 1);
    CHECK(crt_launch(&device, &function, args, 2) == CRT_OK && queued == &function && calls == before && synced == 1);
    CHECK(crt_sync(&device) == CRT_DEVICE_FAILED && synced == 2);
    queued = NULL;
    CHECK(crt_call(&device, &function, args, 2) == CRT_DEVICE_FAILED && synced == 3);
    CHECK(crt_call(&device, NULL, args, 2) == CRT_NOT_FOUND && synced == 3);
}

static void test_find_function(void)
{
    static const struct crt_function functions[] = {{"pool", count}, {"conv", count}, {"conv2", count}};
    const struct crt_module module = {functions, 3}, empty = {NULL, 0};
    CHECK(crt_find_function(&module, "pool") == &functions[0]);
    CHECK(crt_find_function(&module, "conv") == &functions[1]);
    CHECK(crt_find_function(&module, "conv2") == &functions[2]);
    CHECK(crt_find_function(&module, "con") == NULL);
    CHECK(crt_find_function(&module, "") == NULL);
    CHECK(crt_find_function(&empty, "conv") == NULL);
}

int main(void)
{
    test_status_text();
    test_dtype_size();
    test_workspace_take();
    test_workspace_limits();
    test_workspace_give();
    test_cpu();
    test_device();
    test_find_function();
    return failures != 0;
}
