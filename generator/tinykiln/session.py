"""A running device: connect, check that it is the right one, run inferences on it.

with connect(project, read_build_id(project.elf)) as session:
    session.reset()
    outputs = session.run([image]).outputs
"""

from __future__ import annotations

import math
import secrets
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
import serial
from serial.tools import list_ports

from tinykiln.boards import Board
from tinykiln.elf import BUILD_ID_SIZE
from tinykiln.errors import DeviceError, VectorError
from tinykiln.flash import qemu
from tinykiln.graph import Array
from tinykiln.link import (
    BODY_MAX,
    NAME_MAX,
    OVERHEAD,
    READ_BODY,
    SLICE_S,
    VERSION,
    WRITE_HEAD,
    Counts,
    Link,
    Request,
    Timeouts,
)
from tinykiln.project import Project, TensorInfo

_HELLO: Final = struct.Struct(f"<HHHHH{BUILD_ID_SIZE}s32s")
_RESULT: Final = struct.Struct("<QIII")
_INPUT, _OUTPUT, _STEP_OUTPUT = 0, 1, 2
_CHUNK: Final = BODY_MAX - WRITE_HEAD.size
_MAC_S: Final = 1e-7
"""Seconds that a multiply-accumulate is thought to take before any was timed: ten cycles at 100 MHz."""

_CLOSED: Final = "check the port's name, the cable, and whether another program has it or the board was unplugged"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a device says that it is. `digest` is "sha256:" and 64 hex digits, of the model file."""

    version: int
    board: str
    model: str
    digest: str
    build_id: bytes
    n_inputs: int
    n_outputs: int
    n_steps: int


@dataclass(frozen=True, slots=True, eq=False)
class Inference:
    """One inference. `ticks` are those of the board's counter; outputs as in the project's `outputs`."""

    outputs: tuple[Array, ...]
    ticks: int


@dataclass(frozen=True, slots=True, eq=False)
class StepRun:
    """One step of an inference: its ticks and the tensor that it made, as in the project's `steps`."""

    ticks: int
    output: Array


@dataclass(frozen=True, slots=True)
class _Result:
    ticks: int
    inputs_crc: int
    outputs_crc: int
    stack_used: int


@dataclass(slots=True)
class Session:
    """A device whose identity was checked. A context manager; `close` ends the emulator, if one was started."""

    project: Project
    identity: Identity
    where: str
    _link: Link
    _stack: ExitStack
    stack_used: int = field(default=0, init=False)
    """The stack's high-water mark in bytes, as of the last run or step."""
    _run: int = field(default=0, init=False)
    _shortest_s: dict[bytes, float] = field(default_factory=dict, init=False)
    """How long the whole model (key b"") and each step (its number as sent) took."""

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the port; a second call does nothing."""
        self._stack.close()

    @property
    def counts(self) -> Counts:
        """Requests, retries and bytes so far."""
        return self._link.counts

    @property
    def damaged(self) -> int:
        """Received bytes so far that were neither text nor a whole frame."""
        return self._link.splitter.damaged

    def reset(self) -> None:
        """Sets the model's state to that before the first inference. Raises DeviceError."""
        self._link.request(Request.RESET)

    def run(self, inputs: Sequence[Array]) -> Inference:
        """One inference; arrays of the shapes and dtypes of the project's inputs, in their order.

        Raises VectorError where they are others, DeviceError.
        """
        result = self._start(inputs, Request.RUN, b"", self.project.model.macs)
        infos = self.project.outputs
        data = [self._read(_OUTPUT, index, info.nbytes) for index, info in enumerate(infos)]
        self._check_crc("outputs", b"".join(data), result.outputs_crc)
        return Inference(tuple(map(_array, data, infos)), result.ticks)

    def run_steps(self, inputs: Sequence[Array]) -> tuple[StepRun, ...]:
        """One inference step by step, each step's output read before the next step. Raises as `run` does."""
        steps = []
        for index, step in enumerate(self.project.steps):
            number = struct.pack("<H", index)
            begin = self._execute if index else partial(self._start, inputs)
            result = begin(Request.STEP, number, step.macs)
            data = self._read(_STEP_OUTPUT, index, step.output.nbytes)
            self._check_crc(f"output of step {step.name}", data, result.outputs_crc)
            steps.append(StepRun(result.ticks, _array(data, step.output)))
        return tuple(steps)

    def _start(self, inputs: Sequence[Array], type: Request, extra: bytes, macs: int) -> _Result:
        """Writes the inputs and starts the next inference, checking that it saw the inputs as they are here."""
        data = _input_bytes(inputs, self.project.inputs)
        for index, part in enumerate(data):
            for offset in range(0, len(part), _CHUNK):
                body = WRITE_HEAD.pack(index, offset) + part[offset : offset + _CHUNK]
                self._link.request(Request.WRITE, body)
        self._run += 1
        result = self._execute(type, extra, macs)
        self._check_crc("inputs", b"".join(data), result.inputs_crc)
        return result

    def _execute(self, type: Request, extra: bytes, macs: int) -> _Result:
        shortest = self._shortest_s.get(extra, math.inf)
        start = time.monotonic()
        work = macs * _MAC_S if shortest == math.inf else 2 * shortest
        answer = self._link.request(type, struct.pack("<I", self._run) + extra, _RESULT.size, work)
        self._shortest_s[extra] = min(time.monotonic() - start, shortest)  # the longer ones held lost frames
        result = _Result(*_RESULT.unpack(answer))
        self.stack_used = result.stack_used
        return result

    def _read(self, kind: int, index: int, size: int) -> bytes:
        parts = []
        for offset in range(0, size, BODY_MAX):
            length = min(BODY_MAX, size - offset)
            parts.append(self._link.request(Request.READ, READ_BODY.pack(kind, index, offset, length), length))
        return b"".join(parts)

    def _check_crc(self, what: str, data: bytes, got: int) -> None:
        expected = zlib.crc32(data)
        if got != expected:
            raise DeviceError(
                f"the device holds other {what}: expected CRC-32 {expected:08x}, got {got:08x}",
                where=self.where,
                hint="look for firmware that writes into the model's memory, and for tensors that overlap",
            )


def connect(
    project: Project,
    build_id: bytes | None = None,
    port: str | None = None,
    on_text: Callable[[str], None] | None = None,
    timeouts: Timeouts | None = None,
) -> Session:
    """Opens the port, starts a session and checks that board, model and (unless None) build are the project's.

    `port` is a device path, socket://host:port or rfc2217://host:port. Without one, an emulated
    board is started on its flashed image, and for any other the serial port with the board's USB id
    is taken. `on_text` gets what the firmware prints, in pieces of any length. Raises DeviceError,
    ToolError (no QEMU), BuildError (nothing flashed).
    """
    stack = ExitStack()
    try:
        machine = qemu.start(project) if port is None and project.board.emulator else None
        if machine:
            stack.callback(machine.close)
        url = machine.url if machine else port or find_port(project.board)
        where = f"port {url}" + (f", log {machine.log}" if machine else "")
        death = machine.death if machine else str

        def closed(error: Exception) -> DeviceError:
            return DeviceError(f"expected an open port, got: {death() or error}", where=where, hint=_CLOSED)

        opened = _open(url, project.board, stack, closed)
        nonce = secrets.randbelow(2**32 - 1) + 1
        link = Link(opened, where, nonce, on_text or _ignore, closed, timeouts or Timeouts())
        identity = _identity(link.request(Request.HELLO, work=_turn_s(project.board)), where)
        check_identity(identity, project, build_id, where)
        return Session(project, identity, where, link, stack)
    except BaseException:
        stack.close()
        raise


def find_port(board: Board) -> str:
    """The serial port with one of the board's USB ids; DeviceError unless there is exactly one."""
    ports = [(f"{port.vid or 0:04x}:{port.pid or 0:04x}", port.device) for port in list_ports.comports()]
    wanted = [usb.lower() for usb in board.usb]
    found = sorted(device for usb, device in ports if usb in wanted)
    if len(found) == 1:
        return str(found[0])
    others = ", ".join(sorted(device for _, device in ports)) or "none"
    raise DeviceError(
        f"which port is {board.name} on? Expected one with USB id {' or '.join(board.usb) or '(none known)'},"
        f" got {', '.join(found) or 'none'}",
        where=f"serial ports here: {others}",
        hint="name the port: --port /dev/ttyACM0, socket://host:port or rfc2217://host:port",
    )


def check_identity(identity: Identity, project: Project, build_id: bytes | None, where: str) -> None:
    """Raises DeviceError where the device is not what the project describes, saying which and the next step."""
    here = (len(project.inputs), len(project.outputs), len(project.steps))
    there = (identity.n_inputs, identity.n_outputs, identity.n_steps)
    again = "build and flash the project: tinykiln flash-and-test"
    checks = [
        ("this is another board", project.board.name[:NAME_MAX], identity.board, "choose the board's port: --port"),
        ("the device runs another model", project.model.digest, identity.digest, again),
        ("the device has other numbers of inputs, outputs and steps", here, there, again),
        ("the device runs another build", build_id and build_id.hex(), build_id and identity.build_id.hex(), again),
    ]
    for what, expected, got, hint in checks:
        if got != expected:
            raise DeviceError(f"{what}: expected {expected}, got {got}", where=where, hint=hint)


def _identity(body: bytes, where: str) -> Identity:
    """The answer to HELLO; its first two bytes are the same in every version of the protocol."""
    version = int.from_bytes(body[:2], "little")
    if version != VERSION:
        raise DeviceError(
            f"the device speaks another version of the link: expected {VERSION}, got {version}",
            where=where,
            hint="generate, build and flash the project again with this version of tinykiln",
        )
    try:
        _, _, n_inputs, n_outputs, n_steps, build_id, digest = _HELLO.unpack_from(body)
        board, rest = _name(body[_HELLO.size :])
        model, _ = _name(rest)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise DeviceError(
            f"the device's answer to HELLO is damaged: expected board and model, got {len(body)} bytes",
            where=where,
            hint="build and flash the firmware again",
        ) from error
    return Identity(version, board, model, f"sha256:{digest.hex()}", build_id, n_inputs, n_outputs, n_steps)


def _name(data: bytes) -> tuple[str, bytes]:
    """The name that `data` begins with, and what follows it."""
    end = 1 + data[0]
    return data[1:end].decode(), data[end:]


def _turn_s(board: Board) -> float:
    """Seconds that a request and the longest answer are on the board's line: 10 bits a byte."""
    return 10 * (2 * OVERHEAD + BODY_MAX) / board.console.baud


def _open(url: str, board: Board, stack: ExitStack, failure: Callable[[Exception], DeviceError]) -> serial.SerialBase:
    """The open port, which `stack` closes."""
    # pyserial's RFC 2217 port refuses a time-out for writing; it has one of its own.
    write_timeout = None if url.lower().startswith("rfc2217://") else 2.0
    try:
        port = serial.serial_for_url(
            url, baudrate=board.console.baud, timeout=SLICE_S, write_timeout=write_timeout, exclusive=True
        )
    except Exception as error:  # the kinds of URL have no error in common: OSError, ValueError, KeyError, re.error, ...
        raise failure(error) from error
    stack.callback(port.close)
    return port


def _input_bytes(inputs: Sequence[Array], infos: Sequence[TensorInfo]) -> list[bytes]:
    if len(inputs) != len(infos):
        raise VectorError(
            f"expected {len(infos)} inputs, got {len(inputs)}",
            hint=f"give one array each for: {', '.join(info.name for info in infos)}",
        )
    for array, info in zip(inputs, infos, strict=True):
        if array.shape != info.shape or array.dtype != np.dtype(info.dtype):
            raise VectorError(
                f"input {info.name}: expected {info.dtype} {info.shape}, got {array.dtype} {array.shape}",
                hint="quantise and reshape the array as the model's input is",
            )
    return [array.astype(_little(info)).tobytes() for array, info in zip(inputs, infos, strict=True)]


def _array(data: bytes, info: TensorInfo) -> Array:
    return np.frombuffer(data, _little(info)).astype(info.dtype).reshape(info.shape)


def _little(info: TensorInfo) -> np.dtype[Any]:
    """The type as it lies in the device's memory."""
    little: np.dtype[Any] = np.dtype(info.dtype).newbyteorder("<")
    return little


def _ignore(_text: str) -> None:
    """Takes text that nobody wants."""
