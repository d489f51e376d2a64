#include "board.h"
#include "cortex_m.h"

/* A word that neither code nor data is likely to leave on the stack. */
#define PAINT 0x7C3A5EB1u

/* stack_init may save registers after it has read the stack pointer: so many words stay as they are. */
#define OWN_FRAME 16

/* Set by linker.ld. The stack grows down, from __stack_top to __stack_bottom; below lies the guard. */
extern uint32_t __stack_guard[], __stack_bottom[], __stack_top[];

#if defined(__ARM_ARCH_8M_MAIN__) || defined(__ARM_ARCH_8_1M_MAIN__)

/* The core compares every stack pointer with its limit. */
static void guard(void)
{
    __asm volatile("msr msplim, %0" :: "r"(__stack_bottom));
}

#else

/* MPU region 0: nothing may touch the 256 bytes below the stack. Cores without an MPU go without. */
static void guard(void)
{
    const uint32_t size = 7u << 1, execute_never = 1u << 28, enable = 1u;   /* 2^(7 + 1) bytes, no access */

    if (MPU_TYPE == 0u) {
        return;
    }
    MPU_RNR = 0u;
    MPU_RBAR = (uint32_t)(uintptr_t)__stack_guard;
    MPU_RASR = execute_never | size | enable;
    MPU_CTRL = MPU_CTRL_PRIVDEFENA | MPU_CTRL_ENABLE;
    cpu_barrier();
}

#endif

void stack_init(void)
{
    volatile uint32_t *end;

    __asm volatile("mov %0, sp" : "=r"(end));
    for (volatile uint32_t *word = __stack_bottom; word < end - OWN_FRAME; word++) {
        *word = PAINT;
    }
    guard();
}

uint32_t board_stack_used(void)
{
    const volatile uint32_t *word = __stack_bottom;

    while (word < __stack_top && *word == PAINT) {
        word++;
    }
    return (uint32_t)((uintptr_t)__stack_top - (uintptr_t)word);
}
