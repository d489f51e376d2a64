"""Sessions against the device's own code, over a TCP socket and a pseudo-terminal, in good and bad cases."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from link_device import (
    BUILD_ID,
    DIGEST,
    ROOT,
    command,
    expected,
    inputs,
    project,
    pty_device,
    rfc2217_device,
    tcp_device,
)
from tinykiln import session as session_module
from tinykiln.boards import Emulator
from tinykiln.elf import read_build_id
from tinykiln.errors import BuildError, DeviceError, TinyKilnError, ToolError, VectorError
from tinykiln.flash import flash
from tinykiln.link import Request, Timeouts
from tinykiln.project import Project
from tinykiln.session import Inference, Session, connect

Device = Callable[..., AbstractContextManager[str]]
each = pytest.mark.parametrize("device", [tcp_device, pty_device, rfc2217_device])
QUICK = Timeouts(answer=0.05, request=0.4, hello=0.5, inference=0.5)
PATIENT = Timeouts(answer=0.01, request=8, hello=8, inference=8)


@contextlib.contextmanager
def session(device: Device, timeouts: Timeouts | None = None, **options: object) -> Iterator[Session]:
    with device(**options) as url, connect(project(), BUILD_ID, url, timeouts=timeouts) as opened:
        yield opened


def assert_equal(got: Inference, given: list[np.ndarray], run: int) -> None:
    for array, right in zip(got.outputs, expected(given, run), strict=True):
        assert array.dtype == right.dtype
        np.testing.assert_array_equal(array, right)
    assert got.ticks == 1024


def message(error: pytest.ExceptionInfo[TinyKilnError]) -> str:
    """The whole message, with the number of a TCP port, pseudo-terminal or folder taken out."""
    return re.sub(r"(127\.0\.0\.1:|/dev/pts/)\d+", r"\1N", str(error.value))


@each
def test_runs_are_right_and_in_order(device: Device) -> None:
    rng = np.random.default_rng(1)
    with session(device) as opened:
        opened.reset()
        for run in range(20):
            given = inputs(rng)
            assert_equal(opened.run(given), given, run)
        assert opened.stack_used == 321
        assert (opened.counts.retries, opened.damaged) == (0, 0)
        opened.reset()
        assert_equal(opened.run(given), given, 0)


@each
def test_steps_are_those_of_a_run(device: Device) -> None:
    given = inputs(np.random.default_rng(2))
    with session(device) as opened:
        opened.reset()
        for run in range(3):
            sums, scaled = expected(given, run)
            first, second = opened.run_steps(given)
            assert (first.ticks, second.ticks) == (1000, 24)
            np.testing.assert_array_equal(first.output, scaled)
            np.testing.assert_array_equal(second.output, sums)
        assert_equal(opened.run(given), given, 3)


@pytest.mark.parametrize(("size", "rate"), [(8, 10_000), (600, 500)])
def test_200_inferences_on_a_bad_line(size: int, rate: int) -> None:
    """A byte of a hundred (of two thousand for long frames) dropped, doubled, flipped or the end of the rest."""
    rng = np.random.default_rng(3)
    with (
        tcp_device(size=size, faults=rate, seed=5) as url,
        connect(project(size), BUILD_ID, url, timeouts=PATIENT) as opened,
    ):
        opened.reset()
        for run in range(200):
            given = inputs(rng, size)
            assert_equal(opened.run(given), given, run)
        assert opened.counts.retries > 100 and opened.damaged > 1000


def test_a_line_that_is_too_bad_is_an_error() -> None:
    silence = "^(the port is silent|no answer on the port): expected"
    with tcp_device(faults=200_000) as url, pytest.raises(DeviceError, match=silence):
        connect(project(), BUILD_ID, url, timeouts=QUICK)


@each
def test_text_is_passed_through(device: Device) -> None:
    text: list[str] = []
    with device(text=1) as url, connect(project(), BUILD_ID, url, text.append) as opened:
        for _ in range(3):
            opened.run(inputs(np.random.default_rng(1)))
        assert opened.damaged == 0
    assert "".join(text) == "about to run\n" * 3


# ---- Another device than expected ----


def connect_error(timeouts: Timeouts = QUICK, **options: object) -> str:
    with tcp_device(**options) as url, pytest.raises(DeviceError) as error:
        connect(project(), BUILD_ID, url, timeouts=timeouts)
    return message(error)


def test_another_model() -> None:
    other = "sha256:" + "f0" * 32
    assert connect_error(digest=other) == (
        f"the device runs another model: expected {DIGEST}, got {other}\n"
        "  where: port socket://127.0.0.1:N\n"
        "  next:  build and flash the project: tinykiln flash-and-test"
    )


def test_another_build() -> None:
    assert connect_error(build="xuild-id-of-the-test") == (
        f"the device runs another build: expected {BUILD_ID.hex()}, got 78{BUILD_ID.hex()[2:]}\n"
        "  where: port socket://127.0.0.1:N\n"
        "  next:  build and flash the project: tinykiln flash-and-test"
    )


def test_another_build_is_welcome_where_none_is_asked_for() -> None:
    with tcp_device(build="xuild-id-of-the-test") as url, connect(project(), None, url) as opened:
        assert opened.identity.build_id == b"xuild-id-of-the-test"


def test_another_board() -> None:
    assert connect_error(board="other_board", digest="sha256:" + "f0" * 32) == (
        "this is another board: expected test_board, got other_board\n"
        "  where: port socket://127.0.0.1:N\n"
        "  next:  choose the board's port: --port"
    )


def test_other_steps() -> None:
    three = dataclasses.replace(project(), steps=project().steps + project().steps[:1])
    with tcp_device() as url, pytest.raises(DeviceError) as error:
        connect(three, BUILD_ID, url)
    assert str(error.value).startswith(
        "the device has other numbers of inputs, outputs and steps: expected (2, 2, 3), got (2, 2, 2)\n"
    )


def test_long_names_are_cut_on_both_sides() -> None:
    name = "b" * 200
    board = dataclasses.replace(project().board, name=name)
    with tcp_device(board=name) as url, connect(dataclasses.replace(project(), board=board), None, url) as opened:
        assert opened.identity.board == name[:80]


def test_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "VERSION", 2)
    assert connect_error() == (
        "the device speaks another version of the link: expected 2, got 1\n"
        "  where: port socket://127.0.0.1:N\n"
        "  next:  generate, build and flash the project again with this version of tinykiln"
    )


# ---- Trouble ----


@contextlib.contextmanager
def silent() -> Iterator[str]:
    master, slave = os.openpty()
    tty.setraw(slave)
    yield os.ttyname(slave)
    os.close(master)
    os.close(slave)


def test_a_silent_port() -> None:
    with silent() as path, pytest.raises(DeviceError) as error:
        connect(project(), BUILD_ID, path, timeouts=QUICK)
    assert message(error) == (
        "the port is silent: expected an answer to HELLO within 0.5 s, got no byte\n"
        "  where: port /dev/pts/N\n"
        "  next:  check the port, the cable and the power, and that the firmware is flashed"
    )


def test_a_port_of_garbage() -> None:
    start = time.monotonic()
    text = re.sub(r"\d+ bytes", "N bytes", connect_error(flood=1))
    assert time.monotonic() - start < 5
    assert text == (
        "no answer on the port: expected one to HELLO within 0.5 s, got N bytes of something else\n"
        "  where: port socket://127.0.0.1:N\n"
        "  next:  check that this is the board's port, its baud rate, and that the firmware is flashed"
    )


def run_error(device: Device, runs: int = 1, timeouts: Timeouts | None = None, **options: object) -> str:
    given = inputs(np.random.default_rng(1))
    with session(device, timeouts, **options) as opened:
        for _ in range(runs - 1):
            opened.run(given)
        with pytest.raises(DeviceError) as error:
            opened.run(given)
    return message(error)


@each
def test_a_reset_in_the_middle(device: Device) -> None:
    error = run_error(device, runs=3, restart=3, timeouts=Timeouts(answer=0.05))
    assert re.sub("port .*N", "port X", error) == (
        "the device restarted in the middle: it no longer knows this session\n"
        "  where: port X\n"
        "  next:  look at its text output for the reason, then try again"
    )


@each
def test_a_crash_is_seen_at_once(device: Device) -> None:
    start = time.monotonic()
    assert run_error(device, runs=2, crash=2).startswith(
        "the firmware crashed: fault: pc 0x00001234 lr 0x00005679 cfsr 0x00000082 hfsr 0x40000000\n  where: port "
    )
    assert time.monotonic() - start < 2


def test_an_inference_that_takes_too_long() -> None:
    assert run_error(tcp_device, slow=1, timeouts=QUICK) == (
        "the inference takes too long: expected an end within 0.5 s, got none\n"
        "  where: port socket://127.0.0.1:N\n"
        "  next:  allow more time with --timeout SECONDS, or look at the device's text output"
    )


def test_an_inference_that_takes_long_is_run_once() -> None:
    given = inputs(np.random.default_rng(1))
    with session(tcp_device, Timeouts(answer=0.05), slow=1) as opened:
        opened.reset()
        assert_equal(opened.run(given), given, 0)
        assert opened.counts.retries > 2
        assert_equal(opened.run(given), given, 1)


def test_a_large_model_and_a_large_step_are_not_asked_for_again_too_early() -> None:
    """Ten million MACs may take more than the time after which other requests are sent again."""
    small, given = project(), inputs(np.random.default_rng(1))
    large = dataclasses.replace(
        small,
        model=dataclasses.replace(small.model, macs=10**7),
        steps=(dataclasses.replace(small.steps[0], macs=10**7), small.steps[1]),
    )
    for run in (Session.run, Session.run_steps):
        with tcp_device(slow=1) as url, connect(large, BUILD_ID, url, timeouts=Timeouts(answer=0.3)) as opened:
            run(opened, given)
            assert opened.counts.retries == 0


def test_outputs_that_change_are_not_believed() -> None:
    text = re.sub(r"[0-9a-f]{8}", "X", run_error(tcp_device, clobber=1))
    assert text == (
        "the device holds other outputs: expected CRC-32 X, got X\n"
        "  where: port socket://127.0.0.1:N\n"
        "  next:  look for firmware that writes into the model's memory, and for tensors that overlap"
    )


def test_inputs_that_change_are_not_believed() -> None:
    with session(tcp_device) as opened:
        real = opened._link.request

        def flip(type: Request, body: bytes = b"", *rest: int, **named: float) -> bytes:
            return real(type, body[:-1] + bytes([body[-1] ^ 1]) if type == Request.WRITE else body, *rest, **named)

        opened._link = SimpleNamespace(request=flip)  # type: ignore[assignment]
        with pytest.raises(DeviceError, match=r"^the device holds other inputs: expected CRC-32 "):
            opened.run(inputs(np.random.default_rng(1)))


def test_a_port_that_closes() -> None:
    def close(listener: socket.socket) -> None:
        listener.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=close, args=[listener])
        thread.start()
        with pytest.raises(DeviceError) as error:
            connect(project(), BUILD_ID, f"socket://127.0.0.1:{listener.getsockname()[1]}", timeouts=QUICK)
        thread.join()
    assert str(error.value).startswith("expected an open port, got: ")


@pytest.mark.parametrize("port", [
    "a\0b", "/dev/no-such-port", "socket://127.0.0.1:1", "socket://", "nonsense://x", "loop://?x", "hwgrep://[",
    "rfc2217://", "rfc2217://127.0.0.1", "rfc2217://127.0.0.1:1", "RFC2217://127.0.0.1:1", "rfc2217://127.0.0.1:99999",
    "rfc2217://127.0.0.1:1?nonsense", "rfc2217://[",
])
def test_a_port_that_does_not_open(port: str) -> None:
    with pytest.raises(DeviceError) as error:
        connect(project(), BUILD_ID, port)
    assert str(error.value).startswith("expected an open port, got: ")
    assert f"\n  where: port {port}\n  next:  check the port's name, the cable, " in str(error.value)


def test_ports_are_found_by_their_usb_id(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = [SimpleNamespace(vid=0x0483, pid=0x374B, device="/dev/ttyACM7"),
             SimpleNamespace(vid=None, pid=None, device="/dev/ttyS0")]  # fmt: skip
    monkeypatch.setattr(session_module.list_ports, "comports", lambda: ports)
    assert session_module.find_port(project().board) == "/dev/ttyACM7"
    del ports[0]
    with pytest.raises(DeviceError) as error:
        connect(project(), BUILD_ID)
    assert str(error.value) == (
        "which port is test_board on? Expected one with USB id 0483:374b, got none\n"
        "  where: serial ports here: /dev/ttyS0\n"
        "  next:  name the port: --port /dev/ttyACM0, socket://host:port or rfc2217://host:port"
    )


# ---- Inputs ----


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        ([], "expected 2 inputs, got 0"),
        ([np.zeros((150, 4), np.int8)], "expected 2 inputs, got 1"),
        ([np.zeros((150, 4), np.uint8), np.zeros(4, np.int32)],
         "input values: expected int8 (150, 4), got uint8 (150, 4)"),
        ([np.zeros((150, 4), np.int8), np.zeros((1, 4), np.int32)],
         "input bias: expected int32 (4,), got int32 (1, 4)"),
    ],
)  # fmt: skip
def test_wrong_inputs(arrays: list[np.ndarray], what: str) -> None:
    with session(tcp_device) as opened:
        before = opened.counts.requests
        with pytest.raises(VectorError) as error:
            opened.run(arrays)
        assert error.value.what == what
        assert opened.counts.requests == before


def test_inputs_in_other_memory_orders() -> None:
    given = inputs(np.random.default_rng(1))
    with session(tcp_device) as opened:
        assert_equal(opened.run([np.asfortranarray(given[0]), np.repeat(given[1], 2)[::2]]), given, 0)


# ---- Emulated boards and their flash ----


def emulated(path: Path, machine: str = "mps2-an386") -> Project:
    (path / "build").mkdir()
    plain = project(path=path)
    return dataclasses.replace(plain, board=dataclasses.replace(plain.board, emulator=Emulator(machine, ())))


def fake_qemu(path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A qemu-system-arm that is a Python script with `fd`, the listening socket's."""
    program = path / "bin" / "qemu-system-arm"
    program.parent.mkdir()
    start = "import os, re, socket, sys, time\nfd = int(re.search(r'fd=(\\d+)', ' '.join(sys.argv)).group(1))\n"
    program.write_text(f"#!{sys.executable}\n{start}{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def test_flash_copies_the_built_image(tmp_path: Path) -> None:
    board = emulated(tmp_path)
    with pytest.raises(BuildError) as error:
        flash(board)
    assert error.value.what == "cannot flash the image: No such file or directory"
    assert error.value.hint == "build it first: tinykiln build"
    (tmp_path / "build/firmware.elf").write_bytes(b"one")
    flash(board)
    (tmp_path / "build/firmware.elf").write_bytes(b"two")
    assert (tmp_path / "build/flashed.elf").read_bytes() == b"one"
    flash(board)
    assert (tmp_path / "build/flashed.elf").read_bytes() == b"two"


def test_flash_of_a_board_that_needs_a_tool() -> None:
    with pytest.raises(DeviceError) as error:
        flash(project(path=Path("fw")), "/dev/ttyACM3")
    assert str(error.value) == (
        "tinykiln cannot flash test_board itself\n"
        "  where: port /dev/ttyACM3\n"
        "  next:  flash build/firmware.bin or build/firmware.elf with the vendor's tool, then:"
        " tinykiln test fw --port /dev/ttyACM3"
    )
    with pytest.raises(DeviceError) as error:
        flash(project(path=Path("fw")))
    assert error.value.where == ""
    assert error.value.hint.endswith("then: tinykiln test fw --port /dev/ttyACM0")


def test_nothing_is_flashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = emulated(tmp_path)
    fake_qemu(tmp_path, monkeypatch, "")
    with pytest.raises(BuildError) as error:
        connect(board)
    assert error.value.what == "nothing is flashed on the emulated board"


def test_qemu_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError) as error:
        connect(emulated(tmp_path))
    assert str(error.value) == "qemu-system-arm is not installed\n  next:  apt-get install qemu-system-arm"


def test_qemu_that_dies_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = emulated(tmp_path, "no-such-machine")
    (tmp_path / "build/flashed.elf").write_bytes(b"")
    fake_qemu(tmp_path, monkeypatch, "sys.exit('unsupported machine type')")
    with pytest.raises(DeviceError) as error:
        connect(board)
    assert message(error) == (
        "expected an open port, got: the emulator ended with status 1\n"
        "    unsupported machine type\n"
        f"  where: port socket://127.0.0.1:N, log {tmp_path}/build/qemu.log\n"
        "  next:  check the port's name, the cable, and whether another program has it or the board was unplugged"
    )


def gone(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z"
    return True


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "waited 10 s"
        time.sleep(0.02)


SERVE = """
open({pid!r}, 'w').write(str(os.getpid()))
connection = socket.socket(fileno=fd).accept()[0]
os.dup2(connection.fileno(), 0); os.dup2(connection.fileno(), 1)
os.execv({device[0]!r}, {device!r})
"""


def emulated_device(path: Path, monkeypatch: pytest.MonkeyPatch, **options: object) -> tuple[Project, Path]:
    """An emulated board whose QEMU is the host's device, and the file with its process number."""
    board, pid = emulated(path), path / "pid"
    (path / "build/flashed.elf").write_bytes(b"")
    fake_qemu(path, monkeypatch, SERVE.format(pid=str(pid), device=command(stay=1, **options)))
    return board, pid


def test_an_emulated_board_starts_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board, pid = emulated_device(tmp_path, monkeypatch)
    given = inputs(np.random.default_rng(1))
    with connect(board, BUILD_ID) as opened:
        assert_equal(opened.run(given), given, 0)
        process = int(pid.read_text())
        assert not gone(process)
    assert gone(process)


def test_an_emulated_board_ends_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board, pid = emulated_device(tmp_path, monkeypatch, board="other")
    with pytest.raises(DeviceError, match="this is another board"):
        connect(board, BUILD_ID)
    assert gone(int(pid.read_text()))


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_emulated_board_ends_with_its_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: signal.Signals
) -> None:
    _, pid = emulated_device(tmp_path, monkeypatch, slow=1)
    code = (
        "import sys; from pathlib import Path; from test_session import *\n"
        "board = dataclasses.replace(project(path=Path(sys.argv[1])), board=dataclasses.replace(project().board, "
        "emulator=Emulator('m', ())))\n"
        "with connect(board, BUILD_ID) as s: print('up', flush=True); time.sleep(30)\n"
    )
    paths = os.pathsep.join([str(ROOT / "generator"), str(ROOT / "tests")])
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout and process.stdout.readline() == b"up\n"
    process.send_signal(end)
    process.wait(timeout=10)
    wait_for(lambda: gone(int(pid.read_text())))


# ---- ELF ----


def test_the_build_id_is_that_of_the_linker(tmp_path: Path) -> None:
    source, elf = tmp_path / "a.c", tmp_path / "a.elf"
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "-Wl,--build-id=0x" + "ab" * 20, source, "-o", elf], check=True)
    assert read_build_id(elf) == b"\xab" * 20
    subprocess.run(["gcc", "-Wl,--build-id=none", source, "-o", elf], check=True)
    with pytest.raises(BuildError, match=r"^the firmware image has no build id\n"):
        read_build_id(elf)
    with pytest.raises(BuildError, match=r"^cannot read the firmware image: "):
        read_build_id(source)
    with pytest.raises(BuildError, match=r"^there is no firmware image\n"):
        read_build_id(tmp_path / "none.elf")
