"""The committed digits example is what its README says: small, of known operators, and accurate.

Needs ai-edge-litert (extra `verify`); without it these tests fail.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "digits"
MODEL = FOLDER / "digits.tflite"
OPERATORS = [
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "CONV_2D",
    "ADD",
    "MAX_POOL_2D",
    "CONV_2D",
    "AVERAGE_POOL_2D",
    "RESHAPE",
    "FULLY_CONNECTED",
    "SOFTMAX",
]


@pytest.fixture(scope="module")
def interpreter() -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    made = Interpreter(model_path=str(MODEL), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    made.allocate_tensors()
    return made


@pytest.fixture(scope="module")
def held_out() -> dict[str, npt.NDArray[Any]]:
    with np.load(FOLDER / "test.npz") as arrays:
        return dict(arrays)


def operators(model: bytes) -> list[str]:
    import tflite

    names = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}
    root = tflite.Model.GetRootAsModel(model, 0)
    graph = root.Subgraphs(0)
    codes = [root.OperatorCodes(graph.Operators(i).OpcodeIndex()) for i in range(graph.OperatorsLength())]
    return [names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())] for code in codes]


def test_model_is_small() -> None:
    assert MODEL.stat().st_size < 40_000


def test_operators() -> None:
    assert operators(MODEL.read_bytes()) == OPERATORS


def test_input_and_output(interpreter: Any) -> None:
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (source["name"], source["dtype"], source["shape"].tolist()) == ("image", np.int8, [1, 8, 8, 1])
    assert (sink["name"], sink["dtype"], sink["shape"].tolist()) == ("scores", np.int8, [1, 10])
    assert source["quantization"] == (pytest.approx(1 / 255), -128)
    assert sink["quantization"] == (1 / 256, -128)


def test_activations_are_int8_and_weights_per_channel(interpreter: Any) -> None:
    details = {tensor["name"]: tensor for tensor in interpreter.get_tensor_details()}
    for name in ("conv", "depthwise", "pointwise", "conv_wide", "logits"):
        channels = details[name]["shape"][-1]
        assert details[name]["dtype"] == details[f"{name}/weights"]["dtype"] == np.int8
        assert len(details[f"{name}/weights"]["quantization_parameters"]["scales"]) == channels


def test_held_out_images(interpreter: Any, held_out: dict[str, npt.NDArray[Any]]) -> None:
    images, labels = held_out["image"], held_out["labels"]
    assert sorted(held_out) == ["image", "labels"]
    assert images.dtype == np.int8
    assert images.shape == (450, 1, 8, 8, 1)
    assert labels.shape == (450,)
    assert min(np.bincount(labels, minlength=10)) >= 43
    scale, zero = interpreter.get_input_details()[0]["quantization"]
    levels = np.round(np.arange(17) / 16 / scale) + zero
    assert set(np.unique(images)) == set(levels.astype(np.int8))


def test_accuracy(interpreter: Any, held_out: dict[str, npt.NDArray[Any]]) -> None:
    source, sink = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    right = 0
    for image, label in zip(held_out["image"], held_out["labels"], strict=True):
        interpreter.set_tensor(source, image)
        interpreter.invoke()
        right += int(np.argmax(interpreter.get_tensor(sink)) == label)
    assert right >= 0.97 * len(held_out["labels"])
