"""Compiles generated models for the host, with the house's warnings and with ASan and UBSan, and runs them."""

from __future__ import annotations

import functools
import hashlib
import subprocess
from pathlib import Path

import numpy as np
from tinykiln.boards import find_board
from tinykiln.data import data_path
from tinykiln.emit import Sources, emit
from tinykiln.graph import Array
from tinykiln.load import load
from tinykiln.passes import simplify
from tinykiln.plan import Plan, make_plan
from tinykiln.reference import Arrays

WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O2"]
RUN_MODEL = Path(__file__).parent / "c" / "run_model.c"


def compile_model(model: Path, board: str = "qemu_mps2_an386") -> tuple[Plan, Sources]:
    """The stages from a model file to sources."""
    plan = make_plan(simplify(load(model)), find_board(board))
    return plan, emit(plan, model.name)


def build_host(sources: Sources, folder: Path) -> Path:
    """An executable of the model; the kernels are compiled once for all models of a test run."""
    for path, text in sources.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    name = sources.plan.graph.name
    executable = folder / "run_model"
    subprocess.run(
        ["gcc", *WARNINGS, *SANITIZERS, f"-DMODEL={name}_model", "-I", folder / "crt/include", "-I", folder / "model",
         folder / f"model/{name}.c", RUN_MODEL, _kernel_library(folder.parent), "-lm", "-o", executable],
        check=True,
    )
    return executable


@functools.cache
def _kernel_library(folder: Path) -> Path:
    """All kernels of crt/kernels as one static library."""
    library = folder / f"libkernels_{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}.a"
    objects = []
    for source in sorted((data_path("crt") / "kernels").glob("*.c")):
        objects.append(library.with_name(f"{library.stem}_{source.stem}.o"))
        include = data_path("crt") / "include"
        subprocess.run(["gcc", *WARNINGS, *SANITIZERS, "-c", "-I", include, source, "-o", objects[-1]], check=True)
    subprocess.run(["ar", "rcs", library, *objects], check=True)
    return library


def run_host(executable: Path, plan: Plan, inputs: Arrays) -> dict[str, Array]:
    """The outputs for all of the inputs, by name, (N, *tensor shape)."""
    count = len(next(iter(inputs.values())))
    data = b"".join(inputs[port.name][i].tobytes() for i in range(count) for port in plan.inputs)
    result = subprocess.run([executable], input=data, capture_output=True, timeout=300)
    assert result.returncode == 0, result.stderr.decode()
    row = np.dtype([
        (port.name, plan.graph.tensors[port.tensor].dtype, plan.graph.tensors[port.tensor].shape)
        for port in plan.outputs
    ])
    rows = np.frombuffer(result.stdout, dtype=row)
    assert len(rows) == count
    return {port.name: rows[port.name] for port in plan.outputs}
