"""How deep the stack can get: a bound from the machine code of the image.

Every function's frame is what its instructions push; calls are its branches to other functions and
its branches with link to itself; an indirect call may reach every function whose address stands
anywhere in the image outside of the vector table. Exceptions add
their frame and their handlers once on top (all have the same priority). Sums are upper bounds: a
function that pushes on two paths counts both.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from tinykiln.errors import BuildError, ToolError

EXCEPTION_FRAME = 32 + 72 + 4
"""Bytes that an Armv7-M exception stacks: registers, floating-point registers, alignment (DDI 0403, B1.5.6)."""

ENTRY, VECTORS = "Reset_Handler", "vectors"
"""Symbols of the template's board/startup.c."""

CALL = re.compile(r"bl(eq|ne|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?(\.w)?")
"""Branches with link; the condition is that of an IT block. "blt" and "ble" are plain branches."""

SHF_ALLOC, R_ARM_ABS32, R_ARM_THM_MOVW_ABS_NC = 2, 2, 47


@dataclass(slots=True)
class Function:
    """Bytes that a function pushes, the addresses it branches to, whether it calls through a register.

    `unbounded` is set where it calls itself or takes a computed number of bytes from the stack.
    """

    address: int
    frame: int = 0
    calls: set[int] = field(default_factory=set)
    indirect: bool = False
    unbounded: bool = False


def stack_bound(elf: Path, objdump: str) -> int | None:
    """The most bytes of stack that the image in `elf` can use.

    None where that cannot be known: calls are recursive, a frame's size is computed, or the start-up code is not
    the template's. Raises ToolError where `objdump` is not installed, BuildError where it cannot read the image.
    """
    functions = parse_listing(_disassemble(elf, objdump))
    entry, vectors = _symbol(elf, ENTRY), _symbol(elf, VECTORS)
    if entry is None or vectors is None:
        return None
    stored = [(place, target) for place, target in _stored_addresses(elf) if target in functions]
    handlers = {target for place, target in stored if place in vectors} - {entry.start}
    pointers = {target for place, target in stored if place not in vectors}
    depths: dict[int, int] = {}
    try:
        thread = _depth(entry.start, functions, pointers, depths, ())
        handler = max((_depth(a, functions, pointers, depths, ()) for a in handlers), default=0)
    except RecursionError:
        return None
    return thread + EXCEPTION_FRAME + handler


def _disassemble(elf: Path, objdump: str) -> str:
    try:
        done = subprocess.run([objdump, "-d", str(elf)], capture_output=True, text=True)
    except FileNotFoundError as error:
        hint = "on Debian and Ubuntu: apt install binutils-arm-none-eabi"
        raise ToolError(f"{objdump} is not installed", hint=hint) from error
    if done.returncode:
        raise BuildError(f"{objdump} cannot read the image: {done.stderr.strip()}", where=str(elf), hint="build again")
    return done.stdout


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
    elif opcode.startswith(("add", "sub")) and re.match(r"sp, (sp, )?(?!sp,)[^#]", operands):
        function.unbounded = True
    elif stored := re.search(r"\[sp, #-(\d+)\]!", operands):
        function.frame += int(stored[1])
    elif _is_indirect(opcode, operands):
        function.indirect = True
    elif opcode.startswith("b") and (branch := re.match(r"([0-9a-f]+) <", operands)):
        target = int(branch[1], 16)
        function.calls.add(target)
        function.unbounded |= target == function.address and CALL.fullmatch(opcode) is not None


def _is_indirect(opcode: str, operands: str) -> bool:
    """Whether it goes where a register or a word of memory says, and is no return."""
    if opcode.startswith("ldr"):
        return operands.startswith("pc, [") and not operands.startswith("pc, [sp")
    return opcode.startswith("blx") or (opcode.startswith("bx") and not operands.startswith("lr"))


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
    """Bytes from the entry of a function down. Raises RecursionError where there is no bound."""
    if address not in functions:
        return 0  # a branch inside the caller
    function = functions[address]
    if address in path or function.unbounded:
        raise RecursionError
    if address not in depths:
        callees = (function.calls - {address}) | (pointers if function.indirect else set())
        below = (_depth(callee, functions, pointers, depths, (*path, address)) for callee in callees)
        depths[address] = function.frame + max(below, default=0)
    return depths[address]


def _stored_addresses(elf: Path) -> list[tuple[int, int]]:
    """(where, which address) of every address in the image, from the relocations that --emit-relocs keeps."""
    found = []
    with elf.open("rb") as file:
        image = ELFFile(file)
        for section in image.iter_sections():
            if not isinstance(section, RelocationSection):
                continue
            patched = image.get_section(section["sh_info"])
            if patched["sh_flags"] & SHF_ALLOC and patched["sh_type"] == "SHT_PROGBITS":
                data, symbols = patched.data(), image.get_section(section["sh_link"])
                assert isinstance(symbols, SymbolTableSection)
                for relocation in section.iter_relocations():
                    place = relocation["r_offset"]
                    if relocation["r_info_type"] == R_ARM_ABS32:
                        at = place - patched["sh_addr"]
                        found.append((place, int.from_bytes(data[at : at + 4], "little") & ~1))
                    elif relocation["r_info_type"] == R_ARM_THM_MOVW_ABS_NC:
                        found.append((place, symbols.get_symbol(relocation["r_info_sym"])["st_value"] & ~1))
    return found


def _symbol(elf: Path, name: str) -> range | None:
    """The addresses of a function or object, if there is one of that name."""
    with elf.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        symbols = table.get_symbol_by_name(name)
        if not symbols:
            return None
        start = symbols[0]["st_value"] & ~1
        return range(start, start + symbols[0]["st_size"])
