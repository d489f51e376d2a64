/* The UART of Arm's Cortex-M System Design Kit (DDI 0479D, 4.3), as on the MPS2 and MPS3 boards. */
#include "uart.h"

#include "config.h"
#include "cortex_m.h"

#define UART_DATA REGISTER(UART_BASE + 0x00u)
#define UART_STATE REGISTER(UART_BASE + 0x04u)
#define UART_STATE_TX_FULL (1u << 0)
#define UART_STATE_RX_FULL (1u << 1)
#define UART_CTRL REGISTER(UART_BASE + 0x08u)
#define UART_CTRL_TX_ENABLE (1u << 0)
#define UART_CTRL_RX_ENABLE (1u << 1)
#define UART_BAUDDIV REGISTER(UART_BASE + 0x10u)

#define DIVIDER ((UART_CLOCK_HZ + UART_BAUD / 2u) / UART_BAUD)

_Static_assert(DIVIDER >= 16u && DIVIDER <= 0xFFFFFu, "baud rate out of the divider's range");

void uart_init(void)
{
    UART_BAUDDIV = DIVIDER;
    UART_CTRL = UART_CTRL_TX_ENABLE | UART_CTRL_RX_ENABLE;
}

uint8_t uart_read(void)
{
    while ((UART_STATE & UART_STATE_RX_FULL) == 0u) {
        cpu_yield();
    }
    return (uint8_t)UART_DATA;
}

void uart_write(uint8_t byte)
{
    while ((UART_STATE & UART_STATE_TX_FULL) != 0u) {
    }
    UART_DATA = byte;
}

/* No register tells when the shift register is empty: wait for the buffer, then for longer than
 * a byte of ten bits takes (a turn of the loop takes more than one clock of the UART). */
void uart_drain(void)
{
    while ((UART_STATE & UART_STATE_TX_FULL) != 0u) {
    }
    for (uint32_t i = 0; i < 12u * DIVIDER; i++) {
        (void)UART_STATE;
    }
}
