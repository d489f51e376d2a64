/* From reset to main. */
#include "board.h"
#include "cortex_m.h"

/* Set by linker.ld. */
extern uint32_t __stack_top[], __data_start[], __data_end[], __bss_start[], __bss_end[];
extern const uint32_t __data_load[];

int main(void);

struct vectors {
    uint32_t *stack;
    void (*handlers[15])(void);
};

/* The exceptions of the core. Handlers of interrupts follow in the order of the chip's manual:
 * make the array longer where you need them. */
static const struct vectors vectors __attribute__((section(".vectors"), used, aligned(128))) = {
    .stack = __stack_top,
    .handlers = {
        Reset_Handler,
        Fault_Handler,      /* NMI */
        Fault_Handler,      /* HardFault */
        Fault_Handler,      /* MemManage */
        Fault_Handler,      /* BusFault */
        Fault_Handler,      /* UsageFault */
        Fault_Handler,      /* SecureFault */
        NULL, NULL, NULL,
        Fault_Handler,      /* SVCall */
        Fault_Handler,      /* DebugMonitor */
        NULL,
        Fault_Handler,      /* PendSV */
        SysTick_Handler,
    },
};

static void memory_init(void)
{
    const uint32_t *from = __data_load;

    for (uint32_t *to = __data_start; to < __data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = __bss_start; to < __bss_end; to++) {
        *to = 0u;
    }
}

/* Apart from Reset_Handler, as the compiler may use the registers of the FPU from here on. */
static __attribute__((noinline, noreturn)) void start(void)
{
    stack_init();
    memory_init();
    SCB_SHCSR |= SCB_SHCSR_FAULTS;
    (void)main();
    for (;;) {
    }
}

__attribute__((noreturn)) void Reset_Handler(void)
{
    fault_init();
    SCB_VTOR = (uint32_t)(uintptr_t)&vectors;
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    SCB_CPACR |= SCB_CPACR_FPU;
#endif
    cpu_barrier();
    start();
}
