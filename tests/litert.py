"""The reference interpreter, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tflite_writer import Array


def run(data: bytes, inputs: Sequence[Array]) -> list[Array]:
    """Run a model's bytes once with LiteRT's reference kernels. Raises RuntimeError or ValueError where it refuses."""
    interpreter = Interpreter(model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    for detail, value in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return [np.array(interpreter.get_tensor(detail["index"])) for detail in interpreter.get_output_details()]


def random_inputs(data: bytes, seed: int = 0) -> list[Array]:
    """One array for each input of the model: integers over their whole range, floats normally distributed."""
    rng = np.random.default_rng(seed)
    details = Interpreter(model_content=data).get_input_details()
    return [_random(rng, detail["shape"], np.dtype(detail["dtype"])) for detail in details]


def _random(rng: np.random.Generator, shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max + 1, shape, dtype)
