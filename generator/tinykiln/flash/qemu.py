"""Emulated boards: flash is a file, and power is a QEMU process whose UART is a TCP socket."""

from __future__ import annotations

import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tinykiln.boards import Emulator
from tinykiln.errors import BuildError, ToolError
from tinykiln.project import Project

PROGRAM = "qemu-system-arm"
FLASHED, LOG = "build/flashed.elf", "build/qemu.log"


def flash(project: Project) -> None:
    """Makes the built image what the emulated board's flash holds. Raises BuildError where there is none."""
    flashed = project.path / FLASHED
    fresh = flashed.with_suffix(".new")
    try:
        shutil.copyfile(project.elf, fresh)
        fresh.replace(flashed)
    except OSError as error:
        raise BuildError(
            f"cannot flash the image: {error.strerror}",
            where=str(error.filename),
            hint="build it first: tinykiln build",
        ) from error


@dataclass(frozen=True, slots=True)
class Machine:
    """A running emulator. Its UART waits at `url` for one connection; the program starts with it."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def close(self) -> None:
        """Ends the emulator; no harm where it has ended."""
        self.process.kill()
        self.process.wait()

    def death(self) -> str:
        """The exit status and the last lines of an emulator that has ended, "" while it runs."""
        try:
            status = self.process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            return ""
        lines = self.log.read_text(errors="replace").splitlines()[-8:]
        return "\n    ".join([f"the emulator ended with status {status}", *lines])


def start(project: Project) -> Machine:
    """Starts the board's emulator on the flashed image; its stderr goes to build/qemu.log.

    The listening socket is made here and inherited, so no other program can take its port. Raises
    ToolError where QEMU is missing, BuildError where nothing was flashed.
    """
    emulator, image, log = project.board.emulator, project.path / FLASHED, project.path / LOG
    assert emulator is not None
    if shutil.which(PROGRAM) is None:
        raise ToolError(f"{PROGRAM} is not installed", hint="apt-get install qemu-system-arm")
    if not image.is_file():
        raise BuildError("nothing is flashed on the emulated board", where=str(image), hint="flash it: tinykiln flash")
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener, log.open("wb") as stderr:
        process = subprocess.Popen(
            _command(emulator, image, listener.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
        return Machine(process, f"socket://127.0.0.1:{listener.getsockname()[1]}", log)


def _command(emulator: Emulator, image: Path, fd: int) -> list[str]:
    """The command line: one instruction takes 1 ns of virtual time, so that runs are repeatable.

    A mux buffers received bytes, which about doubles the speed of the link; 256 as its escape character never occurs.

    start_new_session keeps Ctrl-C from QEMU, so setpriv (util-linux), where there is one, sees to it that
    QEMU ends even when this process is killed.
    """
    guard = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
    return [
        *guard,
        *(PROGRAM, "-machine", emulator.machine, "-icount", "shift=0"),
        *("-display", "none", "-monitor", "none", "-echr", "256"),
        *("-chardev", f"socket,id=link,fd={fd},server=on,wait=on,nodelay=on,mux=on", "-serial", "chardev:link"),
        *("-kernel", str(image), *emulator.args),
    ]
