"""A trained network as a value: tensors and operators, no C, no addresses.

A `Graph` is what every loader returns and every pass takes and returns. Operators stand in
run order. Layouts are those of TensorFlow Lite: activations NHWC, CONV_2D weights OHWI,
DEPTHWISE_CONV_2D weights 1HW(C*M), FULLY_CONNECTED weights OI.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

DType: TypeAlias = Literal["int8", "uint8", "int32", "float32"]
Activation: TypeAlias = Literal["NONE", "RELU", "RELU6", "RELU_N1_TO_1"]
Array: TypeAlias = npt.NDArray[Any]

ABSENT = -1
"""Stands in `Operator.inputs` for an optional input that is not there (a bias)."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """real = scale * (quantised - zero_point); one entry, or one per index of dimension `axis`."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A named value. `data` is set (read-only, of `shape` and `dtype`) where it is a constant.

    `name` is what stands in the model file, any text at all: `plain_name` makes it safe to print or generate.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    quantization: Quantization | None = None
    data: Array | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.size * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Window:
    """A window that slides over height and width; every pair is (vertical, horizontal).

    `pad` is how far the first window reaches out of the image at the top and at the left.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Conv2D:
    """CONV_2D. Inputs: activations (N, H, W, C), weights (O, kh, kw, C / groups), bias or ABSENT."""

    window: Window
    activation: Activation
    groups: int = 1


@dataclass(frozen=True, slots=True)
class DepthwiseConv2D:
    """DEPTHWISE_CONV_2D. Inputs: activations (N, H, W, C), weights (1, kh, kw, C * multiplier), bias or ABSENT."""

    window: Window
    activation: Activation
    multiplier: int = 1


@dataclass(frozen=True, slots=True)
class FullyConnected:
    """FULLY_CONNECTED. Inputs: activations, weights (O, I), bias or ABSENT.

    The activations may have any shape whose size is a multiple of I: I elements in a row are one vector.
    """

    activation: Activation


@dataclass(frozen=True, slots=True)
class Pool2D:
    """AVERAGE_POOL_2D and MAX_POOL_2D: taps outside the image do not count."""

    window: Window
    activation: Activation


@dataclass(frozen=True, slots=True)
class Add:
    """ADD of two inputs, with NumPy's broadcasting."""

    activation: Activation


@dataclass(frozen=True, slots=True)
class Softmax:
    """SOFTMAX over the last dimension of beta * input."""

    beta: float


@dataclass(frozen=True, slots=True)
class NoOptions:
    """RESHAPE (the shape is that of the output), QUANTIZE, DEQUANTIZE."""


Options: TypeAlias = Conv2D | DepthwiseConv2D | FullyConnected | Pool2D | Add | Softmax | NoOptions


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator; `kind` is its TensorFlow Lite name, inputs and outputs are tensor indices."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A network. `name` is a C identifier, `digest` is "sha256:" and 64 hex digits of the model file.

    Indices of tensors are those of the model file. Tensors that nothing uses are UNUSED.
    """

    name: str
    digest: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


UNUSED = Tensor("", "int8", (0,))
"""Stands in `Graph.tensors` where the model file has a tensor that nothing uses."""


def without_unused(graph: Graph) -> Graph:
    """The graph with UNUSED in place of every tensor that no operator, input or output refers to."""
    used = {*graph.inputs, *graph.outputs}
    for operator in graph.operators:
        used.update(operator.inputs, operator.outputs)
    tensors = tuple(tensor if i in used else UNUSED for i, tensor in enumerate(graph.tensors))
    return replace(graph, tensors=tensors)


def plain_name(name: str, limit: int = 80) -> str:
    """`name` in at most `limit` characters that are harmless in a C comment, a C string and a terminal.

    Everything but letters, digits, spaces and "_.:;,/+=()@<>[]-" becomes "_": so there is no quote, backslash, line
    break, "*/", "/*", trigraph or printf directive left.
    """
    text = re.sub(r"[^A-Za-z0-9 _.:;,/+=()@<>\[\]-]", "_", name[:limit + 1])
    return text if len(text) <= limit else text[:limit - 3] + "..."
