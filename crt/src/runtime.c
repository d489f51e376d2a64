#include "crt/runtime.h"

const char *crt_status_text(enum crt_status status)
{
    switch (status) {
    case CRT_OK: return "ok";
    case CRT_BAD_ARGUMENT: return "bad argument";
    case CRT_NO_MEMORY: return "no memory";
    case CRT_NOT_FOUND: return "not found";
    case CRT_DEVICE_FAILED: return "device failed";
    }
    return "unknown status";
}

size_t crt_dtype_size(enum crt_dtype dtype)
{
    switch (dtype) {
    case CRT_INT8: return 1;
    case CRT_UINT8: return 1;
    case CRT_INT32: return 4;
    case CRT_FLOAT32: return 4;
    }
    return 0;
}
