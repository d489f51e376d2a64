#include "board.h"

#include "config.h"
#include "uart.h"

/* The linker's note: three words of header, the four bytes "GNU", then the SHA-1. */
#define NOTE_HEADER 16u

extern const uint8_t __build_id_note[NOTE_HEADER + CRT_LINK_BUILD_ID_SIZE];

const struct crt_link_port board_link_port = {
    .write = board_write,
    .ticks = board_ticks,
    .stack_used = board_stack_used,
    .board = BOARD_NAME,
    .build_id = &__build_id_note[NOTE_HEADER],
};

void board_init(void)
{
    uart_init();
    counter_init();
}

uint8_t board_read(void)
{
    return uart_read();
}

void board_write(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        uart_write(bytes[i]);
    }
}

const uint8_t *board_build_id(void)
{
    return board_link_port.build_id;
}
