"""Measures the real models on the emulated boards and writes the table of benchmarks/README.md.

Everything in it is deterministic: run `make benchmarks` before a commit that touches kernels, planner
or templates, and read the diff. Models come from TINYKILN_MODELS (default ../shared/models).
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tinykiln.boards import find_board
from tinykiln.build import build
from tinykiln.compare import compare
from tinykiln.emit import emit
from tinykiln.flash import flash
from tinykiln.load import load
from tinykiln.passes import simplify
from tinykiln.plan import make_plan
from tinykiln.project import write_project
from tinykiln.reference import random_inputs, run_reference
from tinykiln.report import table
from tinykiln.session import connect

ROOT = Path(__file__).resolve().parents[1]
MODELS = Path(os.environ.get("TINYKILN_MODELS", ROOT.parent / "shared" / "models"))
RESULTS = ROOT / "benchmarks" / "README.md"
START, END = "<!-- results -->\n", "<!-- end of results -->\n"

NAMES = (
    "mlperf_tiny/kws_ref_model",
    "mlperf_tiny/vww_96_int8",
    "mlperf_tiny/pretrainedResnet_quant",
    "mlperf_tiny/ad01_int8",
    "mlperf_tiny/str_ww_ref_model",
    "tflite_micro/hello_world_int8",
)
BOARDS = ("qemu_mps2_an385", "qemu_mps2_an386", "qemu_mps2_an500", "qemu_mps3_an547")
HEADER = ("model", "board", "MACs", "instructions", "per MAC", "arena", "flash", "weights", "static", "stack", "bound")
RUNS = 8
"""Of the same input; the smallest count is taken, as the phase of the counter adds up to one of its steps."""


def measure(model: Path, board: str, folder: Path) -> list[object]:
    """One row: the model generated, built and run on the board's emulator."""
    plan = make_plan(simplify(load(model)), find_board(board))
    extra = {f"model/{model.name}": model.read_bytes()}
    project = write_project(emit(plan, model.name), "bare_metal", folder / f"{plan.graph.name}_{board}", extra)
    image = build(project)
    flash(project)
    inputs = {name: np.repeat(array, RUNS, axis=0) for name, array in random_inputs(plan, 1).items()}
    with connect(project, image.build_id) as session:
        outcome = compare(session, run_reference(model.read_bytes(), plan, inputs))
    if not outcome.passed:
        sys.exit(f"{plan.graph.name} on {board} differs from the reference: nothing was written")
    count = min(result.count for result in outcome.inferences)
    return [
        plan.graph.name,
        board.removeprefix("qemu_"),
        plan.macs,
        count,
        f"{count / plan.macs:.2f}",
        plan.arena_bytes,
        image.flash_bytes,
        plan.weights_bytes,
        image.ram_static_bytes,
        outcome.stack_used,
        image.stack_bound_bytes if image.stack_bound_bytes is not None else "unknown",
    ]


def rows() -> Iterator[list[object]]:
    """All models on all boards."""
    models = [ROOT / "examples/digits/digits.tflite", *(MODELS / f"{name}.tflite" for name in NAMES)]
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            for board in BOARDS:
                print(model.stem, board, file=sys.stderr)
                yield measure(model, board, Path(folder))


def main() -> None:
    """Writes the table between its marks."""
    text = RESULTS.read_text()
    before, after = text[: text.index(START) + len(START)], text[text.index(END) :]
    RESULTS.write_text(f"{before}```\n{table(list(rows()), HEADER)}\n```\n{after}")


if __name__ == "__main__":
    main()
