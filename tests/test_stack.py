"""The bound of the stack: what listings say, and images made by the cross compiler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tinykiln.errors import BuildError, ToolError
from tinykiln.stack import EXCEPTION_FRAME, Function, parse_listing, stack_bound

OBJDUMP = "arm-none-eabi-objdump"

START = """
typedef void handler(void);
extern int work(int n);
volatile int result;
void Reset_Handler(void);
void Reset_Handler(void) { for (;;) result = work(result); }
void Fault_Handler(void);
#ifndef FAULT_ROOM
#define FAULT_ROOM 4
#endif
void Fault_Handler(void) { volatile char room[FAULT_ROOM]; room[result & 3] = 1; for (;;) result = room[0]; }
__attribute__((section(".vectors"), used)) handler *const vectors[4] = {
    (handler *)0x20001000, Reset_Handler, Fault_Handler, Fault_Handler,
};
#define KEEP __attribute__((noinline, noclone))
KEEP int leaf(int n);
KEEP int leaf(int n) { volatile char room[100]; room[n & 7] = 1; return room[n & 3]; }
"""

LEAF = 8 + 100
"""Bytes of `leaf`, rounded up to what the compiler keeps aligned."""


def image(folder: Path, code: str, *options: str) -> Path:
    """An image whose start-up code runs `work` for ever."""
    (folder / "image.c").write_text(START + code)
    flags = ["-mcpu=cortex-m4", "-mthumb", "-O2", "-fno-inline", "-nostdlib", "-Wl,--emit-relocs", "-Wl,-Ttext=0x8000",
             "-Wl,-eReset_Handler", "-Wl,--section-start=.vectors=0"]
    subprocess.run(["arm-none-eabi-gcc", *flags, *options, "image.c", "-o", "image.elf"], cwd=folder, check=True)
    return folder / "image.elf"


def bound(folder: Path, code: str, *options: str) -> int | None:
    return stack_bound(image(folder, code, *options), OBJDUMP)


def listing(*instructions: str, name: str = "f", address: int = 0x100) -> str:
    lines = [f"{address:08x} <{name}>:"]
    lines += [f"     {address + 2 * i:x}:\tb580      \t{text}" for i, text in enumerate(instructions)]
    return "\n".join(lines) + "\n"


def parsed(*instructions: str) -> Function:
    """`f` of these instructions and a return, before `g` at 0x200 and `h` at 0x300."""
    others = listing("bx\tlr", name="g", address=0x200) + listing("bx\tlr", name="h", address=0x300)
    return parse_listing(listing(*instructions, "bx\tlr") + others)[0x100]


def what_it_needs(function: Function) -> tuple[int, set[int], set[int], bool, bool]:
    return function.frame, function.calls, function.jumps, function.indirect, function.unbounded


def of_a_line(
    frame: int = 0, calls: tuple[int, ...] = (), jumps: tuple[int, ...] = (), indirect: bool = False,
    unbounded: bool = False
) -> tuple[int, set[int], set[int], bool, bool]:
    return frame, set(calls), set(jumps), indirect, unbounded


# ---- listings ----


@pytest.mark.parametrize(("instruction", "size"), [
    ("push\t{lr}", 4),
    ("push\t{r4, r5, r6, r7, lr}", 20),
    ("push\t{r4-r7, lr}", 20),
    ("stmdb\tsp!, {r4, r5, r6, r7, r8, r9, sl, fp, ip, lr}", 40),
    ("push.w\t{r8, lr}", 8),
    ("vpush\t{d8}", 8),
    ("vpush\t{d8-d15}", 64),
    ("vpush\t{s16-s19}", 16),
    ("vstmdb\tsp!, {d8-d9}", 16),
    ("sub\tsp, #120\t@ 0x78", 120),
    ("sub.w\tsp, sp, #4096\t@ 0x1000", 4096),
    ("subw\tsp, sp, #1052\t@ 0x41c", 1052),
    ("str.w\tr0, [sp, #-4]!", 4),
    ("strd\tr4, r5, [sp, #-16]!", 16),
    ("strd\tip, lr, [sp, #-16]!", 16),
    ("vstrw.32\tq4, [sp, #-16]!", 16),
    ("vpush\t{q4-q7}", 64),
    ("str\tr0, [sp, #4]", 0),
    ("stmia\tr0!, {r4, r5}", 0),
    ("stmdb\tr0!, {r4, r5}", 0),
    ("subs\tr3, r0, #1", 0),
    ("pop\t{r4, pc}", 0),
    ("add\tsp, #44\t@ 0x2c", 0),
    ("add\tsp, sp, #44\t@ 0x2c", 0),
    ("add\tr7, sp, #0", 0),
    ("mov\tsp, r7", 0),
])
def test_frame_of_an_instruction(instruction: str, size: int) -> None:
    assert what_it_needs(parsed(instruction)) == of_a_line(frame=size)


@pytest.mark.parametrize("instruction", ["bl\t200 <g>", "bleq\t200 <g>", "bllt\t200 <g>", "bl.w\t204 <g+0x4>"])
def test_calls(instruction: str) -> None:
    assert what_it_needs(parsed(instruction)) == of_a_line(calls=(0x200,))


@pytest.mark.parametrize("instruction", [
    "b.w\t200 <g>", "b.n\t200 <g>", "bne.n\t200 <g>", "ble.w\t200 <g>", "b.w\t2fe <g+0xfe>", "cbz\tr0, 202 <g+0x2>",
    "wls\tlr, r3, 200 <g>", "le\tlr, 200 <g>",
])
def test_jumps_into_another_function(instruction: str) -> None:
    assert what_it_needs(parsed(instruction)) == of_a_line(jumps=(0x200,))


@pytest.mark.parametrize("instruction", [
    "b.n\t110 <f+0x10>", "bne.n\t110 <f+0x10>", "b.n\t100 <f>", "blt.n\t100 <f>", "ble.w\t100 <f>", "bls.n\t100 <f>",
    "cbnz\tr3, 102 <f+0x2>", "le\tlr, 104 <f+0x4>", "letp\tlr, 104 <f+0x4>", "dls\tlr, r5",
])
def test_jumps_within_a_function(instruction: str) -> None:
    assert what_it_needs(parsed(instruction)) == of_a_line()


@pytest.mark.parametrize("instruction", ["bl\t100 <f>", "bl.w\t100 <f>", "bleq\t100 <f>", "bllt\t100 <f>"])
def test_call_of_itself(instruction: str) -> None:
    assert what_it_needs(parsed(instruction)) == of_a_line(unbounded=True)


def test_subroutines_within_a_function_take_its_frame_once_more_each() -> None:
    function = parsed(
        "push\t{r4, lr}", "bleq\t108 <f+0x8>", "bl\t10a <f+0xa>", "bl\t10a <f+0xa>", "pop\t{r4, pc}", "nop"
    )
    assert what_it_needs(function) == of_a_line(frame=24)


@pytest.mark.parametrize("instruction", ["blx\tr3", "bx\tr3", "bx\tip", "ldr.w\tpc, [pc]", "ldr\tpc, [r3, r0, lsl #2]"])
def test_indirect_calls(instruction: str) -> None:
    assert what_it_needs(parsed(instruction)) == of_a_line(indirect=True)


@pytest.mark.parametrize("instruction", [
    "bx\tlr", "ldr.w\tpc, [sp], #4", "bic.w\tr3, r3, #7", "bkpt\t0x0000", "bfi\tr0, r1, #0, #4", "tbb\t[pc, r0]",
    ".word\t0x20000000", "ldr\tr3, [pc, #12]\t@ (110 <f+0x10>)", "cbz\tr0, 110 <f+0x10>",
])
def test_neither_frame_nor_call(instruction: str) -> None:
    assert what_it_needs(parsed(instruction)) == of_a_line()


@pytest.mark.parametrize("instruction", ["sub.w\tsp, sp, r3", "sub\tsp, sp, sl", "add\tsp, r3", "add.w\tsp, sp, ip"])
def test_computed_frame(instruction: str) -> None:
    assert what_it_needs(parsed(instruction)) == of_a_line(unbounded=True)


def test_functions_of_a_listing() -> None:
    text = "f.elf:     file format elf32-littlearm\n\n\nDisassembly of section .text:\n\n"
    text += listing("push\t{r3, lr}", "sub\tsp, #8", "bl\t200 <g>", "pop\t{r3, pc}") + "\n"
    text += listing("b.w\t300 <h>", name="g", address=0x200)
    text += listing("push\t{r4, lr}", "pop\t{r4, pc}", name="h", address=0x300)
    functions = parse_listing(text)
    assert sorted(functions) == [0x100, 0x200, 0x300]
    assert what_it_needs(functions[0x100]) == of_a_line(frame=16, calls=(0x200,))
    assert what_it_needs(functions[0x200]) == of_a_line(jumps=(0x300,))
    assert what_it_needs(functions[0x300]) == of_a_line(frame=8)


def jumps_of_first(*instructions: str, following: str = "bx\tlr") -> set[int]:
    text = listing(*instructions) + listing(following, name="g", address=0x200)
    return parse_listing(text + listing("b.n\t300 <h>", name="h", address=0x300))[0x100].jumps


@pytest.mark.parametrize("instruction", [
    "eor.w\tr3, r3, #2147483648\t@ 0x80000000", "bne.n\t100 <f>", "bxne\tlr", "popne\t{r4, pc}",
    "ldmiane.w\tsp!, {r4, pc}",
    "pop\t{r4, lr}", "ldr\tr0, [pc, #4]\t@ (108 <f+0x8>)", "cbz\tr0, 100 <f>", "le\tlr, 100 <f>", "blx\tr3",
    "bl\t200 <g>", "bleq\t300 <h>", "mov\tr0, pc", "ldrne.w\tpc, [sp], #4", "svc\t0",
])
def test_runs_into_the_next_function(instruction: str) -> None:
    assert jumps_of_first(instruction) == {0x200}
    assert jumps_of_first(instruction, "nop", "nop.w") == {0x200}


@pytest.mark.parametrize("instruction", [
    "b.n\t100 <f>", "b.w\t100 <f>", "bx\tlr", "bx\tr3", "pop\t{r4, pc}", "ldmia.w\tsp!, {r4, r5, pc}",
    "ldr.w\tpc, [sp], #4", "ldr\tpc, [r3, r0, lsl #2]", "mov\tpc, lr", "tbb\t[pc, r0]", "tbh\t[pc, r0, lsl #1]",
    "udf\t#255\t@ 0xff", "bkpt\t0x0000", "bl\t300 <h>", "bl\t302 <h+0x2>",
])
def test_leaves_before_the_next_function(instruction: str) -> None:
    assert jumps_of_first(instruction) == set()
    assert jumps_of_first(instruction, "nop") == set()


@pytest.mark.parametrize("data", [".word\t0xb5f0b5f0", ".short\t0xb5f0", ".byte\t0x03"])
def test_nothing_runs_into_the_next_function_over_data(data: str) -> None:
    assert jumps_of_first("bl\t200 <g>", data) == set()
    assert jumps_of_first("bl\t200 <g>", data, "nop") == set()
    assert jumps_of_first(data, "adds\tr0, #1") == {0x200}


def test_code_behind_the_end_of_a_function_is_none_of_it() -> None:
    text = listing("bx\tlr", "push\t{r4}", "b.n\t200 <g>") + listing("bne.n\t102 <f+0x2>", name="g", address=0x200)
    assert parse_listing(text)[0x100].frame == 4
    functions = parse_listing(text, {0x102})
    assert [functions[start].frame for start in (0x100, 0x102)] == [0, 4]
    assert [functions[start].jumps for start in (0x100, 0x102, 0x200)] == [set(), {0x200}, {0x102}]


def test_nothing_runs_from_one_section_into_the_next() -> None:
    text = listing("adds\tr0, #1") + "\nDisassembly of section .data:\n\n" + listing("bx\tlr", name="g", address=0x200)
    assert parse_listing(text)[0x100].jumps == set()


def test_constants_are_no_functions_to_run_through() -> None:
    text = "00000100 <table>:\n     100:\t00002804 20003170 000001ea 00000401     .(..p1. ........\n"
    text += listing("bx\tlr", name="g", address=0x110)
    assert parse_listing(text)[0x100].jumps == set()


# ---- images ----


def test_deeper_chains_need_more(tmp_path: Path) -> None:
    flat = bound(tmp_path, "int work(int n) { return leaf(n) + 1; }")
    deep = bound(tmp_path, "KEEP int middle(int n) { volatile char room[200]; room[n & 7] = 1;"
                           "                         return leaf(n) + room[0]; }"
                           "int work(int n) { return middle(n) + 1; }")
    assert flat is not None and deep is not None
    # Reset_Handler never returns; it, work and leaf save a few registers.
    assert EXCEPTION_FRAME + LEAF <= flat <= EXCEPTION_FRAME + LEAF + 32
    assert flat + 200 <= deep <= flat + 200 + 24


def test_only_the_deeper_of_two_branches_counts(tmp_path: Path) -> None:
    two = bound(tmp_path, "KEEP int small(int n) { volatile char room[40]; room[n & 7] = 1; return room[0]; }"
                          "int work(int n) { return leaf(n) + small(n); }")
    swapped = bound(tmp_path, "KEEP int small(int n) { volatile char room[40]; room[n & 7] = 1; return room[0]; }"
                              "int work(int n) { return small(n) + leaf(n); }")
    assert two is not None and two == swapped
    assert two <= EXCEPTION_FRAME + LEAF + 32


def test_handlers_come_on_top(tmp_path: Path) -> None:
    code = "int work(int n) { return leaf(n) + 1; }"
    plain = bound(tmp_path, code)
    more = bound(tmp_path, code, "-DFAULT_ROOM=304")
    assert plain is not None and more is not None
    assert more == plain + 296   # of 4 bytes the compiler makes 8


@pytest.mark.parametrize("code", [
    "int work(int n) { return n > 2 ? n * work(n - 1) + leaf(n) : 1; }",
    "KEEP int other(int n); int work(int n) { return n > 2 ? n * other(n - 1) : 1; }"
    "int other(int n) { return work(n - 3) + leaf(n); }",
    "int work(int n) { volatile char room[n & 63]; room[0] = 1; return leaf(room[0]); }",
], ids=["itself", "each other", "computed frame"])
def test_no_bound(code: str, tmp_path: Path) -> None:
    assert bound(tmp_path, code) is None


def test_loops_and_tail_calls_of_itself_have_a_bound(tmp_path: Path) -> None:
    assert bound(tmp_path, "int work(int n) { return n > 1000 ? n : work(n * 3 + leaf(n)); }") is not None


def test_indirect_calls_reach_what_has_its_address_taken(tmp_path: Path) -> None:
    direct = bound(tmp_path, "KEEP int deep(int n) { volatile char room[500]; room[n & 7] = 1; return room[0]; }"
                             "int work(int n) { return deep(n) + 1; }")
    indirect = bound(tmp_path, "KEEP int deep(int n) { volatile char room[500]; room[n & 7] = 1; return room[0]; }"
                               "int (*volatile function)(int) = deep; int work(int n) { return function(n) + 1; }")
    other = bound(tmp_path, "KEEP int deep(int n) { volatile char room[500]; room[n & 7] = 1; return room[0]; }"
                            "int (*volatile function)(int) = leaf; int work(int n) { return function(n) + 1; }")
    assert direct is not None and indirect is not None and other is not None
    assert indirect == direct
    assert other < direct - 350


def test_recursion_through_a_pointer_has_no_bound(tmp_path: Path) -> None:
    assert bound(tmp_path, "int (*volatile function)(int) = work; int work(int n) { return function(n) + 1; }") is None


def test_foreign_start_up_code_has_no_bound(tmp_path: Path) -> None:
    code = "int work(int n) { return n; }"
    assert bound(tmp_path, code, "-DReset_Handler=entry", "-Wl,-eentry") is None
    assert bound(tmp_path, code, "-Dvectors=table") is None


def test_functions_that_jump_among_each_other_are_one(tmp_path: Path) -> None:
    code = """
        int other(int n);
        __asm(".thumb_func\\n.type one, %function\\none: push {r4, r5, r6, lr}\\n cbz r0, inside\\n"
              " pop {r4, r5, r6, pc}\\n"
              ".thumb_func\\n.type other, %function\\nother: push {r4, lr}\\n b one\\ninside: bl leaf\\n b other + 2");
        int work(int n) { return CALL(n) + 1; }
        int one(int n);"""
    declared = "int one(int n);" + code
    one, other = (bound(tmp_path, declared, f"-DCALL={name}") for name in ("one", "other"))
    assert one is not None and one == other
    assert EXCEPTION_FRAME + LEAF + 24 <= one <= EXCEPTION_FRAME + LEAF + 24 + 24


# ---- libgcc and newlib, measured ----

MEASURE = r"""
#include <math.h>
#include <string.h>
#define WORDS 1024u
typedef void handler(void);
volatile double a = 3.25, b = -1.5e300;
volatile float fa = 3.25f, fb = -1e-40f;
volatile long long la = -123456789012345, lb = 7;
volatile unsigned long long ua = 0xFEDCBA9876543210u;
volatile int n = 37;
char text[200];
__attribute__((noinline)) void work(void);
__attribute__((noinline)) void deep(void);
void work(void) { OPERATION; }
void deep(void) { volatile char room[100]; room[0] = 1; work(); room[0] = 2; }

static void leave(unsigned code)     /* semihosting: SYS_EXIT_EXTENDED */
{
    unsigned block[2] = {0x20026u, code};
    register unsigned call __asm("r0") = 0x20u;
    register unsigned *argument __asm("r1") = block;
    __asm volatile("bkpt 0xab" :: "r"(call), "r"(argument) : "memory");
}

void Reset_Handler(void);
void Reset_Handler(void)
{
    unsigned *sp, *word = (unsigned *)RAM;
    __asm volatile("mov %0, sp" : "=r"(sp));
    *(volatile unsigned *)0xE000ED88u |= 0xFu << 20;
    __asm volatile("dsb\n\tisb");
    for (unsigned *to = word; to < sp; to++)
        *(volatile unsigned *)to = 0xC5C5A3A3u;
    deep();
    while (*(volatile unsigned *)word == 0xC5C5A3A3u)
        word++;
    leave((RAM + 4u * WORDS - (unsigned)word) / 4u);
    for (;;) ;
}
__attribute__((naked)) void Fault_Handler(void);
void Fault_Handler(void) { __asm("b ."); }
__attribute__((section(".vectors"), used)) handler *const vectors[16] = {
    (handler *)(RAM + 4u * WORDS), Reset_Handler, Fault_Handler, Fault_Handler, Fault_Handler,
    Fault_Handler, Fault_Handler,
};
"""

CORES = {
    "cortex-m3": (["-mfloat-abi=soft"], "mps2-an385", 0x2000_0000),
    "cortex-m4": (["-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"], "mps2-an386", 0x2000_0000),
    "cortex-m55": (["-mfloat-abi=hard"], "mps3-an547", 0x3000_0000),
}
OPERATIONS = [
    "a = a + b", "a = a - b", "a = 1.0 - a * b", "a = a / b", "n = (int)(a - b)", "a = (double)n",
    "a = (double)(float)fa", "a = (double)ua", "a = (double)la", "n = a < b", "n = a == b", "la = (long long)a",
    "a = round(a)", "a = sqrt(a - b)", "fa = fa + fb", "fa = fa - fb", "fa = fa * fb", "fa = fa / fb",
    "fa = (float)la", "fa = (float)ua", "fa = (float)a", "la = la / lb", "la = la % lb",
    "ua = ua / (unsigned long long)lb", "ua = ua % 10u", "memcpy(text, text + 80, (size_t)n)",
    "memset(text, n, (size_t)n)", "memmove(text + 3, text, (size_t)n)", "n = strcmp(text, text + 3)",
]


def linked(folder: Path, core: str, operation: str) -> Path:
    """An image that does one operation deep in the stack."""
    options, _, ram = CORES[core]
    (folder / "image.c").write_text(MEASURE)
    flags = [f"-mcpu={core}", "-mthumb", *options, "-O2", "-fno-builtin", f"-DRAM={ram:#x}u",
             f"-DOPERATION={operation}", "-nostartfiles", "-Wl,--emit-relocs", "-Wl,-Ttext=0x8000",
             f"-Wl,-Tdata={ram + 0x8000:#x}", "-Wl,-eReset_Handler", "-Wl,--section-start=.vectors=0"]
    subprocess.run(["arm-none-eabi-gcc", *flags, "image.c", "-o", "image.elf", "-lm"], cwd=folder, check=True)
    return folder / "image.elf"


@pytest.mark.parametrize("core", CORES)
def test_no_operation_takes_more_than_the_bound(core: str, tmp_path: Path) -> None:
    """No exception occurs and the handlers push nothing, so that EXCEPTION_FRAME hides no missed call."""
    for operation in OPERATIONS:
        elf = linked(tmp_path, core, operation)
        most = stack_bound(elf, OBJDUMP)
        command = ["qemu-system-arm", "-machine", CORES[core][1], "-nographic", "-monitor", "none", "-serial", "none",
                   "-semihosting", "-kernel", str(elf)]
        used = 4 * subprocess.run(command, timeout=30).returncode
        assert most is not None, operation
        assert 100 < used <= most - EXCEPTION_FRAME, operation
        assert most - EXCEPTION_FRAME < used + 250, operation


@pytest.mark.parametrize("core", CORES)
def test_subtraction_needs_what_addition_needs(core: str, tmp_path: Path) -> None:
    for kind in ("", "f"):
        plus, minus = (
            stack_bound(linked(tmp_path, core, f"{kind}a = {kind}a {sign} {kind}b"), OBJDUMP) for sign in "+-"
        )
        assert plus is not None and minus is not None
        assert minus >= plus


# ---- refusals ----


def test_objdump_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ToolError) as caught:
        stack_bound(tmp_path / "image.elf", "no-such-objdump")
    assert str(caught.value) == (
        "no-such-objdump is not installed\n  next:  on Debian and Ubuntu: apt install binutils-arm-none-eabi")


def test_no_image(tmp_path: Path) -> None:
    assert shutil.which(OBJDUMP)
    (tmp_path / "image.elf").write_text("text")
    with pytest.raises(BuildError) as caught:
        stack_bound(tmp_path / "image.elf", OBJDUMP)
    where = tmp_path / "image.elf"
    assert str(caught.value) == (
        f"{OBJDUMP} cannot read the image: {OBJDUMP}: {where}: file format not recognized\n"
        f"  where: {where}\n  next:  build again")
