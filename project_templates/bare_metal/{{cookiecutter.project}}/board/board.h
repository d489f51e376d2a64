/* What the firmware may ask of the board. */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

#include "crt/link.h"

/* Clock, UART and counter. Once, first thing in main. Memory, stack and FPU have been set up
 * before main, and faults are reported from then on. */
void board_init(void);

/* Waits for a byte from the UART. Receiving is polled and the UART keeps one byte: whoever calls
 * this must come back within the time of one byte (10 / {{ cookiecutter.board.console.baud }} s), or
 * bytes are lost. The device link lives with that: the host sends nothing while it waits for an
 * answer, and sends again what was lost. */
uint8_t board_read(void);

/* Sends `size` bytes over the UART and waits until the last one is in the transmitter. Text may
 * be sent between two calls of crt_link_receive, as long as it has no zero byte. */
void board_write(const uint8_t *bytes, size_t size);

/* Ticks since board_init, {{ cookiecutter.board.counter.hz }} a second; never goes back. From any context, unless
 * interrupts have been held back for 2^24 ticks. */
uint64_t board_ticks(void);

/* The deepest stack so far, bytes. */
uint32_t board_stack_used(void);

/* The build id that the linker put into the image, CRT_LINK_BUILD_ID_SIZE bytes. */
const uint8_t *board_build_id(void);

/* This board as crt_link_init wants it. */
extern const struct crt_link_port board_link_port;

/* ---- Between the files of board/ ---- */

void counter_init(void);            /* the counter behind board_ticks */
void fault_init(void);              /* faults can be reported; first thing at reset */
void stack_init(void);              /* paints the unused stack and guards its end; once, before main */
void Reset_Handler(void);           /* where the processor starts */
void SysTick_Handler(void);
void Fault_Handler(void);           /* every fault, and every exception that nothing handles */

#endif
