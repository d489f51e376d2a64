"""Small models and the projects made from them, for tests of the stages behind the plan."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from tflite_writer import Model
from tinykiln.boards import find_board
from tinykiln.emit import Sources, emit
from tinykiln.load import load
from tinykiln.passes import simplify
from tinykiln.plan import make_plan
from tinykiln.project import Project, write_project

BOARD = "qemu_mps2_an386"
Tree = dict[str, tuple[int, bytes]]


def small_model(seed: int = 3) -> bytes:
    """A convolution and a softmax over 4 channels; the weights depend on the seed."""
    model, rng = Model(), np.random.default_rng(seed)
    x = model.input((1, 6, 5, 2), scale=0.05, zero=-3, name="image")
    y = model.random_conv2d(rng, x, 4, (3, 3))
    model.output(model.softmax(y))
    return model.to_bytes()


def model_file(folder: Path, name: str = "small", seed: int = 3) -> Path:
    """The model in a file in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.tflite"
    path.write_bytes(small_model(seed))
    return path


def write(model: Path, to: Path, board: str = BOARD, template: str = "bare_metal",
          golden: bytes | None = b"golden vectors") -> Project:
    """The model's project in the folder `to`, with `golden` in place of real vectors."""
    sources = _sources(model, model.read_bytes(), board)
    extra = {f"model/{sources.plan.graph.name}.tflite": model.read_bytes()}
    if golden is not None:
        extra["tests/golden.npz"] = golden
    return write_project(sources, template, to, extra)


@cache
def _sources(model: Path, data: bytes, board: str) -> Sources:
    return emit(make_plan(simplify(load(model)), find_board(board)), model.name)


def tree(folder: Path) -> Tree:
    """Everything under a folder: relative path -> mode, and the bytes of a file or the target of a link."""
    found: Tree = {}
    for path in sorted(folder.rglob("*")):
        data = bytes(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = (path.lstat().st_mode, data)
    return found
