"""A generated firmware repository as a value, and project.json, which makes later verbs need only the folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tinykiln.boards import Board
from tinykiln.graph import DType


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor of the firmware's API. `scale` and `zero` are those of the only quantisation, or 0."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    scale: float
    zero: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class StepInfo:
    """One step of the schedule: its name, operator, multiplies, and the tensor that it makes."""

    name: str
    op: str
    macs: int
    output: TensorInfo


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The compiled model. `file` is the path of the model file inside the project."""

    name: str
    file: str
    digest: str
    macs: int


@dataclass(frozen=True, slots=True)
class Project:
    """A firmware repository in the folder `path`. Sizes in bytes."""

    path: Path
    name: str
    template: str
    board: Board
    model: ModelInfo
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    steps: tuple[StepInfo, ...]
    arena_bytes: int
    arena_lower_bound_bytes: int
    weights_bytes: int
