"""The host's side of the device link: frames, requests and retries over one serial port.

docs/link.md describes the protocol; crt/src/link.c is the other side. Nothing here knows a
model: session.py does.
"""

from __future__ import annotations

import re
import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

import serial

from tinykiln.errors import DeviceError

VERSION = 1
BODY_MAX = 240
NAME_MAX = 80

WRITE_HEAD = struct.Struct("<HI")
READ_BODY = struct.Struct("<BHIH")
HEADER = struct.Struct("<BBHI")
CRC = struct.Struct("<I")
FRAME_MAX = 1 + HEADER.size + BODY_MAX + CRC.size
OVERHEAD = 2 + FRAME_MAX - BODY_MAX
"""Bytes on the wire that a frame has besides its body."""

ANSWER = 0x80
SLICE_S = 0.01
"""A port is opened with this time-out: how long a read may wait for bytes that do not come."""

_FAULT = re.compile(rb"fault: pc 0x[0-9a-f]+ lr 0x[0-9a-f]+ cfsr 0x[0-9a-f]+(?:(?!fault:)[ -~])*(?=[\r\n\0]|fault:)")
"""A line, or less where a firmware that faults again and again was cut off at the line's end."""


class Request(IntEnum):
    """Types of requests; the answer's is `ANSWER` more."""

    HELLO = 1
    RESET = 2
    WRITE = 3
    RUN = 4
    STEP = 5
    READ = 6


class Status(IntEnum):
    """What an answer says of its request."""

    OK = 0
    BAD_REQUEST = 1
    BAD_RANGE = 2
    BAD_ORDER = 3
    NO_SESSION = 4


class Port(Protocol):
    """What the link needs of a pyserial port, which was opened with `timeout=SLICE_S`."""

    def read(self, size: int = 1, /) -> bytes: ...

    def write(self, data: bytes, /) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; `nonce` is that of the session, `body` at most BODY_MAX bytes."""

    type: int
    status: int
    sequence: int
    nonce: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. A request is sent again when no answer came within `answer`, the first one of a session within
    `hello_answer`, as a device that starts up hears nothing; all in all it may take `hello` for HELLO,
    `inference` for RUN and STEP, `request` for the others."""

    answer: float = 0.5
    hello_answer: float = 0.05
    request: float = 5.0
    hello: float = 10.0
    inference: float = 120.0


def encode(frame: Frame) -> bytes:
    """The frame as it is sent: zero byte, COBS of header, body and CRC-32, zero byte."""
    header = HEADER.pack(frame.type, frame.status, frame.sequence, frame.nonce)
    message = header + frame.body
    parts = (message + CRC.pack(zlib.crc32(message))).split(b"\0")
    return b"\0" + b"".join(bytes([len(part) + 1]) + part for part in parts) + b"\0"


def decode(segment: bytes) -> Frame | None:
    """The frame that stands between two zero bytes, or None where it is none or damaged."""
    if not OVERHEAD - 2 <= len(segment) <= FRAME_MAX or 0 in segment:
        return None
    message = _uncobs(segment)
    if message is None or zlib.crc32(message[: -CRC.size]) != CRC.unpack(message[-CRC.size :])[0]:
        return None
    kind, status, sequence, nonce = HEADER.unpack_from(message)
    return Frame(kind, status, sequence, nonce, message[HEADER.size : -CRC.size])


def _uncobs(segment: bytes) -> bytes | None:
    parts, at = [], 0
    while at < len(segment):
        parts.append(segment[at + 1 : at + segment[at]])
        at += segment[at]
    return b"\0".join(parts) if at == len(segment) else None


def _text(data: bytes) -> str | None:
    """`data` as text with at least one character to be seen, or None where it is not that."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    seen = text.replace("\r", "").replace("\n", "").replace("\t", "").replace("\x1b", "")
    return text if seen.isprintable() and seen.strip() else None


@dataclass(slots=True)
class Splitter:
    """Takes received bytes apart into frames and text.

    Lines of text are given out as soon as they end, so a fault is seen at once: no frame that a
    device sends begins like text, as its second byte is 0x80 or more. `damaged` counts bytes
    that were neither text nor a frame.
    """

    pending: bytes = b""
    damaged: int = 0

    def feed(self, data: bytes) -> list[Frame | str]:
        """Frames and pieces of text that `data` completes, in order."""
        *segments, self.pending = (self.pending + data).split(b"\0")
        found = [item for segment in segments for item in self._segment(segment)]
        return found + self._lines()

    def flush(self) -> list[Frame | str]:
        """What is left when the port fell silent: no frame, but maybe text."""
        segment, self.pending = self.pending, b""
        return self._rest(segment)

    def missing(self, size: int) -> int:
        """How many bytes are still to come if a frame of `size` bytes on the wire has begun; at least 1."""
        return max(1, size - 1 - len(self.pending)) if self.pending else size

    def _segment(self, segment: bytes) -> list[Frame | str]:
        frame = decode(segment)
        return [frame] if frame else self._rest(segment)

    def _rest(self, segment: bytes) -> list[Frame | str]:
        text = _text(segment)
        if text is not None:
            return [text]
        fault = _FAULT.search(segment + b"\n")
        self.damaged += len(segment) - (len(fault.group()) if fault else 0)
        return [fault.group().decode() + "\n"] if fault else []

    def _lines(self) -> list[Frame | str]:
        end = self.pending.rfind(b"\n") + 1
        text = _text(self.pending[:end])
        if text is not None:
            self.pending = self.pending[end:]
            return [text]
        return self.flush() if len(self.pending) > FRAME_MAX or _FAULT.search(self.pending) else []


@dataclass(slots=True)
class Counts:
    """What went over the port, for a report at the end: `retries` are requests that were sent again.

    HELLO is not among the retries: it goes out until the device has started up.
    """

    requests: int = 0
    retries: int = 0
    sent: int = 0
    received: int = 0


@dataclass(slots=True)
class Link:
    """One session over an open port, stop-and-wait.

    `where` describes the port in errors, `closed` makes the error of a port that failed. Text of the
    device goes to `on_text`, in pieces of any length. Frames that the device sends unasked are ignored.
    """

    port: Port
    where: str
    nonce: int
    on_text: Callable[[str], None]
    closed: Callable[[Exception], DeviceError]
    timeouts: Timeouts = Timeouts()
    counts: Counts = field(default_factory=Counts)
    splitter: Splitter = field(default_factory=Splitter)
    sequence: int = 0
    line: str = ""

    def request(self, type: Request, body: bytes = b"", answer_size: int = 0, work: float = 0.0) -> bytes:
        """The body of the answer. `answer_size` (bytes) is the size that it has if all is well, `work`
        (seconds) how long the device is thought to need for it, so that it is not asked again too early.

        Raises DeviceError: no answer in time, a status other than OK, an answer of another size,
        a device that was reset or reported a fault, a port that failed.
        """
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.counts.requests += 1
        frame = self._exchange(Frame(type, 0, self.sequence, self.nonce, body), answer_size, work)
        if frame.status == Status.NO_SESSION:
            raise self._error(
                "the device restarted in the middle: it no longer knows this session",
                "look at its text output for the reason, then try again",
            )
        if frame.status != Status.OK:
            raise self._error(
                f"the device refused {type.name}: expected OK, got {_status_name(frame.status)}",
                "build and flash the firmware again with this version of tinykiln",
            )
        if type != Request.HELLO and len(frame.body) != answer_size:
            raise self._error(
                f"wrong answer to {type.name}: expected {answer_size} bytes, got {len(frame.body)}",
                "build and flash the firmware again with this version of tinykiln",
            )
        return frame.body

    def _exchange(self, request: Frame, answer_size: int, work: float) -> Frame:
        """Sends `request` until its answer comes or its time is over; waits twice as long each time, up to 8 times."""
        data, is_hello = encode(request), request.type == Request.HELLO
        wait = work + (self.timeouts.hello_answer if is_hello else self.timeouts.answer)
        start, before = time.monotonic(), self.counts.received
        end = start + self._limit(request.type)
        while True:
            self._send(data)
            frame = self._wait(request, answer_size, min(end, time.monotonic() + wait))
            if frame:
                return frame
            if time.monotonic() >= end:
                raise self._silence(request.type, self.counts.received - before)
            self.counts.retries += not is_hello
            wait = min(2 * wait, 8 * self.timeouts.answer + work)

    def _limit(self, type: int) -> float:
        if type == Request.HELLO:
            return self.timeouts.hello
        return self.timeouts.inference if type in (Request.RUN, Request.STEP) else self.timeouts.request

    def _wait(self, request: Frame, answer_size: int, end: float) -> Frame | None:
        """The answer to `request`, or None at time `end`. All other frames are passed over."""
        wanted = (request.type | ANSWER, request.sequence, request.nonce)
        while time.monotonic() < end:
            answer = None
            for item in self._receive(OVERHEAD + answer_size):
                if isinstance(item, str):
                    self._pass_text(item)
                elif (item.type, item.sequence, item.nonce) == wanted:
                    answer = item
            if answer:
                return answer
        for item in self.splitter.flush():
            self._pass_text(str(item))
        return None

    def _receive(self, size: int) -> list[Frame | str]:
        try:
            data = self.port.read(self.splitter.missing(size))
        except (serial.SerialException, OSError) as error:
            raise self.closed(error) from error
        self.counts.received += len(data)
        return self.splitter.feed(data)

    def _send(self, data: bytes) -> None:
        try:
            self.port.write(data)
        except serial.SerialTimeoutException as error:
            raise self._error(
                "the port takes no bytes: expected the device to read, got a time-out",
                "check the cable and the port's flow control",
            ) from error
        except (serial.SerialException, OSError) as error:
            raise self.closed(error) from error
        self.counts.sent += len(data)

    def _pass_text(self, text: str) -> None:
        self.on_text(text)
        *lines, self.line = (self.line[-400:] + text).replace("\r", "\n").split("\n")
        for line in lines:
            fault = _FAULT.search(line.encode() + b"\n")
            if fault:
                raise self._error(
                    f"the firmware crashed: {fault.group().decode()}",
                    "find the line with: arm-none-eabi-addr2line -e build/firmware.elf <pc>",
                )

    def _silence(self, type: int, received: int) -> DeviceError:
        limit = self._limit(type)
        if type in (Request.RUN, Request.STEP):
            return self._error(
                f"the inference takes too long: expected an end within {limit:g} s, got none",
                "allow more time with --timeout SECONDS, or look at the device's text output",
            )
        name = Request(type).name
        if received == 0:
            return self._error(
                f"the port is silent: expected an answer to {name} within {limit:g} s, got no byte",
                "check the port, the cable and the power, and that the firmware is flashed",
            )
        return self._error(
            f"no answer on the port: expected one to {name} within {limit:g} s, got {received} bytes of something else",
            "check that this is the board's port, its baud rate, and that the firmware is flashed",
        )

    def _error(self, what: str, hint: str) -> DeviceError:
        return DeviceError(what, where=self.where, hint=hint)


def _status_name(status: int) -> str:
    return Status(status).name if status in Status._value2member_map_ else f"status {status}"
