"""Bringing a built image into a board's flash."""

from __future__ import annotations

from tinykiln.errors import DeviceError
from tinykiln.flash.qemu import flash as flash_qemu
from tinykiln.project import Project


def flash(project: Project, port: str | None = None) -> None:
    """Flashes the project's image on its board, if that is an emulated one.

    Raises DeviceError for any other board, BuildError where nothing was built.
    """
    if project.board.emulator is None:
        raise DeviceError(
            f"tinykiln cannot flash {project.board.name} itself",
            where=f"port {port}" if port else "",
            hint="flash build/firmware.bin or build/firmware.elf with the vendor's tool, then:"
            f" tinykiln test {project.path} --port {port or '/dev/ttyACM0'}",
        )
    flash_qemu(project)
