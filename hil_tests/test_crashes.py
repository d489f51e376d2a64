"""Firmware that crashes, hangs or takes long on an emulated board: the host says what happened, soon, and goes on."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from firmware import DIGITS, emulators, flash_and_test, generate, symbol, tinykiln
from litert import run as reference
from tinykiln.build import Image, build
from tinykiln.errors import DeviceError
from tinykiln.flash import flash, qemu
from tinykiln.graph import Array
from tinykiln.link import Timeouts
from tinykiln.project import Project, read_project
from tinykiln.session import connect
from user_mains import CRASHES, HANG, JUMP, LOAD, SILENT, SPINS, STACK, STATE, UNDEFINED

BOARDS = ("qemu_mps2_an385", "qemu_mps2_an386", "qemu_mps2_an500", "qemu_mps3_an547", "qemu_netduinoplus2")
SOON_S = 20.0
"""Far less than the 120 s that an inference may take, and enough for a busy machine."""

REPORT = re.compile(
    r"the firmware crashed: fault: pc 0x([0-9a-f]{8}) lr 0x([0-9a-f]{8}) cfsr 0x([0-9a-f]{8}) hfsr 0x[0-9a-f]{8}"
    r" mmfar 0x([0-9a-f]{8}) bfar 0x([0-9a-f]{8}) sp 0x[0-9a-f]{8} exception 0x[0-9a-f]{8}( stack overflow)?"
)
IACCVIOL, IBUSERR, PRECISERR, BFARVALID, UNDEFINSTR, INVSTATE = 1, 1 << 8, 1 << 9, 1 << 15, 1 << 16, 1 << 17
"""Bits of the CFSR (DDI 0403E, B3.2.15)."""


def firmware(folder: Path, board: str, main: str) -> tuple[Project, Image]:
    """The digits project with another src/main.c, flashed."""
    generate(DIGITS, board, folder)
    return rewritten(folder, main)


def rewritten(folder: Path, main: str) -> tuple[Project, Image]:
    (folder / "src" / "main.c").write_text(main)
    project = read_project(folder)
    image = build(project)
    flash(project)
    return project, image


def image_with(first: int) -> list[Array]:
    """An input of the digits model whose first byte is that."""
    array = np.zeros((1, 8, 8, 1), np.int8)
    array[0, 0, 0, 0] = first
    return [array]


@pytest.fixture(scope="module", params=BOARDS)
def crashing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Image]:
    return firmware(tmp_path_factory.mktemp("crashes") / "fw", request.param, CRASHES)


@pytest.fixture
def running(crashing: tuple[Project, Image]) -> Iterator[tuple[Project, Image, str]]:
    """The firmware in an emulator that stays on between sessions, and its port."""
    machine = qemu.start(crashing[0])
    try:
        yield *crashing, machine.url
    finally:
        machine.close()


def crash(project: Project, image: Image, url: str, first: int) -> re.Match[str]:
    """The fault that an inference ends with."""
    start = time.monotonic()
    with connect(project, image.build_id, url) as session, pytest.raises(DeviceError) as error:
        session.run(image_with(first))
    assert time.monotonic() - start < SOON_S
    assert error.value.hint == "find the line with: arm-none-eabi-addr2line -e build/firmware.elf <pc>"
    found = REPORT.fullmatch(error.value.what)
    assert found, error.value.what
    return found


def check_goes_on(project: Project, image: Image, url: str) -> None:
    """The same device, which started anew after the fault, infers what the reference does."""
    with connect(project, image.build_id, url) as session:
        (got,) = session.run(image_with(0)).outputs
    assert got.tobytes() == reference(DIGITS.read_bytes(), image_with(0))[0].tobytes()


def test_an_undefined_instruction(running: tuple[Project, Image, str]) -> None:
    found = crash(*running, UNDEFINED)
    assert int(found[1], 16) in symbol(running[1].elf, "crash_undefined")
    assert int(found[3], 16) == UNDEFINSTR
    check_goes_on(*running)


def test_a_jump_to_a_bad_address(running: tuple[Project, Image, str]) -> None:
    found = crash(*running, JUMP)
    assert int(found[1], 16) == 0xE0000000
    assert int(found[2], 16) in symbol(running[1].elf, "crash_jump")
    assert int(found[3], 16) in (IACCVIOL, IBUSERR)
    check_goes_on(*running)


def test_a_jump_out_of_thumb_state(running: tuple[Project, Image, str]) -> None:
    found = crash(*running, STATE)
    assert int(found[1], 16) == 0x1000
    assert int(found[2], 16) in symbol(running[1].elf, "crash_state")
    assert int(found[3], 16) == INVSTATE
    check_goes_on(*running)


def test_a_load_from_nowhere(running: tuple[Project, Image, str]) -> None:
    found = crash(*running, LOAD)
    assert int(found[1], 16) in symbol(running[1].elf, "crash_load")
    assert int(found[3], 16) == PRECISERR | BFARVALID
    assert int(found[5], 16) == 0xF0000000
    check_goes_on(*running)


def test_a_stack_that_is_too_small(running: tuple[Project, Image, str]) -> None:
    found = crash(*running, STACK)
    assert found[6] == " stack overflow"
    check_goes_on(*running)


def test_an_inference_that_never_ends(crashing: tuple[Project, Image]) -> None:
    project, image = crashing
    start = time.monotonic()
    with connect(project, image.build_id, timeouts=Timeouts(inference=2)) as session:
        with pytest.raises(DeviceError) as error:
            session.run(image_with(HANG))
        where = session.where
    assert time.monotonic() - start < SOON_S
    assert error.value.what == "the inference takes too long: expected an end within 2 s, got none"
    assert error.value.where == where
    assert emulators(project.path) == []
    with connect(project, image.build_id) as session:
        session.run(image_with(0))


def test_an_inference_that_never_ends_on_the_command_line(digits: Path) -> None:
    (digits / "src" / "main.c").write_text(CRASHES.replace("switch (*digits_image())", f"switch ({HANG})"))
    start = time.monotonic()
    done = tinykiln("flash-and-test", digits, "--timeout", "1.5")
    assert time.monotonic() - start < SOON_S
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: the inference takes too long: expected an end within 1.5 s, got none\n"
        f"  where: {port_and_log(done.stderr, digits)}\n"
        "  next:  allow more time with --timeout SECONDS, or look at the device's text output\n"
    )
    assert emulators(digits) == []


def whole_report(project: Project, image: Image, url: str) -> re.Match[str]:
    """Of a firmware that faults again and again: whoever connects in the middle of a report gets a part of it first."""
    for _ in range(5):
        with pytest.raises(DeviceError) as error:
            connect(project, image.build_id, url)
        if found := REPORT.fullmatch(error.value.what):
            return found
    raise AssertionError(error.value.what)


@pytest.mark.parametrize("board", BOARDS)
def test_a_fault_before_main(board: str, tmp_path: Path) -> None:
    """Told every time, although the RAM still holds what it held at the last fault: .bss is never cleared."""
    generate(DIGITS, board, tmp_path / "fw")
    startup = tmp_path / "fw" / "board" / "startup.c"
    text = startup.read_text()
    startup.write_text(text.replace("    memory_init();", '    __asm volatile("udf #0");\n    memory_init();'))
    assert startup.read_text() != text
    project, image = rewritten(tmp_path / "fw", SILENT)
    machine = qemu.start(project)
    try:
        for _ in range(2):
            assert int(whole_report(project, image, machine.url)[1], 16) in symbol(image.elf, "start")
    finally:
        machine.close()


def test_a_crash_on_the_command_line(digits: Path) -> None:
    main = digits / "src" / "main.c"
    mine, report = main.read_text(), digits / "report.json"
    main.write_text(CRASHES.replace("switch (*digits_image())", "switch (1)"))
    done = tinykiln("flash-and-test", digits, "--json", report)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    error = done.stderr[done.stderr.index("error: ") :]
    found = REPORT.match(error, len("error: "))
    assert found, done.stderr
    assert error[found.end() :] == (
        f"\n  where: {port_and_log(error, digits)}"
        "\n  next:  find the line with: arm-none-eabi-addr2line -e build/firmware.elf <pc>\n"
    )
    assert not report.exists()
    assert emulators(digits) == []
    main.write_text(mine)
    assert flash_and_test(digits)["passed"] is True


def port_and_log(error: str, folder: Path) -> str:
    port = re.search(r"socket://127\.0\.0\.1:\d+", error)
    assert port, error
    return f"port {port[0]}, log {folder}/build/qemu.log"


def test_firmware_that_says_nothing(digits: Path) -> None:
    (digits / "src" / "main.c").write_text(SILENT)
    done = tinykiln("flash-and-test", digits)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "error: the port is silent: expected an answer to HELLO within 10 s, got no byte\n"
        f"  where: {port_and_log(done.stderr, digits)}\n"
        "  next:  check the port, the cable and the power, and that the firmware is flashed\n"
    )
    assert emulators(digits) == []


@pytest.mark.parametrize(
    "board", [pytest.param(board, marks=[] if board == "qemu_netduinoplus2" else pytest.mark.slow) for board in BOARDS]
)
def test_an_inference_longer_than_the_counter(board: str, tmp_path: Path) -> None:
    """SysTick has 24 bits: 2^24 ticks are 671 million instructions on an emulated MPS2, 100 on a Netduino."""
    project = read_project_of(board, tmp_path)
    step = project.board.counter.step
    rounds = round(1.3 * step * 2**24)
    project, image = rewritten(project.path, SPINS.replace("@ROUNDS@", str(rounds)))
    with connect(project, image.build_id) as session:
        short, long = (session.run(image_with(first)).ticks for first in (0, 1))
    assert long > 2**25
    handlers = 2 * 40  # instructions that two wraps take
    assert -2 * step < (long - short) * step - 2 * (rounds - 1000) < handlers + 2 * step  # two times, each cut to ticks


def read_project_of(board: str, tmp_path: Path) -> Project:
    generate(DIGITS, board, tmp_path / "fw")
    return read_project(tmp_path / "fw")
