"""Compiles generated models for the host, with the house's warnings and with ASan and UBSan, and runs them.

Many models can be one executable: a model's public names begin with its own, all else in its file is static.
"""

from __future__ import annotations

import functools
import os
import struct
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g1"]
RUN_MODEL = Path(__file__).parent / "c" / "run_model.c"
FILES_A_COMPILER = 8


@dataclass(frozen=True)
class Job:
    """Inputs (N, *tensor shape) by name for one model of an executable."""

    plan: Plan
    inputs: Arrays

    @property
    def count(self) -> int:
        """N."""
        return len(next(iter(self.inputs.values())))


def plan_model(model: Path, board: str = "qemu_mps2_an386") -> Plan:
    """The stages from a model file to a plan."""
    return make_plan(simplify(load(model)), _board(board))


_board = functools.cache(find_board)


def compile_model(model: Path, board: str = "qemu_mps2_an386") -> tuple[Plan, Sources]:
    """The stages from a model file to sources."""
    plan = plan_model(model, board)
    return plan, emit(plan, model.name)


def build_host(sources: Sequence[Sources], folder: Path) -> Path:
    """One executable of all models, whose names must differ."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources:
        for path, text in source.files.items():
            if path.startswith("model/"):
                (folder / Path(path).name).write_text(text)
    names = [source.plan.graph.name for source in sources]
    assert len(set(names)) == len(names)
    (folder / "models.c").write_text(_table(names))
    files = [*(f"{name}.c" for name in names), "models.c", str(RUN_MODEL)]
    groups = [files[i:i + FILES_A_COMPILER] for i in range(0, len(files), FILES_A_COMPILER)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda group: _gcc(folder, "-O1", "-c", *group), groups))
    objects = [f"{Path(file).stem}.o" for file in files]
    _gcc(folder, *objects, str(_kernel_library(folder.parent)), "-lm", "-o", "run_model")
    return folder / "run_model"


def _table(names: Sequence[str]) -> str:
    """The C file that run_model.c finds the models by."""
    headers = "".join(f'#include "{name}.h"\n' for name in names)
    models = "".join(f"    &{name}_model,\n" for name in names)
    table = "const struct crt_model *const models[]"
    return f"{headers}\nextern {table};\n{table} = {{\n{models}}};\n"


def _gcc(folder: Path, *arguments: str) -> None:
    include = str(data_path("crt") / "include")
    done = subprocess.run(["gcc", *WARNINGS, *SANITIZERS, "-I", include, "-I", ".", *arguments], cwd=folder,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@functools.cache
def _kernel_library(folder: Path) -> Path:
    """All kernels of crt/kernels as one static library, compiled once for all models of a test run."""
    sources = sorted((data_path("crt") / "kernels").glob("*.c"))
    work = folder / "kernels"
    work.mkdir()
    groups = [sources[i::2] for i in range(2)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda group: _gcc(work, "-O2", "-c", *map(str, group)), groups))
    subprocess.run(["ar", "rcs", "libkernels.a", *(f"{source.stem}.o" for source in sources)], cwd=work, check=True)
    return work / "libkernels.a"


def run_host(executable: Path, jobs: Sequence[Job]) -> list[dict[str, Array]]:
    """The outputs (N, *tensor shape) of every job by name; job i is for model i of the executable."""
    tensors = [[(port.name, port.tensor) for port in job.plan.outputs] for job in jobs]
    return _run(executable, jobs, tensors, steps=False)


def run_host_steps(executable: Path, jobs: Sequence[Job]) -> list[dict[str, Array]]:
    """The outputs (N, *tensor shape) of every step of every job, by the step's name."""
    tensors = [[(step.name, step.output) for step in job.plan.steps] for job in jobs]
    return _run(executable, jobs, tensors, steps=True)


def _run(executable: Path, jobs: Sequence[Job], tensors: Sequence[Sequence[tuple[str, int]]], *,
         steps: bool) -> list[dict[str, Array]]:
    stdin = b"".join(part for index, job in enumerate(jobs) for part in _encoded(index, job, steps))
    done = subprocess.run([executable], input=stdin, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    results, position = [], 0
    for job, named in zip(jobs, tensors, strict=True):
        infos = [(name, job.plan.graph.tensors[index]) for name, index in named]
        row = np.dtype([(name, tensor.dtype, tensor.shape) for name, tensor in infos])
        rows = np.frombuffer(done.stdout, row, job.count, position)
        position += rows.nbytes
        results.append({name: rows[name] for name, _ in infos})
    assert position == len(done.stdout)
    return results


def _encoded(index: int, job: Job, steps: bool) -> Iterator[bytes]:
    yield struct.pack("<3I", index, steps, job.count)
    for i in range(job.count):
        for port in job.plan.inputs:
            yield job.inputs[port.name][i].tobytes()
