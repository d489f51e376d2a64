"""Runs vectors on a device and compares every byte with what the reference made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tinykiln.errors import VectorError
from tinykiln.graph import Array
from tinykiln.project import Project, TensorInfo
from tinykiln.reference import Arrays, Vectors
from tinykiln.session import Session


@dataclass(frozen=True, slots=True)
class InferenceResult:
    """One inference. `count` is in units of the board's counter, `mismatches` in bytes,
    `max_abs_error` in quantised steps (float outputs: in their own unit; NaN and infinity show in `mismatches`)."""

    input: str
    ticks: int
    count: int
    mismatches: int
    max_abs_error: float


@dataclass(frozen=True, slots=True)
class LayerResult:
    """One step of the first inference, run alone. `mismatches` in bytes."""

    step: str
    count: int
    mismatches: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a device did. `accuracy` is the share of outputs whose largest element is the label's, None without any."""

    inferences: tuple[InferenceResult, ...]
    layers: tuple[LayerResult, ...]
    stack_used: int
    retries: int
    accuracy: float | None = None

    @property
    def passed(self) -> bool:
        """At least one inference, and no byte of any output or layer differs."""
        layers = sum(layer.mismatches for layer in self.layers)
        return bool(self.inferences) and layers + sum(result.mismatches for result in self.inferences) == 0


def compare(
    session: Session, vectors: Vectors, labels: Array | None = None, progress: Callable[[str], None] | None = None
) -> Outcome:
    """Every vector through the device, then the first one step by step. Raises DeviceError, VectorError."""
    project = session.project
    check_vectors(project, vectors)
    session.reset()
    results, predicted = [], []
    for i in range(vectors.count):
        if progress:
            progress(f"inference {i + 1} of {vectors.count}")
        inference = session.run(_row(vectors.inputs, project.inputs, i))
        expected = _row(vectors.outputs, project.outputs, i)
        count = _count(project, inference.ticks)
        results.append(InferenceResult(str(i), inference.ticks, count, *_difference(inference.outputs, expected)))
        predicted.append(int(np.argmax(inference.outputs[0])))
    accuracy = None if labels is None else float(np.mean(np.asarray(predicted) == labels))
    layers = compare_layers(session, vectors)
    return Outcome(tuple(results), layers, session.stack_used, session.counts.retries, accuracy)


def compare_layers(session: Session, vectors: Vectors) -> tuple[LayerResult, ...]:
    """The first vector step by step, the output of each compared. Raises as `compare`."""
    project = session.project
    check_vectors(project, vectors)
    session.reset()
    steps = session.run_steps(_row(vectors.inputs, project.inputs, 0))
    return tuple(
        LayerResult(
            step.name,
            _count(project, run.ticks),
            _difference([run.output], [vectors.layers[step.name]])[0],
        )
        for step, run in zip(project.steps, steps, strict=True)
    )


def check_vectors(project: Project, vectors: Vectors) -> None:
    """Raises VectorError where there are no vectors, not the same number for all, or not for this project's model."""
    if vectors.count == 0:
        raise VectorError("there are no vectors, so nothing would be tested", hint="generate the project again")
    for info in project.inputs:
        _check(f"input '{info.name}'", vectors.inputs.get(info.name), (vectors.count, *info.shape), info)
    for info in project.outputs:
        _check(f"output '{info.name}'", vectors.outputs.get(info.name), (vectors.count, *info.shape), info)
    for step in project.steps:
        _check(f"step '{step.name}'", vectors.layers.get(step.name), step.output.shape, step.output)


def _check(what: str, array: Array | None, shape: tuple[int, ...], info: TensorInfo) -> None:
    if array is None or array.shape != shape or array.dtype != info.dtype:
        got = "nothing" if array is None else f"{array.dtype} of shape {array.shape}"
        raise VectorError(
            f"the vectors do not fit the model's {what}",
            where=f"expected {info.dtype} of shape {shape}, got {got}",
            hint="generate the project again",
        )


def _row(arrays: Arrays, infos: Sequence[TensorInfo], i: int) -> list[Array]:
    return [arrays[info.name][i] for info in infos]


def _count(project: Project, ticks: int) -> int:
    return round(ticks * project.board.counter.step)


def _difference(got: Sequence[Array], expected: Sequence[Array]) -> tuple[int, float]:
    """(bytes that differ, largest finite difference of two elements)."""
    mismatches, largest = 0, 0.0
    for a, b in zip(got, expected, strict=True):
        mismatches += int(np.sum(_bytes(a) != _bytes(b)))
        with np.errstate(invalid="ignore"):
            error = np.abs(a.astype(np.float64) - b.astype(np.float64).reshape(a.shape))
        largest = max(largest, float(np.max(error, initial=0.0, where=np.isfinite(error))))
    return mismatches, largest


def _bytes(array: Array) -> Array:
    return np.frombuffer(np.ascontiguousarray(array).tobytes(), dtype=np.uint8)
