"""Model files to Graphs. Each format has a file of its own; which one is read is told by the file's first bytes."""

from __future__ import annotations

import hashlib
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from tinykiln.errors import ModelError
from tinykiln.graph import Graph
from tinykiln.load.tflite import load as load_tflite
from tinykiln.load.tflite_file import IDENTIFIER
from tinykiln.rules import MAX_BYTES, OPERATORS

C_WORDS = frozenset((
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern", "float",
    "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof",
    "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while", "asm", "bool", "true",
    "false", "main", "crt", "model", "t", "board", "config", "counter", "cortex_m", "host", "stack", "uart",
    "assert", "complex", "ctype", "errno", "fenv", "inttypes", "iso646", "limits", "locale", "math", "setjmp",
    "signal", "stdalign", "stdarg", "stdatomic", "stdbool", "stddef", "stdint", "stdio", "stdlib", "stdnoreturn",
    "string", "tgmath", "threads", "time", "uchar", "wchar", "wctype",
))
"""Keywords of C, names that generated projects use, and names of C's own headers, beside which <model>.h lies."""
MAX_NAME = 48
"""Characters of a model's name: C compilers need only tell 63 apart, and generated names append to it."""


@dataclass(frozen=True, slots=True)
class SupportedOp:
    """A kind of operator that can be compiled, and its dtypes as "int8, int8, int32 -> int8"; the last `optional`
    inputs may be left out, as `takes` shows: "int8, int8[, int32] -> int8"."""

    kind: str
    dtypes: tuple[str, ...]
    optional: int
    takes: tuple[str, ...]


def load(path: Path) -> Graph:
    """Read a model file.

    Raises ModelError where the file cannot be read, is damaged, or holds anything that cannot be compiled; the error
    then lists every such thing.
    """
    data = _read(path)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if data[4:8] == IDENTIFIER:
        return load_tflite(data, model_name(path.stem), digest, path)
    raise ModelError(f"{path.name} is not a model of a known format", where=str(path),
                     hint="give a TensorFlow Lite file (.tflite); its bytes 4 to 7 are TFL3")


def supported_ops() -> tuple[SupportedOp, ...]:
    """What `load` accepts, in alphabetical order; read from the table by which it decides."""
    return tuple(
        SupportedOp(kind, tuple(signature.text() for signature in rule.signatures), rule.optional, rule.takes())
        for kind, rule in OPERATORS.items()
    )


def model_name(stem: str) -> str:
    """A C identifier in lower case from a file's name: "My Net-2" becomes my_net_2, "1st" m_1st, "int" m_int."""
    name = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")[:MAX_NAME].rstrip("_")
    if not name:
        return "model_0"
    return f"m_{name}" if name[0].isdigit() or name in C_WORDS or name.startswith(("crt_", "t_")) else name


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"{path.name or path} is not a file", where=str(path), hint="give a model file")
        if status.st_size > MAX_BYTES:
            raise ModelError(f"{path.name} has {status.st_size} bytes; up to {MAX_BYTES} are supported",
                             where=str(path))
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(f"the model file cannot be read: {reason}", where=str(path),
                         hint="check the path and its permissions") from error
