"""What an ELF file says of itself."""

from __future__ import annotations

from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import NoteSection

from tinykiln.errors import BuildError

BUILD_ID_SIZE = 20
"""Bytes: a SHA-1."""


def read_build_id(elf: Path) -> bytes:
    """The 20 bytes of the note .note.gnu.build-id, which the linker makes from the image's contents.

    Raises BuildError: no such file, no ELF file, no build id of that size in it.
    """
    try:
        with elf.open("rb") as file:
            notes = ELFFile(file).get_section_by_name(".note.gnu.build-id")
            found = notes.iter_notes() if isinstance(notes, NoteSection) else ()
            ids = [note["n_desc"] for note in found if note["n_type"] == "NT_GNU_BUILD_ID"]
    except FileNotFoundError as error:
        raise BuildError("there is no firmware image", where=str(elf), hint="build it first: tinykiln build") from error
    except (ELFError, OSError) as error:
        raise BuildError(f"cannot read the firmware image: {error}", where=str(elf), hint="build it again") from error
    if len(ids) != 1 or len(ids[0]) != 2 * BUILD_ID_SIZE:
        raise BuildError(
            "the firmware image has no build id",
            where=str(elf),
            hint="link it with -Wl,--build-id=sha1, then build again",
        )
    return bytes.fromhex(ids[0])
