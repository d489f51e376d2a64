"""The link's frames, and the device's answers to each request, right or wrong."""

from __future__ import annotations

import select
import struct
import subprocess
import time
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from link_device import BUILD_ID, DIGEST, c_program, command
from tinykiln.errors import DeviceError
from tinykiln.link import ANSWER, BODY_MAX, SLICE_S, Frame, Link, Request, Splitter, Status, Timeouts, decode, encode

FRAMES = st.builds(
    Frame,
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.one_of(st.binary(max_size=BODY_MAX), st.integers(0, BODY_MAX).map(bytes)),
)
ANSWERS = FRAMES.map(lambda f: Frame(ANSWER | f.type & 7, f.status % 5, f.sequence, f.nonce, f.body))
LINES = (
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1).filter(str.strip).map(lambda s: s + "\r\n")
)


def test_frame_as_documented() -> None:
    message = bytes([4, 0, 0x34, 0x12, 0xDD, 0xCC, 0xBB, 0xAA, 1, 0, 0, 0])
    crc = struct.pack("<I", zlib.crc32(message))
    assert 0 not in crc
    wire = b"\0" + bytes([2, 4, 8, 0x34, 0x12, 0xDD, 0xCC, 0xBB, 0xAA, 1, 1, 1, 5]) + crc + b"\0"
    assert encode(Frame(4, 0, 0x1234, 0xAABBCCDD, b"\1\0\0\0")) == wire


@given(FRAMES)
def test_decode_is_the_inverse_of_encode(frame: Frame) -> None:
    wire = encode(frame)
    assert len(wire) == 15 + len(frame.body)
    assert wire[0] == wire[-1] == 0 and 0 not in wire[1:-1]
    assert decode(wire[1:-1]) == frame


@given(st.binary(max_size=300))
def test_decode_takes_any_bytes(data: bytes) -> None:
    assert decode(data) is None


@given(FRAMES, st.data())
def test_a_changed_byte_is_seen(frame: Frame, data: st.DataObject) -> None:
    wire = bytearray(encode(frame)[1:-1])
    wire[data.draw(st.integers(0, len(wire) - 1))] ^= data.draw(st.integers(1, 255))
    assert decode(bytes(wire)) is None


@settings(deadline=None)
@given(st.lists(st.one_of(ANSWERS, LINES)), st.integers(1, 400))
def test_frames_and_text_come_apart_whatever_the_pieces(items: list[Frame | str], size: int) -> None:
    wire = b"".join(item.encode() if isinstance(item, str) else encode(item) for item in items)
    splitter = Splitter()
    found = [item for at in range(0, len(wire), size) for item in splitter.feed(wire[at : at + size])]
    assert [item for item in found if isinstance(item, Frame)] == [item for item in items if isinstance(item, Frame)]
    assert "".join(i for i in found if isinstance(i, str)) == "".join(i for i in items if isinstance(i, str))
    assert splitter.damaged == 0 and not splitter.flush()


@given(st.binary(max_size=2000))
def test_the_splitter_keeps_little(data: bytes) -> None:
    splitter = Splitter()
    splitter.feed(data)
    assert len(splitter.pending) <= 253


def test_a_line_comes_out_when_it_ends() -> None:
    splitter = Splitter()
    assert splitter.feed(b"he") == []
    assert splitter.feed(b"llo\n") == ["hello\n"]
    assert splitter.feed(b"more") == []
    assert splitter.flush() == ["more"]


def test_a_fault_in_the_middle_of_a_frame_comes_out_at_once() -> None:
    splitter = Splitter()
    fault = "fault: pc 0x08000100 lr 0x08000201 cfsr 0x00000400"
    assert splitter.feed(b"\0\x05\x84abc" + fault.encode()) == []
    assert splitter.feed(b"\r\n") == [fault + "\n"]


def test_reports_of_one_fault_after_the_other_are_told_apart() -> None:
    fault = "fault: pc 0x08000100 lr 0x08000201 cfsr 0x00000400 hfsr 0x40000000"
    assert Splitter().feed(b"\0\x05\x84abc" + 2 * fault.encode() + b"\n") == [fault + "\n"]


def test_the_end_of_one_frame_can_begin_the_next() -> None:
    frame = Frame(ANSWER | 1, 0, 1, 2, b"x")
    assert Splitter().feed(encode(frame)[:-1] + encode(frame)) == [frame, frame]


# ---- The device's own code, frame by frame ----

NONCE = 0x12345678
SHORT = Timeouts(answer=0.3, request=0.6, hello=0.6, inference=0.6)


class Pipe:
    """A device's stdin and stdout as a port."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def read(self, size: int = 1, /) -> bytes:
        assert self.process.stdout
        ready, _, _ = select.select([self.process.stdout], [], [], 0.02)
        return self.process.stdout.read1(size) if ready else b""  # type: ignore[attr-defined]

    def write(self, data: bytes, /) -> int:
        assert self.process.stdin
        self.process.stdin.write(data)
        self.process.stdin.flush()
        return len(data)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    process = subprocess.Popen(command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    yield Pipe(process)
    assert process.poll() is None, "the device ended"
    process.kill()
    process.communicate()


def ask(pipe: Pipe, type: int, body: bytes = b"", nonce: int = NONCE) -> tuple[int, bytes]:
    """Status and body of the answer."""
    pipe.write(encode(Frame(type, 0, 77, nonce, body)))
    splitter, found = Splitter(), []
    for _ in range(100):
        found = splitter.feed(pipe.read(300))
        if found:
            break
    (answer,) = found
    assert isinstance(answer, Frame)
    assert (answer.type, answer.sequence, answer.nonce) == (type | ANSWER, 77, nonce)
    return answer.status, answer.body


def result(pipe: Pipe, type: int, body: bytes) -> tuple[int, int]:
    """Ticks and CRC of the outputs of a RUN or STEP that was done."""
    status, answer = ask(pipe, type, body)
    assert status == Status.OK
    ticks, _, crc, stack = struct.unpack("<QIII", answer)
    assert stack == 321
    return ticks, crc


def test_hello_says_what_the_device_is(pipe: Pipe) -> None:
    status, body = ask(pipe, Request.HELLO)
    names = b"\x0atest_board\x04tiny"
    assert (status, body) == (0, struct.pack("<5H", 1, 240, 2, 2, 2) + BUILD_ID + bytes.fromhex(DIGEST[7:]) + names)


@pytest.mark.parametrize("type", [2, 3, 4, 5, 6, 99])
def test_nothing_is_done_without_a_session(pipe: Pipe, type: int) -> None:
    assert ask(pipe, type) == (Status.NO_SESSION, b"")
    assert ask(pipe, type, nonce=0) == (Status.NO_SESSION, b"")
    ask(pipe, Request.HELLO)
    assert ask(pipe, type, nonce=NONCE + 1) == (Status.NO_SESSION, b"")


def test_hello_needs_a_nonce_and_no_body(pipe: Pipe) -> None:
    assert ask(pipe, Request.HELLO, nonce=0) == (Status.BAD_REQUEST, b"")
    assert ask(pipe, Request.HELLO, b"x") == (Status.BAD_REQUEST, b"")


@pytest.mark.parametrize(
    ("type", "body"),
    [(0, b""), (7, b""), (0x7F, b""), (2, b"x"), (3, b"12345"), (4, b"123"), (4, b"12345"), (5, b"12345"),
     (5, b"1234567"), (6, b"12345678"), (6, b"1234567890")],
)  # fmt: skip
def test_bad_requests(pipe: Pipe, type: int, body: bytes) -> None:
    ask(pipe, Request.HELLO)
    assert ask(pipe, type, body) == (Status.BAD_REQUEST, b"")


@pytest.mark.parametrize(
    ("index", "offset", "size", "status"),
    [(0, 0, 234, 0), (0, 599, 1, 0), (0, 600, 0, 0), (0, 600, 1, 2), (0, 601, 0, 2), (0, 599, 2, 2),
     (0, 0xFFFFFFFF, 2, 2), (1, 15, 1, 0), (1, 15, 2, 2), (2, 0, 0, 2), (0xFFFF, 0, 1, 2)],
)  # fmt: skip
def test_write_stays_inside_the_inputs(pipe: Pipe, index: int, offset: int, size: int, status: int) -> None:
    ask(pipe, Request.HELLO)
    data = bytes(range(1, size + 1))
    assert ask(pipe, Request.WRITE, struct.pack("<HI", index, offset) + data) == (status, b"")
    if status == 0:
        assert ask(pipe, Request.READ, struct.pack("<BHIH", 0, index, offset, size)) == (0, data)


@pytest.mark.parametrize(
    ("kind", "index", "offset", "size", "status"),
    [(0, 0, 0, 240, 0), (0, 0, 0, 241, 2), (0, 1, 0, 16, 0), (0, 1, 1, 16, 2), (0, 2, 0, 0, 2), (1, 0, 16, 0, 0),
     (1, 0, 17, 0, 2), (1, 1, 0xFFFFFFF0, 32, 2), (1, 2, 0, 1, 2), (2, 1, 0, 16, 0), (2, 1, 0, 17, 2),
     (2, 2, 0, 1, 2), (3, 0, 0, 1, 2), (255, 0, 0, 0, 2)],
)  # fmt: skip
def test_read_stays_inside_the_tensors(pipe: Pipe, kind: int, index: int, offset: int, size: int, status: int) -> None:
    ask(pipe, Request.HELLO)
    got, body = ask(pipe, Request.READ, struct.pack("<BHIH", kind, index, offset, size))
    assert (got, len(body)) == (status, 0 if status else size)


def run_body(run: int) -> bytes:
    return struct.pack("<I", run)


def step_body(run: int, step: int) -> bytes:
    return struct.pack("<IH", run, step)


def test_a_run_that_is_asked_for_again_is_not_done_again(pipe: Pipe) -> None:
    ask(pipe, Request.HELLO)
    first = result(pipe, Request.RUN, run_body(1))
    assert result(pipe, Request.RUN, run_body(1)) == first
    second = result(pipe, Request.RUN, run_body(2))
    assert second != first
    assert result(pipe, Request.RUN, run_body(2)) == second
    for run in (0, 1, 4, 0xFFFFFFFF):
        assert ask(pipe, Request.RUN, run_body(run)) == (Status.BAD_ORDER, b"")


def test_steps_come_in_order_and_once(pipe: Pipe) -> None:
    ask(pipe, Request.HELLO)
    assert ask(pipe, Request.STEP, step_body(1, 1)) == (Status.BAD_ORDER, b"")
    first = result(pipe, Request.STEP, step_body(1, 0))
    assert first[0] == 1000 and result(pipe, Request.STEP, step_body(1, 0)) == first
    second = result(pipe, Request.STEP, step_body(1, 1))
    assert second[0] == 24 and result(pipe, Request.STEP, step_body(1, 1)) == second
    assert ask(pipe, Request.STEP, step_body(1, 0)) == (Status.BAD_ORDER, b"")
    assert ask(pipe, Request.STEP, step_body(1, 2)) == (Status.BAD_RANGE, b"")
    assert ask(pipe, Request.RUN, run_body(1)) == (Status.BAD_ORDER, b"")
    assert ask(pipe, Request.STEP, step_body(2, 1)) == (Status.BAD_ORDER, b"")
    result(pipe, Request.RUN, run_body(2))
    assert ask(pipe, Request.STEP, step_body(2, 1)) == (Status.BAD_ORDER, b"")


def test_reset_forgets_the_state_and_the_steps(pipe: Pipe) -> None:
    ask(pipe, Request.HELLO)
    first = result(pipe, Request.STEP, step_body(1, 0))
    result(pipe, Request.STEP, step_body(1, 1))
    ask(pipe, Request.WRITE, struct.pack("<HI", 1, 0) + bytes(16))
    assert ask(pipe, Request.RESET) == ask(pipe, Request.RESET) == (0, b"")
    assert ask(pipe, Request.STEP, step_body(1, 1)) == (Status.BAD_ORDER, b"")
    for offset in range(0, 600, 200):
        ask(pipe, Request.WRITE, struct.pack("<HI", 0, offset) + bytes(200))
    assert result(pipe, Request.STEP, step_body(2, 0)) == first


def test_the_device_ignores_text_damage_and_answers(pipe: Pipe) -> None:
    hello = encode(Frame(1, 0, 1, NONCE, b""))
    pipe.write(b"text" + hello[:-4] + b"\0" + bytes(range(256)) * 3 + encode(Frame(ANSWER | 1, 0, 1, NONCE, b"")))
    pipe.write(b"\xff" * 70000)
    assert pipe.read(300) == b""
    assert ask(pipe, Request.HELLO)[0] == Status.OK


def test_the_device_ignores_frames_that_are_almost_right(pipe: Pipe) -> None:
    hello = encode(Frame(1, 0, 1, NONCE, b""))
    wrong_end = bytearray(hello)
    at = 1
    while at + hello[at] < len(hello) - 1:
        at += hello[at]
    wrong_end[at] += 1
    pipe.write(bytes(wrong_end))
    pipe.write(b"\0" + b"\xff" * 65536 + hello[1:])
    long = (Frame(1, 0, sequence, NONCE, bytes(BODY_MAX + 1)) for sequence in range(1 << 16))
    pipe.write(next(wire for frame in long if (wire := encode(frame))[-2] == 1))
    assert pipe.read(300) == b""
    assert ask(pipe, Request.HELLO)[0] == Status.OK


class Answers:
    """A port that answers a RESET, after the first `deaf` bytes, which it does not hear; `before` goes out first."""

    def __init__(self, type: Request = Request.RESET, before: bytes = b"", deaf: int = 0) -> None:
        self.type, self.before, self.deaf, self.data = type, before, deaf, b""

    def read(self, size: int = 1, /) -> bytes:
        time.sleep(0 if self.data else SLICE_S)
        out, self.data = self.data[:size], self.data[size:]
        return out

    def write(self, data: bytes, /) -> None:
        self.deaf -= len(data)
        if self.deaf < 0:
            self.data = self.before + encode(Frame(ANSWER | self.type, 0, 1, NONCE, b""))


def linked(port: Answers, timeouts: Timeouts = SHORT) -> Link:
    return Link(port, "here", NONCE, print, lambda error: DeviceError(str(error)), timeouts)


def test_frames_of_reserved_types_are_ignored() -> None:
    events = [encode(Frame(type, 0, 1, NONCE, b"ev")) for type in (0xC0, 0xC0 | Request.RESET, 0xFF)]
    link = linked(Answers(before=b"".join(events)))
    assert link.request(Request.RESET) == b""
    assert (link.counts.requests, link.counts.retries) == (1, 0)


def test_hello_goes_out_until_the_device_hears_it() -> None:
    """Soon, then less often, and no request counts as sent again: a device that starts up loses bytes."""
    link, start = linked(Answers(Request.HELLO, deaf=2 * 15), Timeouts()), time.monotonic()
    assert link.request(Request.HELLO) == b""
    assert 0.14 < time.monotonic() - start < 0.3, "0.05 s and 0.1 s"
    assert (link.counts.requests, link.counts.retries, link.counts.sent) == (1, 0, 3 * 15)


def test_other_requests_that_are_sent_again_are_counted() -> None:
    link, start = linked(Answers(deaf=2 * 15), Timeouts(answer=0.1)), time.monotonic()
    assert link.request(Request.RESET) == b""
    assert 0.29 < time.monotonic() - start < 0.5, "0.1 s and 0.2 s"
    assert (link.counts.requests, link.counts.retries, link.counts.sent) == (1, 2, 3 * 15)


# ---- Any bytes at all ----


def test_the_device_survives_hostile_requests() -> None:
    program = c_program("tests/c/fuzz_link.c", "tests/c/tiny_model.c", "crt/src/link.c")
    for seed in (1, 2, 3):
        done = subprocess.run([program, "1500", str(seed)], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        answers, ok = (int(word) for word in done.stdout.replace(",", "").split() if word.isdigit())
        assert answers > 100_000 and ok > 5_000, "the fuzzer's requests do not reach the code behind the checks"
