"""Ways to bring a built image into a board's flash: one function each, in a table."""

from __future__ import annotations

from collections.abc import Callable

from tinykiln.errors import DeviceError
from tinykiln.flash.qemu import flash as flash_qemu
from tinykiln.project import Project

METHODS: dict[str, Callable[[Project, str | None], None]] = {"qemu": flash_qemu}
"""Name in boards.yaml -> function of the project and the port; "qemu" is that of every emulated board."""


def flash(project: Project, port: str | None = None) -> None:
    """Flashes the project's build/firmware.elf with the first method of its board that there is.

    Raises DeviceError where there is none, BuildError where nothing was built.
    """
    board = project.board
    names = ("qemu", *board.flash_methods) if board.emulator else board.flash_methods
    method = next((METHODS[name] for name in names if name in METHODS), None)
    if method is None:
        raise DeviceError(
            f"tinykiln cannot flash {board.name} itself: expected one of {', '.join(METHODS)},"
            f" got {', '.join(names) or 'none'}",
            where=f"port {port}" if port else "",
            hint="flash build/firmware.bin or build/firmware.elf with the vendor's tool, then: tinykiln test",
        )
    method(project, port)
