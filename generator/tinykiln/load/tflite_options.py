"""Operators' options in a .tflite file as values of tinykiln.graph.

A reader takes the options' table of the `tflite` package, the operator's tensors as far as they are there, and gives
the Graph's options, or raises RefusedError. Padding becomes explicit as TensorFlow Lite computes it: SAME makes
ceil(size / stride) outputs and pads half of what is missing, rounded down, at the top and left; VALID pads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import tflite

from tinykiln.graph import (
    Activation,
    Add,
    Array,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    NoOptions,
    Options,
    Pool2D,
    Softmax,
    Tensor,
    Window,
)

ACTIVATIONS = {code: name for name, code in vars(tflite.ActivationFunctionType).items() if name.isupper()}
SAME, VALID = 0, 1


class RefusedError(Exception):
    """The options say something that cannot be compiled; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Reader:
    """How the options of one kind of operator are read. `table` is their table in the file; where it may be left
    out, `optional` is true. `versions` is the newest version of the operator that LiteRT 2.3 registers."""

    table: str
    read: Callable[[Any, Sequence[Tensor | None], Tensor], Options]
    versions: int
    optional: bool = False


def _activation(code: int) -> Activation:
    return cast(Activation, ACTIVATIONS.get(code, str(code)))


def _padding(mode: int, size: int, made: int, kernel: int, stride: int, dilation: int) -> int:
    """The pad before the first element of one dimension, or RefusedError where `made` outputs cannot be."""
    if mode not in (SAME, VALID):
        raise RefusedError(f"has the unknown padding {mode}")
    if min(kernel, stride, dilation) < 1:
        raise RefusedError("has a stride, dilation or window below 1")
    reach = (kernel - 1) * dilation + 1
    expected = -(-size // stride) if mode == SAME else (size + stride - reach) // stride
    if made != expected:
        raise RefusedError(f"makes {made} rows or columns where {expected} are computed" if expected > 0
                           else "has a window that is larger than its input")
    return max((made - 1) * stride + reach - size, 0) // 2


def _window(options: Any, kernel: Sequence[int], dilation: tuple[int, int], x: Tensor | None, y: Tensor) -> Window:
    if x is None or len(x.shape) != 4 or len(y.shape) != 4:
        raise RefusedError("needs an input and an output of 4 dimensions")
    stride = (options.StrideH(), options.StrideW())
    pad = [_padding(options.Padding(), x.shape[1 + i], y.shape[1 + i], kernel[i], stride[i], dilation[i])
           for i in (0, 1)]
    return Window((kernel[0], kernel[1]), stride, dilation, (pad[0], pad[1]))


def _weights(tensors: Sequence[Tensor | None]) -> Tensor:
    weights = tensors[1] if len(tensors) > 1 else None
    if weights is None or len(weights.shape) != 4:
        raise RefusedError("needs weights of 4 dimensions")
    return weights


def _dilation(options: Any) -> tuple[int, int]:
    return options.DilationHFactor(), options.DilationWFactor()


def _conv2d(options: Any, tensors: Sequence[Tensor | None], y: Tensor) -> Options:
    weights = _weights(tensors)
    window = _window(options, weights.shape[1:3], _dilation(options), tensors[0], y)
    channels = tensors[0].shape[3] if tensors[0] else 0
    groups = channels // weights.shape[3] if weights.shape[3] > 0 else 0
    return Conv2D(window, _activation(options.FusedActivationFunction()), groups)


def _depthwise_conv2d(options: Any, tensors: Sequence[Tensor | None], y: Tensor) -> Options:
    weights = _weights(tensors)
    window = _window(options, weights.shape[1:3], _dilation(options), tensors[0], y)
    return DepthwiseConv2D(window, _activation(options.FusedActivationFunction()), options.DepthMultiplier())


def _fully_connected(options: Any, tensors: Sequence[Tensor | None], y: Tensor) -> Options:
    if options.WeightsFormat():
        raise RefusedError("has shuffled weights; only the default format is supported")
    if options.KeepNumDims() and tensors[0] and len(tensors[0].shape) != len(y.shape):
        raise RefusedError("keeps the number of dimensions, but its output has another")
    return FullyConnected(_activation(options.FusedActivationFunction()))


def _pool2d(options: Any, tensors: Sequence[Tensor | None], y: Tensor) -> Options:
    kernel = (options.FilterHeight(), options.FilterWidth())
    window = _window(options, kernel, (1, 1), tensors[0] if tensors else None, y)
    return Pool2D(window, _activation(options.FusedActivationFunction()))


def _add(options: Any, tensors: Sequence[Tensor | None], y: Tensor) -> Options:
    return Add(_activation(options.FusedActivationFunction()))


def _softmax(options: Any, tensors: Sequence[Tensor | None], y: Tensor) -> Options:
    return Softmax(options.Beta())


def _reshape(options: Any, tensors: Sequence[Tensor | None], y: Tensor) -> Options:
    """RESHAPE takes its shape from an int32 vector, else from the options; one -1 stands for what is left over."""
    operand = tensors[1] if len(tensors) > 1 else None
    if operand is not None and operand.data is None:
        raise RefusedError("takes its shape from a tensor that is not constant")
    wanted: Array | Sequence[int]
    if operand is not None and operand.dtype == "int32" and len(operand.shape) == 1 and operand.data is not None:
        wanted = operand.data.tolist()
    elif options is not None and options.NewShapeLength():
        wanted = options.NewShapeAsNumpy().tolist()
    else:
        raise RefusedError("has no shape to reshape to")
    if len(wanted) != len(y.shape) or list(wanted).count(-1) > 1 or any(
            size not in (-1, made) for size, made in zip(wanted, y.shape, strict=True)):
        raise RefusedError(f"reshapes to {list(wanted)}, but its output has the shape {list(y.shape)}")
    return NoOptions()


def _nothing(options: Any, tensors: Sequence[Tensor | None], y: Tensor) -> Options:
    return NoOptions()


READERS: Mapping[str, Reader] = {
    "ADD": Reader("AddOptions", _add, 5),
    "AVERAGE_POOL_2D": Reader("Pool2DOptions", _pool2d, 3),
    "CONV_2D": Reader("Conv2DOptions", _conv2d, 8),
    "DEPTHWISE_CONV_2D": Reader("DepthwiseConv2DOptions", _depthwise_conv2d, 6),
    "DEQUANTIZE": Reader("DequantizeOptions", _nothing, 9, optional=True),
    "FULLY_CONNECTED": Reader("FullyConnectedOptions", _fully_connected, 14),
    "MAX_POOL_2D": Reader("Pool2DOptions", _pool2d, 3),
    "QUANTIZE": Reader("QuantizeOptions", _nothing, 6, optional=True),
    "RESHAPE": Reader("ReshapeOptions", _reshape, 1, optional=True),
    "SOFTMAX": Reader("SoftmaxOptions", _softmax, 3),
}
