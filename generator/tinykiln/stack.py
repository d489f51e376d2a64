"""How deep the stack can get: a bound from the machine code of the image.

Every function's frame is what its instructions push, on all of its paths together. Below it comes the deepest of the
functions that it calls, jumps into (also into their middle, as libgcc's assembly does) or falls through into. An
indirect call may reach every function whose address stands anywhere in the image outside of the vector table.

One exception comes on top of the deepest call: its frame and the deepest handler in the vector table. Not covered is
what the code does not show:
- handlers of different priorities, which interrupt each other: add EXCEPTION_FRAME and the depth of each;
- assembly that moves sp other than by push, stores with write-back and constants (a switch of stacks, longjmp), that
  pushes in a loop, or whose subroutines within one function call themselves;
- code outside of the image, and indirect calls of addresses that are computed or come from outside.
"""

from __future__ import annotations

import re
import subprocess
from bisect import bisect_right
from collections.abc import Collection, Mapping
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

IF = "(?:eq|ne|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?"
CALL = re.compile(rf"bl{IF}(\.w)?")
"""Branches with link; the condition is that of an IT block. "blt" and "ble" are plain branches."""

BRANCH = re.compile(rf"(?:bl?{IF}|cbn?z|le|letp|wls|wlstp\.\d+)(?:\.[nw])?\t(?:.*, )?([0-9a-f]+) <.*")
"""Instructions that name where they go."""

RETURN = re.compile(rf"bx(ns)?{IF}\tlr|(pop|ldmia){IF}(\.w)?\t.*pc}}|(ldr|mov){IF}(\.w)?\tpc, (lr|\[sp).*")
INDIRECT = re.compile(rf"blx(ns)?{IF}\t.*|bx(ns)?{IF}\t.*|(ldr|mov|add){IF}(\.w)?\tpc, .*")
END = re.compile(r"(b|bx|bxns|tbb|tbh|udf|bkpt)(\.[nw])?\t.*|(pop|ldmia)(\.w)?\t.*pc}|(ldr|mov|add)(\.w)?\tpc, .*")
"""Instructions after which the next one is not reached."""

PADDING = ("nop", "movs\tr0, r0")
"""What stands between functions for alignment; zeros read as the last."""

SHF_ALLOC, R_ARM_ABS32, R_ARM_THM_MOVW_ABS_NC = 2, 2, 47


@dataclass(slots=True)
class Function:
    """What stands between one label and the next: a function, or a part of one written in assembly.

    `frame` is the bytes that it pushes; `calls` is where its branches with link go, `jumps` where the others go.
    `indirect`: it goes where a register or a word of memory says. `unbounded`: it calls itself or pushes a computed
    number of bytes. `returns`: it returns or jumps through a register. `open_end`: its last instruction lets the
    next label be reached, where `last_call`, if that is what the instruction calls, returns.
    """

    address: int
    frame: int = 0
    calls: set[int] = field(default_factory=set)
    jumps: set[int] = field(default_factory=set)
    indirect: bool = False
    unbounded: bool = False
    returns: bool = False
    open_end: bool = True
    last_call: int | None = None


def stack_bound(elf: Path, objdump: str) -> int | None:
    """The most bytes of stack that the image in `elf` can use.

    None where that cannot be known: calls are recursive, a frame's size is computed, or the start-up code is not
    the template's. Raises ToolError where `objdump` is not installed, BuildError where it cannot read the image.
    """
    listing = _disassemble(elf, objdump)  # first, as it says what is wrong with a file that is no image
    symbols = _symbols(elf)
    functions = _merged(parse_listing(listing, {span.stop for _, span in symbols if span}))
    entry, vectors = (next((span for name, span in symbols if name == wanted), None) for wanted in (ENTRY, VECTORS))
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
        done = subprocess.run([objdump, "-d", "-z", str(elf)], capture_output=True, text=True)
    except FileNotFoundError as error:
        hint = "on Debian and Ubuntu: apt install binutils-arm-none-eabi"
        raise ToolError(f"{objdump} is not installed", hint=hint) from error
    if done.returncode:
        raise BuildError(f"{objdump} cannot read the image: {done.stderr.strip()}", where=str(elf), hint="build again")
    return done.stdout


def parse_listing(listing: str, ends: Collection[int] = ()) -> dict[int, Function]:
    """The functions of an objdump listing (`objdump -d -z`) by address; calls and jumps are addresses of functions.

    `ends` are the addresses where symbols end: what stands there without a label is no part of them. (newlib's strcmp
    begins with code in front of its label.)
    """
    functions: dict[int, Function] = {}
    nexts: dict[int, int] = {}
    current = None
    for line in listing.splitlines():
        place = re.match(r"([0-9a-f]{8}) <[^>]+>:| *([0-9a-f]+):\t[^\t]*\t?(.*)", line)
        if place is None:
            current = None if line.startswith("Disassembly of section") else current
            continue
        address = int(place[1] or place[2], 16)
        if place[1] or current is None or (address in ends and address not in functions):
            if current is not None and current.open_end:
                nexts[current.address] = address
            current = functions[address] = Function(address)
        if place[2]:
            _add_instruction(current, place[3])  # empty for constants among the code
    _resolve(functions)
    _fall_through(functions, nexts)
    return functions


def _add_instruction(function: Function, text: str) -> None:
    opcode, _, operands = text.partition("\t@")[0].partition("\t")
    if not opcode or opcode.startswith("."):  # data, which nothing runs into
        function.open_end = False
    elif not text.startswith(PADDING):
        _add_frame(function, opcode, operands)
        _add_transfer(function, opcode, f"{opcode}\t{operands}")


def _add_frame(function: Function, opcode: str, operands: str) -> None:
    if opcode.startswith(("push", "vpush")) or (opcode.startswith(("stmdb", "vstmdb")) and operands.startswith("sp!")):
        function.frame += _register_bytes(operands)
    elif opcode.startswith("sub") and (size := re.match(r"sp, (?:sp, )?#(\d+)", operands)):
        function.frame += int(size[1])
    elif opcode.startswith(("add", "sub")) and re.match(r"sp, (sp, )?(?!sp,)[^#]", operands):
        function.unbounded = True
    elif stored := re.search(r"\[sp, #-(\d+)\]!", operands):
        function.frame += int(stored[1])


def _add_transfer(function: Function, opcode: str, text: str) -> None:
    branch, is_return = BRANCH.fullmatch(text), RETURN.fullmatch(text) is not None
    target = int(branch[1], 16) if branch else None
    if target is not None:
        (function.calls if CALL.fullmatch(opcode) else function.jumps).add(target)
    is_indirect = not is_return and INDIRECT.fullmatch(text) is not None
    function.indirect |= is_indirect
    function.returns |= is_return or (is_indirect and not opcode.startswith("bl"))
    function.last_call = target if opcode in ("bl", "bl.w") else None
    function.open_end = END.fullmatch(text) is None


def _register_bytes(operands: str) -> int:
    """Bytes of a register list: {r4-r7, lr} is 20, {d8-d9} is 16."""
    size = 0
    for item in operands[operands.index("{") + 1 : operands.index("}")].split(", "):
        first, _, last = item.partition("-")
        width = {"d": 8, "q": 16}.get(first[0], 4)
        size += width * (int(last[1:]) - int(first[1:]) + 1 if last else 1)
    return size


def _resolve(functions: Mapping[int, Function]) -> None:
    """Makes branches into the middle of functions branches to these; forgets jumps within a function.

    A call of its own start is a recursion. One of its own middle is a subroutine of libgcc's assembly, which takes
    at most the function's frame once more.
    """
    starts = sorted(functions)

    def owner(target: int) -> int:
        return starts[max(bisect_right(starts, target) - 1, 0)]

    for address, function in functions.items():
        function.unbounded |= address in function.calls
        function.frame *= 1 + sum(owner(target) == address for target in function.calls)
        function.calls = {owner(target) for target in function.calls} - {address}
        function.jumps = {owner(target) for target in function.jumps} - {address}
        function.last_call = None if function.last_call is None else owner(function.last_call)


def _fall_through(functions: Mapping[int, Function], nexts: Mapping[int, int]) -> None:
    """Adds the next function to the jumps of each that runs into it, unless its last call never returns.

    Which calls return is found along with it: a function returns if it does so itself or jumps into one that returns.
    """
    returning: set[int | None] = {None}
    before = 0
    while before != len(returning):
        before = len(returning)
        for address, function in functions.items():
            if address in nexts and function.last_call in returning:
                function.jumps.add(nexts[address])
            if function.returns or function.jumps & returning:
                returning.add(address)


def _merged(functions: Mapping[int, Function]) -> dict[int, Function]:
    """Functions that jump among each other become one, entered at many places, with the frames of all."""
    reached = {address: _reached(address, functions) for address in functions}
    merged: dict[int, Function] = {}
    for address in functions:
        group = sorted(other for other in reached[address] if address in reached[other])
        parts = [functions[part] for part in group]
        merged[address] = merged.get(group[0]) or Function(
            group[0],
            frame=sum(part.frame for part in parts),
            calls={target for part in parts for target in part.calls},
            jumps={target for part in parts for target in part.jumps} - set(group),
            indirect=any(part.indirect for part in parts),
            unbounded=any(part.unbounded or part.calls & set(group) for part in parts),
        )
    return merged


def _reached(address: int, functions: Mapping[int, Function]) -> set[int]:
    """The functions that one gets to by jumps, and the one itself."""
    found, rest = {address}, [address]
    while rest:
        more = functions[rest.pop()].jumps - found
        found |= more
        rest.extend(more)
    return found


def _depth(
    address: int,
    functions: Mapping[int, Function],
    pointers: set[int],
    depths: dict[int, int],
    path: tuple[int, ...],
) -> int:
    """Bytes from the entry of a function down. Raises RecursionError where there is no bound."""
    function = functions[address]
    if function.address in path or function.unbounded:
        raise RecursionError
    if function.address not in depths:
        callees = function.calls | function.jumps | (pointers if function.indirect else set())
        below = (_depth(callee, functions, pointers, depths, (*path, function.address)) for callee in callees)
        depths[function.address] = function.frame + max(below, default=0)
    return depths[function.address]


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


def _symbols(elf: Path) -> list[tuple[str, range]]:
    """Names and addresses of functions and objects; those of assembly may have no size."""
    with elf.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        starts = ((symbol, symbol["st_value"] & ~1) for symbol in table.iter_symbols())
        return [(symbol.name, range(start, start + symbol["st_size"])) for symbol, start in starts]
