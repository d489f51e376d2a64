"""Project -> Image: cmake and the cross compiler, and what the linker made of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile

from tinykiln.elf import read_build_id
from tinykiln.errors import BuildError, ToolError
from tinykiln.project import Project
from tinykiln.stack import stack_bound

LOG_LINES = 15
OBJDUMP = "arm-none-eabi-objdump"
JOBS = str(os.cpu_count() or 1)
COMMANDS = (("cmake", "--preset", "default"), ("cmake", "--build", "--preset", "default", "--parallel", JOBS))
TOOLS = {
    "cmake": "cmake",
    "make": "make",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    OBJDUMP: "binutils-arm-none-eabi",
}
"""Programs that a build runs, and the Debian packages that have them."""

FIRST_ERROR = "mend the first error in the log; model/ and crt/ can be generated again at any time"
TOO_LARGE = (
    "take a smaller model or a board with more memory; `tinykiln plan` shows what the model needs, "
    "build/firmware.map what else there is, and CMakeLists.txt has STACK_BYTES"
)

FOREIGN = re.compile("MAKE.*|MFLAGS|C(PP)?FLAGS|LDFLAGS|CPATH|C_INCLUDE_PATH|LIBRARY_PATH")
"""Environment variables that must not reach the build: options of a parent make, and of compilers for the host."""


@dataclass(frozen=True, slots=True)
class Image:
    """A linked firmware. Sizes in bytes.

    `flash_bytes` is everything that the image puts in flash, `code_bytes` that without the weights,
    `ram_static_bytes` .data and .bss without the arena, `stack_bound_bytes` the most stack it can use
    (None where that cannot be known).
    """

    elf: Path
    build_id: bytes
    flash_bytes: int
    code_bytes: int
    ram_static_bytes: int
    stack_bound_bytes: int | None


def build(project: Project) -> Image:
    """Builds the firmware in `<project>/build`. Raises ToolError, and BuildError with the compiler's last lines."""
    for tool in TOOLS:
        _need(tool)
    log = project.path / "build" / "build.log"
    try:
        log.parent.mkdir(exist_ok=True)
        log.write_text("")
        _forget_other_place(project.path)
    except OSError as error:
        raise BuildError(f"cannot write the build folder: {error.strerror}", where=str(log.parent)) from error
    for command in COMMANDS:
        _run(command, project, log)
    return read_image(project)


def read_image(project: Project) -> Image:
    """The image that was built last. Raises BuildError where there is none, ToolError where objdump is missing."""
    elf = project.elf
    if not elf.is_file():
        raise BuildError("the firmware is not built", where=str(elf), hint=f"tinykiln build {project.path}")
    _need(OBJDUMP)
    build_id = read_build_id(elf)
    flash_bytes, ram_bytes = _sizes(elf)
    return Image(
        elf=elf,
        build_id=build_id,
        flash_bytes=flash_bytes,
        code_bytes=flash_bytes - project.weights_bytes,
        ram_static_bytes=ram_bytes - project.arena_bytes,
        stack_bound_bytes=stack_bound(elf, OBJDUMP),
    )


def _need(tool: str) -> None:
    if shutil.which(tool) is None:
        raise ToolError(f"{tool} is not installed", hint=f"on Debian and Ubuntu: apt install {TOOLS[tool]}")


def _forget_other_place(folder: Path) -> None:
    """Removes what cmake remembers where the project has been moved or copied since.

    cmake refuses to go on there, and make would watch the headers of the other place.
    """
    cache = folder / "build" / "CMakeCache.txt"
    if cache.is_file():
        home = re.search(r"^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$", cache.read_text(errors="replace"), re.MULTILINE)
        if home is None or Path(home[1]).resolve() != folder.resolve():
            shutil.rmtree(cache.with_name("CMakeFiles"), ignore_errors=True)
            cache.unlink()


def _run(command: tuple[str, ...], project: Project, log: Path) -> None:
    with log.open("a") as output:
        environment = {name: value for name, value in os.environ.items() if not FOREIGN.fullmatch(name)}
        done = subprocess.run(command, cwd=project.path, stdout=output, stderr=subprocess.STDOUT, env=environment)
    if done.returncode:
        text = log.read_text(errors="replace")
        failed = f"`{' '.join(command)}` failed with exit status {done.returncode}"
        missing = _missing_memory(text, project.board.name)
        raise BuildError(
            "\n    ".join([*missing, failed, *text.splitlines()[-LOG_LINES:]]),
            where=f"{project.path}, the whole log: {log}",
            hint=TOO_LARGE if missing else FIRST_ERROR,
        )


def _missing_memory(log: str, board: str) -> list[str]:
    """What the linker says of memory that is too small, a sentence for each region."""
    found = re.findall(r"region `(\S+)' overflowed by (\d+) bytes?", log)
    return [f"the image needs {int(size):,} bytes more of {region} than {board} has".replace(",", " ")
            for region, size in dict.fromkeys(found)]


def _sizes(elf: Path) -> tuple[int, int]:
    """(bytes in flash, bytes of .data and .bss)."""
    with elf.open("rb") as file:
        image = ELFFile(file)
        flash = sum(segment["p_filesz"] for segment in image.iter_segments() if segment["p_type"] == "PT_LOAD")
        sections = (image.get_section_by_name(name) for name in (".data", ".bss"))
        return flash, sum(section["sh_size"] for section in sections if section is not None)
