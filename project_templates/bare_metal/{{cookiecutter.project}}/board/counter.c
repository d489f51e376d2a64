{%- if cookiecutter.board.counter.source == 'dwt' -%}
/* Cycles, counted by the DWT. Its 32 bits wrap every few seconds: SysTick, which comes more
 * often, looks at it so that no wrap is missed. */
#include "board.h"
#include "cortex_m.h"

static uint32_t wraps, last;

void SysTick_Handler(void)
{
    (void)board_ticks();
}

void counter_init(void)
{
    DEBUG_DEMCR |= DEBUG_DEMCR_TRCENA;
    DWT_LAR = DWT_LAR_KEY;      /* a Cortex-M7 locks the DWT; the others ignore this */
    DWT_CYCCNT = 0u;
    DWT_CTRL |= DWT_CTRL_CYCCNTENA;
    SYST_RVR = (1u << SYST_BITS) - 1u;
    SYST_CVR = 0u;
    SYST_CSR = SYST_CSR_CLKSOURCE | SYST_CSR_TICKINT | SYST_CSR_ENABLE;
}

uint64_t board_ticks(void)
{
    uint32_t lock = cpu_lock();
    uint32_t now = DWT_CYCCNT;

    if (now < last) {
        wraps++;
    }
    last = now;
    uint64_t ticks = (uint64_t)wraps << 32 | now;
    cpu_unlock(lock);
    return ticks;
}
{%- else -%}
/* SysTick counts down from 2^24 - 1 at the processor's clock; its exception counts the wraps. */
#include "board.h"
#include "cortex_m.h"

#define MASK ((1u << SYST_BITS) - 1u)

static volatile uint32_t wraps;

void SysTick_Handler(void)
{
    wraps++;
}

void counter_init(void)
{
    SYST_RVR = MASK;
    SYST_CVR = 0u;
    SYST_CSR = SYST_CSR_CLKSOURCE | SYST_CSR_TICKINT | SYST_CSR_ENABLE;
}

/* The exception becomes pending as the counter reaches 0, so 0 is the first tick of a period:
 * (0 - value) modulo 2^24 ticks of it have gone by. A wrap that is pending has not been counted
 * yet; the value is then read again, as the first one may be from before the wrap. */
uint64_t board_ticks(void)
{
    uint32_t lock = cpu_lock();
    uint32_t value = SYST_CVR;
    uint32_t high = wraps;

    if ((SCB_ICSR & SCB_ICSR_PENDSTSET) != 0u) {
        value = SYST_CVR;
        high++;
    }
    cpu_unlock(lock);
    return (uint64_t)high << SYST_BITS | ((0u - value) & MASK);
}
{%- endif %}
