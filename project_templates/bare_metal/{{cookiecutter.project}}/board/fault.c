/* A fault is told over the UART in one line of text; then the firmware starts anew. */
#include "board.h"
#include "cortex_m.h"
#include "uart.h"

extern uint32_t __stack_guard[], __stack_bottom[];

/* A fault while this is set is one of the report itself. Set at reset, before anything can fail: a
 * fault before .bss is cleared must not see what the RAM holds at power-up or kept over a restart. */
static volatile bool reporting;

void fault_report(uint32_t sp, uint32_t pc, uint32_t lr, uint32_t exception);

/* The stack pointer may be broken. The two words of interest are fetched where the exception
 * frame lies within the stack (which begins at __stack_bottom and has room for 32 bytes there),
 * then the stack is begun again: nothing returns from here. */
__attribute__((naked)) void Fault_Handler(void)
{
    __asm volatile(
        "tst lr, #4\n\t"
        "ite eq\n\t"
        "mrseq r0, msp\n\t"
        "mrsne r0, psp\n\t"
        "movs r1, #0\n\t"
        "movs r2, #0\n\t"
        "ldr r3, =__stack_bottom\n\t"
        "cmp r0, r3\n\t"
        "blo 1f\n\t"
        "ldr r3, =__stack_top - 32\n\t"
        "cmp r0, r3\n\t"
        "bhi 1f\n\t"
        "ldr r1, [r0, #24]\n\t"
        "ldr r2, [r0, #20]\n"
        "1:\n\t"
        "ldr r3, =__stack_top\n\t"
        "mov sp, r3\n\t"
        "mrs r3, ipsr\n\t"
        "b fault_report\n\t"
        ".ltorg");
}

void fault_init(void)
{
    reporting = false;
}

static void put_text(const char *text)
{
    while (*text != '\0') {
        uart_write((uint8_t)*text++);
    }
}

static void put_value(const char *name, uint32_t value)
{
    put_text(name);
    put_text(" 0x");
    for (unsigned shift = 32u; shift > 0u; shift -= 4u) {
        uart_write((uint8_t)"0123456789abcdef"[(value >> (shift - 4u)) & 0xFu]);
    }
}

static bool is_stack_overflow(uint32_t cfsr)
{
    uint32_t below = SCB_MMFAR - (uint32_t)(uintptr_t)__stack_guard;
    uint32_t guard_size = (uint32_t)((uintptr_t)__stack_bottom - (uintptr_t)__stack_guard);

    return (cfsr & (CFSR_MSTKERR | CFSR_STKERR | CFSR_STKOF)) != 0u
        || ((cfsr & CFSR_MMARVALID) != 0u && below < guard_size);
}

static __attribute__((noreturn)) void restart(void)
{
    uart_drain();
    if ((DEBUG_DHCSR & DEBUG_DHCSR_C_DEBUGEN) != 0u) {
        __asm volatile("bkpt 0");
    }
    SCB_AIRCR = SCB_AIRCR_RESET;
    cpu_barrier();
    for (;;) {
    }
}

/* Called by Fault_Handler alone. pc and lr are 0 where the exception left no frame to read. */
__attribute__((noreturn, used)) void fault_report(uint32_t sp, uint32_t pc, uint32_t lr, uint32_t exception)
{
    uint32_t cfsr = SCB_CFSR;
    bool no_frame = (cfsr & (CFSR_MSTKERR | CFSR_STKERR | CFSR_STKOF)) != 0u;

    if (reporting) {
        restart();
    }
    reporting = true;
    uart_init();            /* the fault may have come before, or may have changed it */
    uart_write(0u);         /* ends a frame of which half was sent */
    put_value("fault: pc", no_frame ? 0u : pc);
    put_value(" lr", no_frame ? 0u : lr);
    put_value(" cfsr", cfsr);
    put_value(" hfsr", SCB_HFSR);
    put_value(" mmfar", SCB_MMFAR);
    put_value(" bfar", SCB_BFAR);
    put_value(" sp", sp);
    put_value(" exception", exception);
    put_text(is_stack_overflow(cfsr) ? " stack overflow\n" : "\n");
    restart();
}
