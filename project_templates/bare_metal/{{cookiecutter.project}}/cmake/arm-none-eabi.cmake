# The GNU compiler for Arm Cortex-M. Another one: cmake --preset default -DARM_GCC=/path/to/arm-none-eabi-gcc
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR arm)

find_program(ARM_GCC arm-none-eabi-gcc)
if(NOT ARM_GCC)
    message(FATAL_ERROR
        "arm-none-eabi-gcc is not installed, or not in PATH.\n"
        "Debian and Ubuntu: apt install gcc-arm-none-eabi libnewlib-arm-none-eabi\n"
        "Others: https://developer.arm.com/downloads/-/arm-gnu-toolchain-downloads")
endif()
set(CMAKE_C_COMPILER ${ARM_GCC})

# cmake's own trial programs have no linker script, so they are not linked.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ARM_GCC)

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_FLAGS_RELEASE "-O2" CACHE STRING "Flags of the release build")

set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
