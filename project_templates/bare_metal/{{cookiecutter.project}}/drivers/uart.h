/* What every UART driver provides; 8 data bits, no parity, 1 stop bit, polled. The parameters
 * are those of board/config.h. */
#ifndef UART_H
#define UART_H

#include <stdint.h>

void uart_init(void);               /* the clocks it needs as well; may be called again at any time */
uint8_t uart_read(void);            /* waits for a byte */
void uart_write(uint8_t byte);      /* waits for room in the transmitter */
void uart_drain(void);              /* waits until the last byte has left */

#endif
