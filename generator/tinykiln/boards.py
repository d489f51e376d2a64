"""Boards: what boards.yaml says of each, checked field by field.

boards.yaml in the repository's root is the data; a user's own file of the same form adds to it. A board in
project.json has the same form, so one reader serves both.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, cast

import yaml

from tinykiln.data import data_path
from tinykiln.errors import BoardError
from tinykiln.fields import (
    Json,
    Place,
    address,
    choice,
    fields_of,
    integer,
    list_of,
    mapping,
    pattern,
    size_in_bytes,
    text,
)

CounterUnit: TypeAlias = Literal["instructions", "cycles"]
CounterSource: TypeAlias = Literal["systick", "dwt"]


@dataclass(frozen=True, slots=True)
class Region:
    """A contiguous memory of `size` bytes from address `origin`."""

    name: str
    origin: int
    size: int


@dataclass(frozen=True, slots=True)
class Console:
    """The UART of the device link. `driver` names project_templates/bare_metal/.../drivers/uart_<driver>.c.

    `tx`, `rx` (such as PA2) and their alternate `function` are set where the driver routes pins, else "" and 0.
    """

    driver: str
    base: int
    clock_hz: int
    baud: int
    tx: str = ""
    rx: str = ""
    function: int = 0


@dataclass(frozen=True, slots=True)
class Counter:
    """What counts the work of an inference: `hz` ticks a second, `step` units a tick.

    Under QEMU's `-icount shift=0` an instruction takes 1 ns, so a tick is 10^9 / hz instructions.
    """

    source: CounterSource
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

    `usb` lists "VID:PID" of its serial port.
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
    usb: tuple[str, ...]

    def region(self, name: str) -> Region:
        """The memory region of that name; every board has `flash` and `ram`."""
        return next(region for region in self.memory if region.name == name)


class Cpu(NamedTuple):
    """What a core can have: values of gcc's -mfpu, and kernel directories."""

    fpus: tuple[str, ...]
    isas: tuple[str, ...]


class Driver(NamedTuple):
    """What a UART driver can do. The baud rate is clock / divider, `min_divider` to `max_divider`."""

    min_divider: int
    max_divider: int
    pins: bool
    bases: tuple[int, ...]


CPUS: Mapping[str, Cpu] = {
    "cortex-m3": Cpu(("none",), ()),
    "cortex-m4": Cpu(("none", "fpv4-sp-d16"), ("armv7em_dsp",)),
    "cortex-m7": Cpu(("none", "fpv5-sp-d16", "fpv5-d16"), ("armv7em_dsp",)),
    "cortex-m33": Cpu(("none", "fpv5-sp-d16"), ("armv7em_dsp",)),
    "cortex-m55": Cpu(("none", "auto"), ("armv8_1m_mve", "armv7em_dsp")),
}

# Cortex-M System Design Kit TRM (DDI 0479), 4.3: BAUDDIV has 20 bits, at least 16.
# RM0090, 30.3.4 and table 1: BRR with 16 samples a bit; USART1, 2, 3, UART4, 5, USART6.
DRIVERS: Mapping[str, Driver] = {
    "cmsdk": Driver(16, 0xFFFFF, False, ()),
    "stm32f4": Driver(16, 0xFFFF, True, (0x40011000, 0x40004400, 0x40004800, 0x40004C00, 0x40005000, 0x40011400)),
}

SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where PyYAML was built with it: ten times as fast."""
SOURCES: tuple[CounterSource, ...] = ("systick", "dwt")
UNITS: tuple[CounterUnit, ...] = ("instructions", "cycles")
BAUD_TOLERANCE = 0.02
"""Largest error of the baud rate: two ends that are each off by 2 % still read a byte's last bit right."""

TITLE_CHARACTERS = "letters, digits, spaces and _.:;,/+=()@<>[]-"
"""They cannot end a C comment or string: see `graph.plain_name`."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_NO_REGION = re.compile("text|data|bss|stack|rodata|vectors|note|comment|debug_.*|origin|org|o|length|len|l")
"""Sections of an image, and words of the linker's own: a region gets a section of its name."""

_TITLE = re.compile(r"[A-Za-z0-9 _.:;,/+=()@<>\[\]-]{1,80}")
_PIN = re.compile(r"P[A-K]([0-9]|1[0-5])")
_USB = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")


# ---- Reading ----


def read_boards(extra: Path | None = None) -> dict[str, Board]:
    """TinyKiln's boards and those of the file `extra`, by name, in the order of the files.

    Raises BoardError, which names file, board and field, for whatever does not belong there.
    """
    path = data_path("boards.yaml")
    boards = _read_file(path, "boards.yaml")
    for name, board in (_read_file(extra, str(extra)) if extra else {}).items():
        if name in boards:
            raise Place(str(extra), name).error("TinyKiln has a board of this name", "give it another name")
        boards[name] = board
    return boards


def find_board(name: str, extra: Path | None = None) -> Board:
    """The board of that name. Raises BoardError with the known names, and the nearest, where there is none."""
    boards = read_boards(extra)
    if name in boards:
        return boards[name]
    near = difflib.get_close_matches(name, boards, n=1, cutoff=0.5)
    raise BoardError(
        f"no board is called {name!r}" + (f"; did you mean {near[0]}?" if near else ""),
        where=f"known boards: {', '.join(boards)}",
        hint="choose one of them, or describe yours in a file and pass it with --boards",
    )


def board_to_json(board: Board) -> Json:
    """The board in the form of boards.yaml, with its name, for project.json; `board_from_json` reads it."""
    console = board.console
    pins: Json = {"tx": console.tx, "rx": console.rx, "function": console.function} if console.tx else {}
    entry: Json = {
        "name": board.name,
        "title": board.title,
        "cpu": board.cpu,
        "fpu": board.fpu,
        "isa": list(board.isa),
        "memory": {region.name: {"origin": region.origin, "size": region.size} for region in board.memory},
        "console": {
            "driver": console.driver,
            "base": console.base,
            "clock_hz": console.clock_hz,
            "baud": console.baud,
            **pins,
        },
        "counter": {"source": board.counter.source, "unit": board.counter.unit, "hz": board.counter.hz},
        "usb": list(board.usb),
    }
    if board.emulator:
        entry["emulator"] = {"machine": board.emulator.machine, "args": list(board.emulator.args)}
    return entry


def board_from_json(entry: object, file: str = "project.json") -> Board:
    """The board that `board_to_json` wrote. Raises BoardError, which names `file`, where it has been damaged."""
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(name, str):
        raise BoardError("expected a board with a name", where=file, hint="generate the project again")
    return _board(Place(file, name), {key: value for key, value in entry.items() if key != "name"})


def _read_file(path: Path, shown: str) -> dict[str, Board]:
    try:
        document = path.read_text(encoding="utf-8")
        _refuse_duplicates(yaml.compose(document, Loader=SAFE_LOADER), shown)
        entries = yaml.load(document, Loader=SAFE_LOADER)
    except (OSError, UnicodeDecodeError) as error:
        raise BoardError(f"cannot read the board file: {error}", where=shown, hint="check the path") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BoardError(f"not a YAML file: {error}", where=shown, hint="check the lines it names") from error
    if not isinstance(entries, dict):
        raise BoardError("expected boards by name", where=shown, hint="boards.yaml of TinyKiln shows the form")
    return {str(name): _board(Place(shown, str(name)), entry) for name, entry in entries.items()}


def _refuse_duplicates(node: yaml.Node | None, file: str) -> None:
    """YAML readers keep the last of two equal keys without a word: a board would be lost."""
    waiting, done = [node], set()
    while waiting:
        node = waiting.pop()
        if id(node) in done:  # an anchor may hold itself
            continue
        done.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                if str(key.value) in seen:
                    where = f"{file}, line {key.start_mark.line + 1}"
                    raise BoardError(f"{key.value} stands here twice", where=where, hint="remove or rename one")
                seen.add(str(key.value))
                waiting.append(value)


# ---- One board ----


def _board(place: Place, entry: object) -> Board:
    if not _NAME.fullmatch(place.board):
        raise place.error("a board's name has small letters, digits and _, a letter first")
    required = ("title", "cpu", "fpu", "isa", "memory", "console", "counter")
    fields = fields_of(place, entry, required, ("emulator", "usb"))
    cpu = choice(place.at("cpu"), fields["cpu"], tuple(CPUS))
    emulator = fields.get("emulator")
    return Board(
        name=place.board,
        title=pattern(place.at("title"), fields["title"], _TITLE, f"1 to 80 {TITLE_CHARACTERS}"),
        cpu=cpu,
        fpu=choice(place.at("fpu"), fields["fpu"], CPUS[cpu].fpus, f" for a {cpu}"),
        isa=list_of(place.at("isa"), fields["isa"], lambda at, v: choice(at, v, CPUS[cpu].isas, f" for a {cpu}")),
        memory=_memory(place.at("memory"), fields["memory"]),
        console=_console(place.at("console"), fields["console"]),
        counter=_counter(place.at("counter"), fields["counter"], emulated=emulator is not None),
        emulator=None if emulator is None else _emulator(place.at("emulator"), emulator),
        usb=list_of(place.at("usb"), fields.get("usb", []), _usb),
    )


def _memory(place: Place, value: object) -> tuple[Region, ...]:
    if not isinstance(value, dict):
        raise place.wrong("memory regions by name", value)
    regions = tuple(_region(place.at(str(name)), str(name), entry) for name, entry in value.items())
    for name in ("flash", "ram"):
        if name not in value:
            raise place.error(f"a region {name} is missing")
    for a, b in itertools.combinations(regions, 2):
        if a.origin < b.origin + b.size and b.origin < a.origin + a.size:
            raise place.error(f"regions {a.name} and {b.name} overlap")
    return regions


def _region(place: Place, name: str, value: object) -> Region:
    if not _NAME.fullmatch(name):
        raise place.error("a region's name has small letters, digits and _, a letter first")
    if _NO_REGION.fullmatch(name):
        raise place.error(f"a region cannot be called {name}: this is a section or word of the linker", "rename it")
    fields = fields_of(place, value, ("origin", "size"))
    origin, size = address(place.at("origin"), fields["origin"]), size_in_bytes(place.at("size"), fields["size"])
    region = Region(name, origin, size)
    if region.origin + region.size > 1 << 32:
        raise place.error(f"the region ends at {region.origin + region.size:#x}, above the 32-bit address space")
    return region


def _console(place: Place, value: object) -> Console:
    driver_name = choice(place.at("driver"), mapping(place, value).get("driver"), tuple(DRIVERS))
    driver = DRIVERS[driver_name]
    fields = fields_of(
        place, value, ("driver", "base", "clock_hz", "baud") + (("tx", "rx", "function") if driver.pins else ())
    )
    console = Console(
        driver_name,
        address(place.at("base"), fields["base"]),
        integer(place.at("clock_hz"), fields["clock_hz"], 1, 10**9),
        integer(place.at("baud"), fields["baud"], 1, 10**8),
    )
    if driver.bases and console.base not in driver.bases:
        raise place.at("base").wrong(f"one of {', '.join(map(hex, driver.bases))}", hex(console.base))
    _check_baud(place.at("baud"), console, driver)
    if not driver.pins:
        return console
    tx, rx = (pattern(place.at(pin), fields[pin], _PIN, "a pin such as PA2") for pin in ("tx", "rx"))
    return replace(console, tx=tx, rx=rx, function=integer(place.at("function"), fields["function"], 0, 15))


def _check_baud(place: Place, console: Console, driver: Driver) -> None:
    divider = min(max(round(console.clock_hz / console.baud), driver.min_divider), driver.max_divider)
    nearest = console.clock_hz / divider
    if abs(nearest / console.baud - 1) > BAUD_TOLERANCE:
        raise place.error(
            f"{console.baud} baud cannot be made from {console.clock_hz} Hz; the nearest is {nearest:.0f}",
            "choose a slower or a standard rate",
        )


def _counter(place: Place, value: object, *, emulated: bool) -> Counter:
    fields = fields_of(place, value, ("source", "unit", "hz"))
    source = cast(CounterSource, choice(place.at("source"), fields["source"], SOURCES))
    unit = cast(CounterUnit, choice(place.at("unit"), fields["unit"], UNITS))
    if (unit == "instructions") != emulated:
        raise place.at("unit").error("instructions are counted in the emulator, and nothing else is counted there")
    if emulated and source != "systick":
        raise place.at("source").error(f"the emulator has no {source}; use systick")
    hz = integer(place.at("hz"), fields["hz"], 1, 10**9)
    return Counter(source, unit, hz, 1e9 / hz if unit == "instructions" else 1.0)


def _emulator(place: Place, value: object) -> Emulator:
    fields = fields_of(place, value, ("machine",), ("args",))
    return Emulator(
        text(place.at("machine"), fields["machine"]), list_of(place.at("args"), fields.get("args", []), text)
    )


def _usb(place: Place, value: object) -> str:
    return pattern(place, value, _USB, 'a text such as "0483:374b", small hexadecimal digits')
