"""How deep the stack can get: a bound from the machine code of the image.

Every function's frame is what its instructions push; calls are its branches to other functions;
an indirect call may reach every function whose address stands in the image's data. Exceptions add
their frame and their handlers once on top (all have the same priority). Sums are upper bounds: a
function that pushes on two paths counts both.
"""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

EXCEPTION_FRAME = 32 + 72 + 4
"""Bytes that an Armv7-M exception stacks: registers, floating-point registers, alignment (DDI 0403, B1.5.6)."""

ENTRY, VECTORS = "Reset_Handler", "vectors"
"""Symbols of the template's board/startup.c."""

SHF_ALLOC = 2


@dataclass(slots=True)
class Function:
    """Bytes that a function pushes, the addresses it branches to, and whether it calls through a register."""

    address: int
    frame: int = 0
    calls: set[int] = field(default_factory=set)
    indirect: bool = False


def stack_bound(elf: Path, objdump: str) -> int | None:
    """The most bytes of stack that the image in `elf` can use, or None where calls are recursive."""
    listing = subprocess.run([objdump, "-d", str(elf)], capture_output=True, text=True, check=True).stdout
    functions = parse_listing(listing)
    entry, vectors = _symbol(elf, ENTRY), _symbol(elf, VECTORS)
    words = dict(_words(elf))
    stored = {address: word & ~1 for address, word in words.items() if word & 1 and word & ~1 in functions}
    handlers = {target for address, target in stored.items() if address in vectors} - {entry.start}
    pointers = {target for address, target in stored.items() if address not in vectors}
    depths: dict[int, int] = {}
    try:
        thread = _depth(entry.start, functions, pointers, depths, ())
        handler = max((_depth(a, functions, pointers, depths, ()) for a in handlers), default=0)
    except RecursionError:
        return None
    return thread + EXCEPTION_FRAME + handler


def parse_listing(listing: str) -> dict[int, Function]:
    """The functions of an objdump listing (`objdump -d`) by address."""
    functions: dict[int, Function] = {}
    current = Function(0)
    for line in listing.splitlines():
        if start := re.match(r"([0-9a-f]{8}) <([^>]+)>:", line):
            current = functions[int(start[1], 16)] = Function(int(start[1], 16))
        elif len(parts := line.split("\t", 2)) == 3:  # address, code, text
            _add_instruction(current, parts[2])
    return functions


def _add_instruction(function: Function, text: str) -> None:
    opcode, _, operands = text.partition("\t")
    if opcode.startswith(("push", "vpush")) or (opcode.startswith(("stmdb", "vstmdb")) and operands.startswith("sp!")):
        function.frame += _register_bytes(operands)
    elif opcode.startswith("sub") and (size := re.match(r"sp, (?:sp, )?#(\d+)", operands)):
        function.frame += int(size[1])
    elif stored := re.search(r"\[sp, #-(\d+)\]!", operands):
        function.frame += int(stored[1])
    elif opcode.startswith("blx") or (opcode.startswith("bx") and not operands.startswith("lr")):
        function.indirect = True
    elif opcode.startswith("b") and (target := re.match(r"([0-9a-f]+) <", operands)):
        function.calls.add(int(target[1], 16))


def _register_bytes(operands: str) -> int:
    """Bytes of a register list: {r4-r7, lr} is 20, {d8-d9} is 16."""
    size = 0
    for item in operands[operands.index("{") + 1 : operands.index("}")].split(", "):
        first, _, last = item.partition("-")
        width = {"d": 8, "q": 16}.get(first[0], 4)
        size += width * (int(last[1:]) - int(first[1:]) + 1 if last else 1)
    return size


def _depth(
    address: int,
    functions: Mapping[int, Function],
    pointers: set[int],
    depths: dict[int, int],
    path: tuple[int, ...],
) -> int:
    """Bytes from the entry of a function down. Raises RecursionError where it can call itself."""
    if address in path:
        raise RecursionError
    if address not in functions:
        return 0  # a branch inside the caller
    if address not in depths:
        function = functions[address]
        callees = (function.calls | (pointers if function.indirect else set())) - {address}
        below = (_depth(callee, functions, pointers, depths, (*path, address)) for callee in callees)
        depths[address] = function.frame + max(below, default=0)
    return depths[address]


def _words(elf: Path) -> Iterator[tuple[int, int]]:
    """(address, word) of everything that is loaded, literal pools of the code included."""
    with elf.open("rb") as file:
        for section in ELFFile(file).iter_sections():
            if section["sh_type"] == "SHT_PROGBITS" and section["sh_flags"] & SHF_ALLOC:
                data = section.data()
                words = struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4])
                yield from zip(range(section["sh_addr"], section["sh_addr"] + len(data), 4), words, strict=False)


def _symbol(elf: Path, name: str) -> range:
    """The addresses of a function or object."""
    with elf.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        symbol = (table.get_symbol_by_name(name) or [])[0]
        start = symbol["st_value"] & ~1
        return range(start, start + symbol["st_size"])
