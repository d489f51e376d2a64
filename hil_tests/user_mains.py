"""Firmware that users might write, as text of src/main.c: it crashes, hangs, or takes long.

The first byte of the image says what happens in an inference: 0 nothing out of the ordinary.
"""

from __future__ import annotations

CRASHES = """
#include "board.h"
#include "crt/link.h"
#include "digits.h"

static struct crt_link host;
static volatile unsigned sink;

void crash_undefined(void);
void crash_jump(void);
void crash_state(void);
void crash_load(void);
unsigned crash_stack(unsigned depth);

__attribute__((noinline)) void crash_undefined(void)
{
    __asm volatile("udf #0");
}

__attribute__((noinline)) void crash_jump(void)
{
    ((void (*)(void))(uintptr_t)0xe0000001u)();
    sink++;
}

__attribute__((noinline)) void crash_state(void)
{
    ((void (*)(void))(uintptr_t)0x00001000u)();      /* even: not Thumb */
    sink++;
}

__attribute__((noinline)) void crash_load(void)
{
    sink = *(volatile unsigned *)(uintptr_t)0xf0000000u;
}

__attribute__((noinline)) unsigned crash_stack(unsigned depth)
{
    volatile uint8_t room[64];
    for (unsigned i = 0; i < sizeof room; i++)
        room[i] = (uint8_t)depth;
    return depth == 0 ? 0 : crash_stack(depth - 1) + room[depth % sizeof room];
}

static void run(void)
{
    switch (*digits_image()) {
    case 1: crash_undefined(); break;
    case 2: crash_jump(); break;
    case 3: crash_state(); break;
    case 4: crash_load(); break;
    case 5: sink = crash_stack(1000); break;
    case 6: for (;;) ;
    default: digits_run();
    }
}

int main(void)
{
    static struct crt_model model;

    board_init();
    digits_init();
    model = digits_model;
    model.run = run;
    crt_link_init(&host, &model, &board_link_port);
    for (;;)
        crt_link_receive(&host, board_read());
}
"""

UNDEFINED, JUMP, STATE, LOAD, STACK, HANG = 1, 2, 3, 4, 5, 6
"""First bytes of the image for CRASHES."""

SILENT = """
int main(void)
{
    for (;;)
        ;
}
"""

SPINS = """
#include "board.h"
#include "crt/link.h"
#include "digits.h"

static struct crt_link host;

/* Two instructions a round. */
static void run(void)
{
    unsigned rounds = *digits_image() == 0 ? 1000u : @ROUNDS@u;

    __asm volatile(".balign 4\\n1: subs %0, %0, #1\\n\\tbne 1b" : "+r"(rounds) :: "cc");
}

int main(void)
{
    static struct crt_model model;

    board_init();
    digits_init();
    model = digits_model;
    model.run = run;
    crt_link_init(&host, &model, &board_link_port);
    for (;;)
        crt_link_receive(&host, board_read());
}
"""
