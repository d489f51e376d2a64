/* The registers of the Cortex-M core that this firmware uses.
 *
 * Sources: ARMv7-M Architecture Reference Manual (DDI 0403E), B3 and C1; ARMv8-M (DDI 0553), D1.2.
 */
#ifndef BOARD_CORTEX_M_H
#define BOARD_CORTEX_M_H

#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

#define SYST_CSR REGISTER(0xE000E010u)
#define SYST_RVR REGISTER(0xE000E014u)
#define SYST_CVR REGISTER(0xE000E018u)
#define SYST_CSR_ENABLE (1u << 0)
#define SYST_CSR_TICKINT (1u << 1)
#define SYST_CSR_CLKSOURCE (1u << 2)    /* the processor's clock */
#define SYST_BITS 24u

#define SCB_ICSR REGISTER(0xE000ED04u)
#define SCB_ICSR_PENDSTSET (1u << 26)
#define SCB_VTOR REGISTER(0xE000ED08u)
#define SCB_AIRCR REGISTER(0xE000ED0Cu)
#define SCB_AIRCR_RESET 0x05FA0004u     /* key and SYSRESETREQ */
#define SCB_SHCSR REGISTER(0xE000ED24u)
#define SCB_SHCSR_FAULTS (7u << 16)     /* UsageFault, BusFault and MemManage enabled */
#define SCB_CFSR REGISTER(0xE000ED28u)
#define SCB_HFSR REGISTER(0xE000ED2Cu)
#define SCB_MMFAR REGISTER(0xE000ED34u)
#define SCB_BFAR REGISTER(0xE000ED38u)
#define SCB_CPACR REGISTER(0xE000ED88u)
#define SCB_CPACR_FPU (0xFu << 20)      /* full access to coprocessors 10 and 11: FPU and Helium */

#define CFSR_MSTKERR (1u << 4)
#define CFSR_MMARVALID (1u << 7)
#define CFSR_STKERR (1u << 12)
#define CFSR_STKOF (1u << 20)           /* ARMv8-M: the stack limit was reached */

#define MPU_TYPE REGISTER(0xE000ED90u)
#define MPU_CTRL REGISTER(0xE000ED94u)
#define MPU_CTRL_ENABLE (1u << 0)
#define MPU_CTRL_PRIVDEFENA (1u << 2)   /* addresses in no region behave as without an MPU */
#define MPU_RNR REGISTER(0xE000ED98u)
#define MPU_RBAR REGISTER(0xE000ED9Cu)
#define MPU_RASR REGISTER(0xE000EDA0u)

#define DEBUG_DHCSR REGISTER(0xE000EDF0u)
#define DEBUG_DHCSR_C_DEBUGEN (1u << 0)
#define DEBUG_DEMCR REGISTER(0xE000EDFCu)
#define DEBUG_DEMCR_TRCENA (1u << 24)
#define DWT_CTRL REGISTER(0xE0001000u)
#define DWT_CTRL_CYCCNTENA (1u << 0)
#define DWT_CYCCNT REGISTER(0xE0001004u)
#define DWT_LAR REGISTER(0xE0001FB0u)
#define DWT_LAR_KEY 0xC5ACCE55u

/* All memory accesses so far are done, and the next instruction sees their effect. */
static inline void cpu_barrier(void)
{
    __asm volatile("dsb\n\tisb" ::: "memory");
}

/* Goes into loops that wait: the core does nothing, but an emulator lets its host work meanwhile. */
static inline void cpu_yield(void)
{
    __asm volatile("yield");
}

/* Holds interrupts back until cpu_unlock is called with the value returned. */
static inline uint32_t cpu_lock(void)
{
    uint32_t before;

    __asm volatile("mrs %0, primask\n\tcpsid i" : "=r"(before) :: "memory");
    return before;
}

static inline void cpu_unlock(uint32_t before)
{
    __asm volatile("msr primask, %0" :: "r"(before) : "memory");
}

#endif
