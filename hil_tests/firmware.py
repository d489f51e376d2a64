"""What the tests of this folder share: the command line as a user calls it, models, and a look into images."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from real_models import ROOT, real_model

DIGITS = ROOT / "examples" / "digits" / "digits.tflite"
STACK_BYTES = 4096
"""Size of the stack that the template gives a firmware."""

Json = dict[str, Any]


def model_file(name: str) -> Path:
    """The bundled model, or a real one; the test is skipped where that is not here."""
    file: Path = DIGITS if name == "digits" else real_model(name)
    return file


def tinykiln(
    *arguments: object, env: Mapping[str, str] | None = None, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own. `env` adds to the environment; `timeout` in seconds."""
    command = [sys.executable, "-m", "tinykiln", *map(str, arguments)]
    environment = {**os.environ, **(env or {})}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)


def succeed(*arguments: object) -> str:
    """What the command line writes to stdout; the test fails unless it ends with exit status 0."""
    done = tinykiln(*arguments)
    assert done.returncode == 0, f"tinykiln {arguments[0]}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def generate(model: Path, board: str, folder: Path) -> Json:
    """Writes the firmware project of a model for a board into `folder`; returns the plan."""
    plan: Json = json.loads(succeed("generate", model, "--board", board, "-o", folder, "--json", "-"))
    return plan


def flash_and_test(folder: Path, *options: object) -> Json:
    """The report of a test that must pass."""
    report: Json = json.loads(succeed("flash-and-test", folder, "--json", "-", *options))
    return report


def tool(name: str, *arguments: object) -> str:
    """What a program of the Arm toolchain writes."""
    command = [f"arm-none-eabi-{name}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def symbol(elf: Path, name: str) -> range:
    """The addresses of a function or object."""
    for line in tool("nm", "--print-size", elf).splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[3] == name:
            start = int(fields[0], 16)
            return range(start, start + int(fields[1], 16))
    raise AssertionError(f"{elf} has no symbol {name}")


def sections(elf: Path) -> dict[str, int]:
    """Sizes of the sections in bytes."""
    rows = (line.split() for line in tool("size", "-A", elf).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 3 and row[1].isdigit()}


def emulators(folder: Path) -> list[str]:
    """Command lines of emulators that run an image of the project in `folder` (Linux: looks into /proc)."""
    image = str(folder / "build" / "flashed.elf").encode()
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(file.read_bytes())
    assert lines, "/proc cannot be read"
    return [line.decode() for line in lines if image in line.split(b"\0")]
