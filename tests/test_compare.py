"""What counts as equal, what passes, and which vectors are refused; a device that answers as told stands in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from tinykiln.boards import find_board
from tinykiln.compare import InferenceResult, LayerResult, Outcome, _difference, compare, compare_layers
from tinykiln.errors import VectorError
from tinykiln.graph import Array
from tinykiln.project import ModelInfo, Project, StepInfo, TensorInfo
from tinykiln.reference import Vectors
from tinykiln.session import Inference, Session, StepRun

IMAGE = TensorInfo("image", "int8", (1, 4), 0.5, 0, 4)
SCORES = TensorInfo("scores", "int8", (1, 3), 0.5, 0, 3)
PROJECT = Project(
    path=Path("fw"), name="net", template="bare_metal", board=find_board("qemu_mps2_an386"),
    model=ModelInfo("net", "model/net.tflite", "sha256:0", 12), inputs=(IMAGE,), outputs=(SCORES,),
    steps=(StepInfo("fc_0", "FULLY_CONNECTED", 12, replace(SCORES, name="fc_0")),
           StepInfo("softmax_1", "SOFTMAX", 0, replace(SCORES, name="softmax_1"))),
    arena_bytes=8, arena_lower_bound_bytes=8, weights_bytes=12)
LOGITS = np.array([[1, 2, 3]], np.int8)


def vectors(count: int = 4) -> Vectors:
    inputs = np.arange(4 * count, dtype=np.int8).reshape(count, 1, 4)
    outputs = inputs[:, :, :3] * np.int8(2)
    return Vectors({"image": inputs}, {"scores": outputs}, {"fc_0": LOGITS, "softmax_1": outputs[0]} if count else {})


@dataclass
class Device:
    """Doubles the first three bytes of its input, and adds `error` to what it makes of input `wrong`."""

    project: Project = PROJECT
    wrong: int = -1
    error: int = 1
    wrong_step: int = -1
    calls: list[str] = field(default_factory=list)
    stack_used: int = 480
    counts: Any = field(default_factory=lambda: SimpleNamespace(retries=2))

    def reset(self) -> None:
        self.calls.append("reset")

    def run(self, inputs: Sequence[Array]) -> Inference:
        self.calls.append("run")
        assert inputs[0].shape == (1, 4)
        output = inputs[0][:, :3] * np.int8(2)
        if self.calls.count("run") - 1 == self.wrong:
            output[0, 1] += self.error
        return Inference((output,), 10)

    def run_steps(self, inputs: Sequence[Array]) -> tuple[StepRun, ...]:
        self.calls.append("steps")
        outputs = [LOGITS.copy(), inputs[0][:, :3] * np.int8(2)]
        if self.wrong_step >= 0:
            outputs[self.wrong_step][0, :2] += 1
        return tuple(StepRun(7, output) for output in outputs)


def outcome(device: Device, given: Vectors, labels: Array | None = None) -> Outcome:
    return compare(cast(Session, device), given, labels)


# ---- what a device did ----


def test_equal_outputs_pass() -> None:
    device = Device()
    assert outcome(device, vectors()) == Outcome(
        inferences=tuple(InferenceResult(str(i), 10, 400, 0, 0.0) for i in range(4)),
        layers=(LayerResult("fc_0", 280, 0), LayerResult("softmax_1", 280, 0)),
        stack_used=480, retries=2, accuracy=None)
    assert outcome(Device(), vectors()).passed
    assert device.calls == ["reset", "run", "run", "run", "run", "reset", "steps"]


@pytest.mark.parametrize("wrong", range(4))
def test_one_byte_of_one_output_fails(wrong: int) -> None:
    result = outcome(Device(wrong=wrong, error=-5), vectors())
    assert not result.passed
    assert [(r.mismatches, r.max_abs_error) for r in result.inferences] == [
        (1, 5.0) if i == wrong else (0, 0.0) for i in range(4)]


@pytest.mark.parametrize("wrong_step", [0, 1])
def test_a_layer_that_differs_fails(wrong_step: int) -> None:
    result = outcome(Device(wrong_step=wrong_step), vectors())
    assert [layer.mismatches for layer in result.layers] == [2 * (i == wrong_step) for i in range(2)]
    assert not result.passed


def test_layers_that_the_vectors_lack_are_refused() -> None:
    given = replace(vectors(), layers={"softmax_1": vectors().layers["softmax_1"]})
    with pytest.raises(VectorError) as caught:
        outcome(Device(), given)
    assert str(caught.value) == (
        "the vectors do not fit the model's step 'fc_0'\n"
        "  where: expected int8 of shape (1, 3), got nothing\n"
        "  next:  generate the project again"
    )


def test_accuracy_is_the_share_of_right_labels() -> None:
    result = outcome(Device(), vectors(), np.array([2, 2, 0, 2]))
    assert result.accuracy == 0.75
    assert outcome(Device(), vectors(), np.array([0, 0, 0, 0])).accuracy == 0.0


def test_progress_is_told() -> None:
    told: list[str] = []
    compare(cast(Session, Device()), vectors(2), progress=told.append)
    assert told[:2] == ["inference 1 of 2", "inference 2 of 2"]


def test_nothing_that_ran_is_no_success() -> None:
    assert not Outcome((), (), 0, 0).passed
    assert not Outcome((), (LayerResult("fc_0", 1, 0),), 0, 0).passed
    assert Outcome((InferenceResult("0", 1, 1, 0, 0.0),), (), 0, 0).passed


# ---- what differs ----


@pytest.mark.parametrize(("got", "expected", "result"), [
    (np.array([1, 2, 3], np.int8), np.array([1, 2, 3], np.int8), (0, 0.0)),
    (np.array([-128, 2, 3], np.int8), np.array([127, 2, 4], np.int8), (2, 255.0)),
    (np.array([255], np.uint8), np.array([0], np.uint8), (1, 255.0)),
    (np.array([1.0, 2.0], np.float32), np.array([1.0, 2.0], np.float32), (0, 0.0)),
    (np.array([1.0], np.float32), np.array([-1.0], np.float32), (1, 2.0)),
    (np.array([1.0], np.float32), np.array([np.nextafter(np.float32(1), np.float32(2))]), (1, 2.0**-23)),
    (np.array([0.0], np.float32), np.array([-0.0], np.float32), (1, 0.0)),
    (np.array([np.nan], np.float32), np.array([np.nan], np.float32), (0, 0.0)),
    (np.array([np.nan, 2.0], np.float32), np.array([0.0, 2.5], np.float32), (3, 0.5)),
    (np.array([np.inf], np.float32), np.array([np.inf], np.float32), (0, 0.0)),
    (np.array([np.inf], np.float32), np.array([-np.inf], np.float32), (1, 0.0)),
    (np.array([np.inf], np.float32), np.array([0.0], np.float32), (2, 0.0)),
])
@pytest.mark.filterwarnings("error")
def test_difference(got: Array, expected: Array, result: tuple[int, float]) -> None:
    assert _difference([got], [expected]) == result


def test_difference_of_several_outputs() -> None:
    a, b = np.array([[1, 2]], np.int8), np.array([1.0, 4.0], np.float32)
    assert _difference([a, b], [a, b]) == (0, 0.0)
    assert _difference([a, b], [a + np.int8(1), b - np.float32(3)]) == (2 + 2 + 1, 3.0)


# ---- vectors of something else ----


@pytest.mark.parametrize(("changed", "message"), [
    (vectors(0), "there are no vectors, so nothing would be tested\n  next:  generate the project again"),
    (Vectors({"picture": vectors().inputs["image"]}, vectors().outputs, {}),
     "the vectors do not fit the model's input 'image'\n"
     "  where: expected int8 of shape (4, 1, 4), got nothing\n  next:  generate the project again"),
    (Vectors({"image": vectors().inputs["image"].view(np.uint8)}, vectors().outputs, {}),
     "the vectors do not fit the model's input 'image'\n"
     "  where: expected int8 of shape (4, 1, 4), got uint8 of shape (4, 1, 4)\n  next:  generate the project again"),
    (replace(vectors(), outputs=vectors(3).outputs),
     "the vectors do not fit the model's output 'scores'\n"
     "  where: expected int8 of shape (4, 1, 3), got int8 of shape (3, 1, 3)\n  next:  generate the project again"),
    (replace(vectors(), layers={"fc_0": np.zeros((1, 4), np.int8)}),
     "the vectors do not fit the model's step 'fc_0'\n"
     "  where: expected int8 of shape (1, 3), got int8 of shape (1, 4)\n  next:  generate the project again"),
])
def test_refused_vectors(changed: Vectors, message: str) -> None:
    for run in (compare, compare_layers):
        device = Device()
        with pytest.raises(VectorError) as caught:
            run(cast(Session, device), changed)
        assert str(caught.value) == message
        assert device.calls == []
