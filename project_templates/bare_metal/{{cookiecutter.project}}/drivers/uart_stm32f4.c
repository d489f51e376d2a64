/* USART of the STM32F4, with the clock tree and the pins that it needs.
 *
 * Register addresses and bits: RM0090 (STM32F405, F407, ...) and RM0390 (STM32F446); the parts
 * used here are the same in both. The core runs at 168 MHz from the internal oscillator, so that
 * no board needs a crystal; at power-on the regulator is at scale 1, which 168 MHz needs. */
#include "uart.h"

#include "config.h"
#include "cortex_m.h"

#include <stdbool.h>

/* Reset and clock control: RM0090, 7.3. */
#define RCC_BASE 0x40023800u
#define RCC_CR REGISTER(RCC_BASE + 0x00u)
#define RCC_CR_HSION (1u << 0)
#define RCC_CR_HSIRDY (1u << 1)
#define RCC_CR_PLLON (1u << 24)
#define RCC_CR_PLLRDY (1u << 25)
#define RCC_PLLCFGR REGISTER(RCC_BASE + 0x04u)
#define RCC_CFGR REGISTER(RCC_BASE + 0x08u)
#define RCC_CFGR_SW_PLL 2u
#define RCC_CFGR_SWS_MASK (3u << 2)
#define RCC_CFGR_SWS_PLL (2u << 2)
#define RCC_CFGR_APB1_DIV4 (5u << 10)
#define RCC_CFGR_APB2_DIV2 (4u << 13)
#define RCC_AHB1ENR REGISTER(RCC_BASE + 0x30u)
#define RCC_APB1ENR REGISTER(RCC_BASE + 0x40u)
#define RCC_APB2ENR REGISTER(RCC_BASE + 0x44u)

/* 16 MHz / 8 * 168 / 2 = 168 MHz; 336 MHz / 7 = 48 MHz; bits 28 to 30 are the F446's PLLR. */
#define PLL_SETTING (2u << 28 | 7u << 24 | 0u << 16 | 168u << 6 | 8u)
#define APB1_HZ 42000000u
#define APB2_HZ 84000000u

/* Five wait states at 2.7 to 3.6 V, caches and prefetch on: RM0090, 3.5 and 3.9.1. */
#define FLASH_ACR REGISTER(0x40023C00u)
#define FLASH_SETTING (5u | 1u << 8 | 1u << 9 | 1u << 10)

/* Pins: RM0090, 8.4. */
#define GPIO_BASE(port) (0x40020000u + 0x400u * ((uint32_t)(port) - (uint32_t)'A'))
#define GPIO_MODER(port) REGISTER(GPIO_BASE(port) + 0x00u)
#define GPIO_PUPDR(port) REGISTER(GPIO_BASE(port) + 0x0Cu)
#define GPIO_AFR(port, pin) REGISTER(GPIO_BASE(port) + 0x20u + 4u * ((pin) / 8u))

/* USART: RM0090, 30.6. */
#define USART_SR REGISTER(UART_BASE + 0x00u)
#define USART_SR_RXNE (1u << 5)
#define USART_SR_TC (1u << 6)
#define USART_SR_TXE (1u << 7)
#define USART_DR REGISTER(UART_BASE + 0x04u)
#define USART_BRR REGISTER(UART_BASE + 0x08u)
#define USART_CR1 REGISTER(UART_BASE + 0x0Cu)
#define USART_CR1_RE (1u << 2)
#define USART_CR1_TE (1u << 3)
#define USART_CR1_UE (1u << 13)

/* USART1 and 6 are on APB2, enabled by bits 4 and 5; USART2, 3, UART4, 5 on APB1, bits 17 to 20. */
#define ON_APB2 (UART_BASE >= 0x40010000u)
#define ENABLE_BIT (ON_APB2 ? 4u + ((UART_BASE - 0x40011000u) >> 10) : 17u + ((UART_BASE - 0x40004400u) >> 10))
#define DIVIDER ((UART_CLOCK_HZ + UART_BAUD / 2u) / UART_BAUD)

_Static_assert(UART_CLOCK_HZ == (ON_APB2 ? APB2_HZ : APB1_HZ), "not the clock of this bus");
_Static_assert(DIVIDER >= 16u && DIVIDER <= 0xFFFFu, "baud rate out of the divider's range");

/* An oscillator starts within microseconds, so this many looks are far more than enough; where
 * there is no RCC (emulators), they are all that is waited. */
#define LOOKS 10000u

static bool wait_for(volatile uint32_t *reg, uint32_t mask, uint32_t value)
{
    for (uint32_t i = 0; i < LOOKS; i++) {
        if ((*reg & mask) == value) {
            return true;
        }
    }
    return false;
}

static void clock_init(void)
{
    if ((RCC_CFGR & RCC_CFGR_SWS_MASK) == RCC_CFGR_SWS_PLL) {
        return;             /* it runs already, and must not be set while it does */
    }
    RCC_CR |= RCC_CR_HSION;
    (void)wait_for(&RCC_CR, RCC_CR_HSIRDY, RCC_CR_HSIRDY);
    RCC_PLLCFGR = PLL_SETTING;
    RCC_CR |= RCC_CR_PLLON;
    FLASH_ACR = FLASH_SETTING;
    RCC_CFGR = RCC_CFGR_APB1_DIV4 | RCC_CFGR_APB2_DIV2;
    (void)wait_for(&RCC_CR, RCC_CR_PLLRDY, RCC_CR_PLLRDY);
    RCC_CFGR |= RCC_CFGR_SW_PLL;
    (void)wait_for(&RCC_CFGR, RCC_CFGR_SWS_MASK, RCC_CFGR_SWS_PLL);
}

/* Hands a pin over to the USART, pulled up so that an open line is silent. */
static void pin_init(char port, uint32_t pin)
{
    uint32_t two = 2u * pin, four = 4u * (pin % 8u);

    RCC_AHB1ENR |= 1u << ((uint32_t)port - (uint32_t)'A');
    (void)RCC_AHB1ENR;      /* two cycles pass before the port listens (errata ES0182, 2.1.13) */
    GPIO_AFR(port, pin) = (GPIO_AFR(port, pin) & ~(0xFu << four)) | UART_PIN_FUNCTION << four;
    GPIO_PUPDR(port) = (GPIO_PUPDR(port) & ~(3u << two)) | 1u << two;
    GPIO_MODER(port) = (GPIO_MODER(port) & ~(3u << two)) | 2u << two;
}

void uart_init(void)
{
    clock_init();
    pin_init(UART_TX_PORT, UART_TX_PIN);
    pin_init(UART_RX_PORT, UART_RX_PIN);
    if (ON_APB2) {
        RCC_APB2ENR |= 1u << ENABLE_BIT;
    } else {
        RCC_APB1ENR |= 1u << ENABLE_BIT;
    }
    (void)RCC_APB2ENR;
    USART_BRR = DIVIDER;
    USART_CR1 = USART_CR1_UE | USART_CR1_TE | USART_CR1_RE;
}

/* Reading the status and then the data also clears an overrun. */
uint8_t uart_read(void)
{
    while ((USART_SR & USART_SR_RXNE) == 0u) {
        cpu_yield();
    }
    return (uint8_t)USART_DR;
}

void uart_write(uint8_t byte)
{
    while ((USART_SR & USART_SR_TXE) == 0u) {
    }
    USART_DR = byte;
}

void uart_drain(void)
{
    while ((USART_SR & USART_SR_TC) == 0u) {
    }
}
