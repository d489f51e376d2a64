"""Devices for tests of the link: tests/c/link_device.c, the device's own code built for the host."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import serial
from serial.rfc2217 import PortManager
from tinykiln.boards import Board, Console, Counter, Region
from tinykiln.project import ModelInfo, Project, StepInfo, TensorInfo

ROOT = Path(__file__).resolve().parent.parent
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")
BUILD_ID = b"build-id-of-the-test"
DIGEST = "sha256:" + "0123456789abcdef" * 4


@functools.cache
def c_program(*arguments: str, compiler: str = "gcc") -> Path:
    """The program made from C sources (paths from the repository's root) and options, with sanitisers."""
    program = Path(tempfile.mkdtemp(prefix="tinykiln-")) / "program"
    atexit.register(shutil.rmtree, program.parent, ignore_errors=True)
    includes = (f"-I{ROOT}/crt/include", f"-I{ROOT}/tests/c", "-D_POSIX_C_SOURCE=200809L")
    words = [word if word.startswith("-") else str(ROOT / word) for word in arguments]
    subprocess.run([compiler, *WARNINGS, *SANITIZERS, *includes, *words, "-o", str(program)], check=True)
    return program


def command(**options: object) -> list[str]:
    """The command line of a device; see tests/c/link_device.c for the options."""
    program = c_program("tests/c/link_device.c", "tests/c/tiny_model.c", "crt/src/link.c")
    return [str(program), *(f"{name}={value}" for name, value in ({"digest": DIGEST} | options).items())]


@contextlib.contextmanager
def tcp_device(**options: object) -> Iterator[str]:
    """A device behind a TCP port that takes one connection; its URL."""
    with _running(socket.create_server(("127.0.0.1", 0)), command(**options)) as url:
        yield url


@contextlib.contextmanager
def _running(listener: socket.socket, argv: list[str]) -> Iterator[str]:
    processes: list[subprocess.Popen[bytes]] = []

    def serve() -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as connection:
            processes.append(subprocess.Popen(argv, stdin=connection, stdout=connection))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"socket://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=5)
        _end(processes)


@contextlib.contextmanager
def pty_device(**options: object) -> Iterator[str]:
    """A device behind a pseudo-terminal; its path."""
    master, slave = os.openpty()
    tty.setraw(slave)
    process = subprocess.Popen(command(**options), stdin=master, stdout=master)
    try:
        yield os.ttyname(slave)
    finally:
        _end([process])
        os.close(master)
        os.close(slave)


@contextlib.contextmanager
def rfc2217_device(**options: object) -> Iterator[str]:
    """A device behind a server of RFC 2217 that takes one connection; its URL."""
    with (
        tcp_device(**options) as url,
        serial.serial_for_url(url, timeout=0.002) as port,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        thread = threading.Thread(target=_serve_rfc2217, args=[listener, port])
        thread.start()
        try:
            yield f"rfc2217://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=5)
            assert not thread.is_alive()


def _serve_rfc2217(listener: socket.socket, port: serial.Serial) -> None:
    with contextlib.suppress(OSError), listener.accept()[0] as client:
        client.settimeout(0.002)
        manager = PortManager(port, SimpleNamespace(write=client.sendall))
        while True:
            with contextlib.suppress(TimeoutError):
                received = client.recv(1024)
                if not received:
                    return
                port.write(b"".join(manager.filter(received)))
            client.sendall(b"".join(manager.escape(port.read(256))))


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ends the devices; one that a sanitiser stopped has said why on stderr, and fails the test."""
    for process in processes:
        status = process.poll()
        process.kill()
        process.wait()
        assert status in (None, 0), f"the device ended with status {status}"


def project(size: int = 600, path: Path = Path()) -> Project:
    """The project of the model in tests/c/tiny_model.h."""
    values = TensorInfo("values", "int8", (size // 4, 4), 1.0, 0, size)
    bias = TensorInfo("bias", "int32", (4,), 0.0, 0, 16)
    sums = TensorInfo("sums", "int32", (1, 4), 0.0, 0, 16)
    scaled = TensorInfo("scaled", "int8", (size // 4, 4), 1.0, 0, size)
    board = Board(
        name="test_board",
        title="A board for tests",
        cpu="cortex-m4",
        fpu="none",
        isa=(),
        memory=(Region("flash", 0, 1024), Region("ram", 0x20000000, 1024)),
        console=Console("none", 0, 1, 115200),
        counter=Counter("systick", "cycles", 1_000_000, 1.0),
        emulator=None,
        usb=("0483:374b",),
    )
    return Project(
        path=path,
        name="tiny",
        template="bare_metal",
        board=board,
        model=ModelInfo("tiny", "model/tiny.tflite", DIGEST, 600),
        inputs=(values, bias),
        outputs=(sums, scaled),
        steps=(StepInfo("scale_0", "MUL", 600, scaled), StepInfo("sum_1", "SUM", 600, sums)),
        arena_bytes=1232,
        arena_lower_bound_bytes=1232,
        weights_bytes=0,
    )


def inputs(rng: np.random.Generator, size: int = 600) -> list[npt.NDArray[Any]]:
    """Random inputs for the model."""
    values = rng.integers(-128, 128, (size // 4, 4)).astype(np.int8)
    return [values, rng.integers(-(2**31), 2**31, 4).astype(np.int32)]


def expected(given: list[npt.NDArray[Any]], run: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """What the model makes of its inputs in its run number `run` since reset, counted from 0: sums, scaled."""
    scaled = (3 * given[0].astype(np.int64) + given[1] + run).astype(np.int8)
    return scaled.astype(np.int32).sum(axis=0, keepdims=True, dtype=np.int32), scaled
