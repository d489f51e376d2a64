"""The digits example on the emulated Cortex-M4: all held-out images, each as LiteRT predicts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from contract import faults
from firmware import DIGITS, flash_and_test, succeed

IMAGES = DIGITS.parent / "test.npz"


@pytest.fixture(scope="module")
def held_out() -> dict[str, Any]:
    with np.load(IMAGES) as file:
        return dict(file)


@pytest.fixture(scope="module")
def scores(held_out: dict[str, Any]) -> Any:
    """What LiteRT's reference kernels make of every image."""
    interpreter = Interpreter(model_path=str(DIGITS), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for image in held_out["image"]:
        interpreter.set_tensor(source["index"], image[np.newaxis].reshape(source["shape"]))
        interpreter.invoke()
        rows.append(interpreter.get_tensor(sink["index"]))
    return np.stack(rows)


def test_every_image_is_predicted_as_by_the_reference(digits: Path, scores: Any) -> None:
    outputs = digits / "scores.npz"
    succeed("run", digits, "--inputs", IMAGES, "--outputs", outputs)
    with np.load(outputs) as file:
        assert file.files == ["scores"]
        got = file["scores"]
    assert (got.dtype, got.shape) == (np.int8, (450, 1, 10))
    assert got.reshape(450, 10).argmax(axis=1).tolist() == scores.reshape(450, 10).argmax(axis=1).tolist()
    np.testing.assert_array_equal(got, scores)


def test_accuracy_on_the_held_out_images(digits: Path, held_out: dict[str, Any], scores: Any) -> None:
    report = flash_and_test(digits, "--inputs", IMAGES)
    assert faults(report) == []
    assert [inference["input"] for inference in report["inferences"]] == [str(i) for i in range(450)]
    assert sum(inference["mismatches"] for inference in report["inferences"]) == 0
    right = int(np.sum(scores.reshape(450, 10).argmax(axis=1) == held_out["labels"]))
    assert report["accuracy"] == right / 450 >= 0.97
    assert report["passed"] is True
