"""Boards: what boards.yaml says of each, checked field by field.

boards.yaml in the repository's root is the data; a user's own file of the same form adds to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

CounterUnit: TypeAlias = Literal["instructions", "cycles"]


@dataclass(frozen=True, slots=True)
class Region:
    """A contiguous memory of `size` bytes from address `origin`."""

    name: str
    origin: int
    size: int


@dataclass(frozen=True, slots=True)
class Console:
    """The UART of the device link. `driver` names project_templates/bare_metal/.../drivers/uart_<driver>.c."""

    driver: str
    base: int
    clock_hz: int
    baud: int


@dataclass(frozen=True, slots=True)
class Counter:
    """What counts the work of an inference: `hz` ticks a second, `step` units a tick."""

    source: Literal["systick", "dwt"]
    unit: CounterUnit
    hz: int
    step: float


@dataclass(frozen=True, slots=True)
class Emulator:
    """QEMU's machine for the board; `args` are appended to the command line."""

    machine: str
    args: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """One board. `isa` names the kernel directories it can use, best first; portable C is implied.

    `flash_methods` names ways to flash, tried in order; `usb` lists "VID:PID" of its serial port.
    """

    name: str
    title: str
    cpu: str
    fpu: str
    isa: tuple[str, ...]
    memory: tuple[Region, ...]
    console: Console
    counter: Counter
    emulator: Emulator | None
    flash_methods: tuple[str, ...]
    usb: tuple[str, ...]

    def region(self, name: str) -> Region:
        """The memory region of that name; every board has `flash` and `ram`."""
        return next(region for region in self.memory if region.name == name)
