/* What is particular to {{ cookiecutter.board.name }}: {{ cookiecutter.board.title }}. */
#ifndef BOARD_CONFIG_H
#define BOARD_CONFIG_H
{% set console = cookiecutter.board.console %}
#define BOARD_NAME "{{ cookiecutter.board.name }}"

/* The UART of the device link; the driver is drivers/uart_{{ console.driver }}.c. */
#define UART_BASE 0x{{ '%08x' % (console.base | int) }}u
#define UART_CLOCK_HZ {{ console.clock_hz }}u
#define UART_BAUD {{ console.baud }}u
{%- if console.get('tx') %}
#define UART_TX_PORT '{{ console.tx[1] }}'
#define UART_TX_PIN {{ console.tx[2:] }}u
#define UART_RX_PORT '{{ console.rx[1] }}'
#define UART_RX_PIN {{ console.rx[2:] }}u
#define UART_PIN_FUNCTION {{ console.function }}u
{%- endif %}

#endif
