"""What every operator must fulfil: the table of what can be compiled, and the rules of each kind.

The rules are those of the TensorFlow Lite reference kernels, and bounds under which no 32-bit sum of a kernel can
overflow. `OPERATORS` is the one table of operators and dtypes that can be compiled; loaders, checks and the list
that a user sees all read it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tinykiln.graph import (
    Activation,
    Add,
    Array,
    Conv2D,
    DepthwiseConv2D,
    DType,
    FullyConnected,
    NoOptions,
    Operator,
    Pool2D,
    Quantization,
    Softmax,
    Tensor,
    Window,
)

MAX_RANK = 6
MAX_BYTES = 2**31 - 1
MAX_SUM = 2**31 - 1024
"""Sums stay below this, so that a zero point can still be added in 32 bits."""
MAX_WINDOW = 2**15 - 1
"""Stride, and reach of a dilated window, in pixels."""
MAX_SOFTMAX_DEPTH = 4095
"""SOFTMAX adds exponentials of up to 2^19 each in 32 bits."""
BIAS_TOLERANCE = 0.02
"""How far, in steps of the output, a bias scale may be from input scale * weight scale."""
POOL_TOLERANCE = 1e-6
SOFTMAX_SCALE = 1 / 256

RANGES: Mapping[str, tuple[int, int]] = {"int8": (-128, 127), "uint8": (0, 255), "int32": (-(2**31), 2**31 - 1)}
ACTIVATIONS: tuple[Activation, ...] = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")

Fault: TypeAlias = tuple[Tensor, str]
"""A tensor and what is wrong with it or the operator around it."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Dtypes that an operator takes, in the order of its inputs, and the dtype that it makes."""

    inputs: tuple[DType, ...]
    output: DType

    def __str__(self) -> str:
        return f"{', '.join(self.inputs)} -> {self.output}"


@dataclass(frozen=True, slots=True)
class Node:
    """An operator with its tensors; `inputs` has None for an absent one."""

    operator: Operator
    inputs: tuple[Tensor | None, ...]
    output: Tensor

    def input(self, index: int) -> Tensor:
        """An input that the signature has made sure of."""
        tensor = self.inputs[index]
        assert tensor is not None
        return tensor


@dataclass(frozen=True, slots=True)
class Rule:
    """What can be compiled of one kind of operator. The last `optional` inputs may be ABSENT."""

    options: type
    signatures: tuple[Signature, ...]
    faults: Callable[[Node], Iterator[Fault]]
    optional: int = 0


def tensor_faults(tensor: Tensor) -> list[str]:
    """What is wrong with a tensor of a known dtype by itself."""
    faults = shape_faults(tensor)
    if faults:
        return faults
    if tensor.nbytes > MAX_BYTES:
        return [f"has {tensor.nbytes} bytes; up to {MAX_BYTES} are supported"]
    data = tensor.data
    if data is not None and (data.shape != tensor.shape or data.dtype != tensor.dtype or data.flags.writeable):
        return [f"data do not match shape {list(tensor.shape)}"]
    if tensor.quantization is None:
        return [] if tensor.dtype == "float32" else ["has no scale and zero point"]
    return _quantization_faults(tensor, tensor.quantization)


def shape_faults(tensor: Tensor) -> list[str]:
    """What is wrong with the shape of a tensor of any dtype."""
    if len(tensor.shape) > MAX_RANK:
        return [f"has {len(tensor.shape)} dimensions; up to {MAX_RANK} are supported"]
    if any(size < 1 for size in tensor.shape):
        return [f"has the shape {list(tensor.shape)}; every dimension must be known and at least 1"]
    return []


def _quantization_faults(tensor: Tensor, quantization: Quantization) -> list[str]:
    scales = np.array(quantization.scales, np.float64)
    low, high = RANGES.get(tensor.dtype, (0, 0))
    faults = []
    if len(quantization.zero_points) != len(scales) or not len(scales):
        faults.append(f"has {len(scales)} scales and {len(quantization.zero_points)} zero points")
    if not np.all(np.isfinite(scales) & (scales >= np.finfo(np.float32).tiny)):
        faults.append("has a scale that is not a positive number")
    outside = [zero for zero in quantization.zero_points if not low <= zero <= high]
    if outside:
        faults.append(f"has the zero point {outside[0]}, outside of {low} to {high}")
    axis = quantization.axis
    if not 0 <= axis < max(len(tensor.shape), 1) or (len(scales) > 1 and tensor.shape[axis:axis + 1] != scales.shape):
        count = "1 scale, which fits" if len(scales) == 1 else f"{len(scales)} scales, which fit"
        faults.append(f"has {count} no dimension {axis} of {list(tensor.shape)}")
    return faults


def activation_faults(tensor: Tensor) -> Iterator[str]:
    """Faults of a tensor that is computed or given at run time."""
    if not tensor.shape:
        yield "is a scalar; computed tensors need at least 1 dimension"
    if tensor.quantization is not None and len(tensor.quantization.scales) != 1:
        yield f"has {len(tensor.quantization.scales)} scales; computed tensors need exactly 1"


def _computed_faults(*tensors: Tensor) -> Iterator[Fault]:
    for tensor in tensors:
        for reason in activation_faults(tensor):
            yield tensor, reason


def _unary_faults(node: Node) -> Iterator[Fault]:
    """The activations of an operator: its first input and its output."""
    if node.input(0).data is not None:
        yield node.input(0), "is a constant; only weights, bias and one operand of ADD may be"
    yield from _computed_faults(node.input(0), node.output)


def _shape_fault(tensor: Tensor, expected: Sequence[int]) -> Iterator[Fault]:
    if tensor.shape != tuple(expected):
        yield tensor, f"has the shape {list(tensor.shape)} instead of {list(expected)}"


def _conv2d_faults(node: Node) -> Iterator[Fault]:
    x, weights, y, options = node.input(0), node.input(1), node.output, node.operator.options
    assert isinstance(options, Conv2D)
    yield from _unary_faults(node)
    if {len(x.shape), len(weights.shape), len(y.shape)} != {4}:
        yield y, "input, weights and output must have 4 dimensions"
        return
    channels = weights.shape[0]
    if options.groups < 1 or x.shape[3] != weights.shape[3] * options.groups or channels % options.groups:
        yield weights, f"{list(weights.shape)} do not divide {x.shape[3]} input channels into equal groups"
        return
    yield from _shape_fault(y, (x.shape[0], *y.shape[1:3], channels))
    yield from _window_faults(options.window, weights.shape[1:3], x, y)
    yield from _linear_faults(node, channels, 0, options.activation)


def _depthwise_conv2d_faults(node: Node) -> Iterator[Fault]:
    x, weights, y, options = node.input(0), node.input(1), node.output, node.operator.options
    assert isinstance(options, DepthwiseConv2D)
    yield from _unary_faults(node)
    if {len(x.shape), len(weights.shape), len(y.shape)} != {4}:
        yield y, "input, weights and output must have 4 dimensions"
        return
    channels = x.shape[3] * options.multiplier
    yield from _shape_fault(weights, (1, *weights.shape[1:3], channels))
    yield from _shape_fault(y, (x.shape[0], *y.shape[1:3], channels))
    yield from _window_faults(options.window, weights.shape[1:3], x, y)
    if weights.shape[3] == channels:
        yield from _linear_faults(node, channels, 3, options.activation)


def _fully_connected_faults(node: Node) -> Iterator[Fault]:
    x, weights, y, options = node.input(0), node.input(1), node.output, node.operator.options
    assert isinstance(options, FullyConnected)
    yield from _unary_faults(node)
    if len(weights.shape) != 2 or not x.shape or x.size % weights.shape[1]:
        yield weights, f"{list(weights.shape)} do not fit an input of {list(x.shape)}"
        return
    units, depth = weights.shape
    flat = (x.size // depth, units)
    if x.shape[-1] != depth or y.shape != (*x.shape[:-1], units):
        yield from _shape_fault(y, flat)
    yield from _linear_faults(node, units, 0, options.activation)


def _linear_faults(node: Node, channels: int, axis: int, activation: Activation) -> Iterator[Fault]:
    """Weights, bias and requantisation of sums of products; `axis` is the output channel's in the weights."""
    weights, bias = node.input(1), (node.inputs[2] if len(node.inputs) > 2 else None)
    quantization = weights.quantization
    assert quantization is not None
    if len(quantization.scales) > 1 and quantization.axis != axis:
        yield weights, f"has scales along dimension {quantization.axis}; only dimension {axis} is supported"
    elif any(quantization.zero_points):
        yield weights, "has a zero point that is not 0"
    if weights.data is None:
        yield weights, "is not constant; weights must be"
    if bias is not None:
        yield from _bias_faults(node, bias, channels)
    elif node.operator.kind == "CONV_2D":
        yield node.output, "has no bias; the reference kernel needs one"
    yield from _fused_faults(node.output, activation)
    if weights.data is not None and (bias is None or (bias.data is not None and bias.shape == (channels,))):
        yield from _sum_faults(node, weights.data, None if bias is None else bias.data, axis)


def _bias_faults(node: Node, bias: Tensor, channels: int) -> Iterator[Fault]:
    if bias.data is None:
        yield bias, "is not constant; a bias must be"
    yield from _shape_fault(bias, (channels,))
    assert bias.quantization is not None
    if any(bias.quantization.zero_points):
        yield bias, "has a zero point that is not 0"
    scales = np.array(bias.quantization.scales)
    products = _scales(node.input(1)) * _scales(node.input(0))
    if len(scales) not in (1, len(products)) and len(products) != 1:
        yield bias, f"has {len(scales)} scales where the weights have {len(products)}"
    elif np.any(np.abs(products - scales) > BIAS_TOLERANCE * _scales(node.output)):
        yield bias, "has a scale that is not input scale * weight scale"


def _sum_faults(node: Node, weights: Array, bias: Array | None, axis: int) -> Iterator[Fault]:
    """Bounds every partial sum, with the input's zero point folded into the bias or not, before and after a shift."""
    axes = tuple(i for i in range(weights.ndim) if i != axis)
    total = np.abs(weights.astype(np.int16)).sum(axis=axes, dtype=np.int64)
    bound = (128 + abs(_zero(node.input(0)))) * total
    if bias is not None:
        bound = bound + np.abs(bias.astype(np.int64))
    ratio = _scales(node.input(0)) * _scales(node.input(1)) / _scales(node.output)
    shift = np.maximum(_shifts(ratio), 0)
    if np.any(shift > 30):
        yield node.output, "has a scale that is too small for those of input and weights"
    elif np.any(np.maximum(bound, 1) > MAX_SUM >> shift):
        yield node.output, "weights and bias are so large that a 32-bit sum can overflow"


def _fused_faults(y: Tensor, activation: Activation) -> Iterator[Fault]:
    if activation not in ACTIVATIONS:
        yield y, f"has the fused activation {activation}; supported are {', '.join(ACTIVATIONS)}"
    limit = {"RELU6": 6.0, "RELU_N1_TO_1": 1.0}.get(activation, 0.0)
    if limit / _scales(y)[0] > MAX_SUM:
        yield y, f"has a scale that is too small for {activation}"


def _window_faults(window: Window, kernel: Sequence[int], x: Tensor, y: Tensor) -> Iterator[Fault]:
    if window.kernel != tuple(kernel):
        yield y, f"has a window of {list(window.kernel)} instead of {list(kernel)}"
    for i in (0, 1):
        step, spread, pad = window.stride[i], window.dilation[i], window.pad[i]
        reach = (window.kernel[i] - 1) * spread + 1
        last = (y.shape[1 + i] - 1) * step
        if max(step, reach) > MAX_WINDOW:
            yield y, f"has a stride or a dilated window above {MAX_WINDOW}"
        elif min(step, spread, window.kernel[i]) < 1 or not 0 <= pad < reach:
            yield y, "has a stride, dilation or window below 1, or a padding wider than the window"
        elif last - pad >= x.shape[1 + i]:
            yield y, f"has the shape {list(y.shape)}, more than the input gives"
        elif last + reach > MAX_SUM:
            yield y, "is so large that positions can overflow"


def _pool2d_faults(node: Node) -> Iterator[Fault]:
    x, y, options = node.input(0), node.output, node.operator.options
    assert isinstance(options, Pool2D)
    yield from _unary_faults(node)
    if not len(x.shape) == len(y.shape) == 4:
        yield y, "input and output must have 4 dimensions"
        return
    yield from _shape_fault(y, (x.shape[0], *y.shape[1:3], x.shape[3]))
    yield from _window_faults(options.window, options.window.kernel, x, y)
    if options.window.dilation != (1, 1):
        yield y, "has a dilation; pooling has none"
    taps = math.prod(min(k, size) for k, size in zip(options.window.kernel, x.shape[1:3], strict=True))
    if taps * 128 > MAX_SUM:
        yield y, "has a window so large that a 32-bit sum can overflow"
    if abs(_scales(x)[0] - _scales(y)[0]) > POOL_TOLERANCE or _zero(x) != _zero(y):
        yield y, "has another scale or zero point than the input"
    yield from _fused_faults(y, options.activation)


def _add_faults(node: Node) -> Iterator[Fault]:
    a, b, y, options = node.input(0), node.input(1), node.output, node.operator.options
    assert isinstance(options, Add)
    yield from _computed_faults(y, *(tensor for tensor in (a, b) if tensor.data is None))
    if a.data is not None and b.data is not None:
        yield y, "is the sum of two constants"
    if any(len(_scales(tensor)) != 1 for tensor in (a, b, y)):
        yield y, "operands and sum must have one scale each"
        return
    try:
        expected = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        yield y, f"{list(a.shape)} and {list(b.shape)} cannot be added"
        return
    yield from _shape_fault(y, expected)
    if a.shape != b.shape and len(expected) > 4:
        yield y, f"broadcasts over {len(expected)} dimensions; up to 4 are supported"
    ratio = 2.0 * max(_scales(a)[0], _scales(b)[0]) / (2.0**20 * _scales(y)[0])
    if _shifts(ratio) > 0:
        yield y, "has a scale that is too small for those of the operands"
    yield from _fused_faults(y, options.activation)


def _reshape_faults(node: Node) -> Iterator[Fault]:
    x, y = node.input(0), node.output
    yield from _unary_faults(node)
    if x.size != y.size:
        yield y, f"has the shape {list(y.shape)}, which does not hold the elements of {list(x.shape)}"
    if (_scales(x)[0], _zero(x)) != (_scales(y)[0], _zero(y)):
        yield y, "has another scale or zero point than the input"


def _softmax_faults(node: Node) -> Iterator[Fault]:
    x, y, options = node.input(0), node.output, node.operator.options
    assert isinstance(options, Softmax)
    yield from _unary_faults(node)
    yield from _shape_fault(y, x.shape)
    if abs(_scales(y)[0] - SOFTMAX_SCALE) > 0.001 * SOFTMAX_SCALE or _zero(y) != -128:
        yield y, "needs the scale 1/256 and the zero point -128"
    if x.shape and x.shape[-1] > MAX_SOFTMAX_DEPTH:
        yield x, f"has {x.shape[-1]} classes; up to {MAX_SOFTMAX_DEPTH} are supported"
    if not (math.isfinite(options.beta) and options.beta * _scales(x)[0] * 2.0**26 > 1.0):
        yield x, f"has a scale that is too small for beta = {options.beta}"


def _quantize_faults(node: Node) -> Iterator[Fault]:
    x, y = node.input(0), node.output
    yield from _unary_faults(node)
    yield from _shape_fault(y, x.shape)
    if x.dtype != "float32" and _shifts(_scales(x) / _scales(y))[0] > 22:
        yield y, "has a scale that is too small for that of the input"


def _dequantize_faults(node: Node) -> Iterator[Fault]:
    yield from _unary_faults(node)
    yield from _shape_fault(node.output, node.input(0).shape)


def _scales(tensor: Tensor) -> Array:
    """The scales in double precision, of shape (1,) or (channels,)."""
    assert tensor.quantization is not None
    return np.array(tensor.quantization.scales, np.float64)


def _zero(tensor: Tensor) -> int:
    assert tensor.quantization is not None
    return tensor.quantization.zero_points[0]


def _shifts(ratio: Array) -> Array:
    """Exponents of the ratios as fixed-point multipliers in [0.5, 1) of 31 bits."""
    fraction, exponent = np.frexp(ratio)
    return np.asarray(exponent.astype(np.int64) + (np.round(fraction * 2.0**31) >= 2.0**31))


_CONV = (Signature(("int8", "int8", "int32"), "int8"),)
_POOL = (Signature(("int8",), "int8"),)
_QUANTIZE = (Signature(("float32",), "int8"), Signature(("int8",), "int8"), Signature(("uint8",), "int8"),
             Signature(("int8",), "uint8"))

OPERATORS: Mapping[str, Rule] = {
    "ADD": Rule(Add, (Signature(("int8", "int8"), "int8"),), _add_faults),
    "AVERAGE_POOL_2D": Rule(Pool2D, _POOL, _pool2d_faults),
    "CONV_2D": Rule(Conv2D, _CONV, _conv2d_faults, optional=1),
    "DEPTHWISE_CONV_2D": Rule(DepthwiseConv2D, _CONV, _depthwise_conv2d_faults, optional=1),
    "DEQUANTIZE": Rule(NoOptions, (Signature(("int8",), "float32"),), _dequantize_faults),
    "FULLY_CONNECTED": Rule(FullyConnected, _CONV, _fully_connected_faults, optional=1),
    "MAX_POOL_2D": Rule(Pool2D, _POOL, _pool2d_faults),
    "QUANTIZE": Rule(NoOptions, _QUANTIZE, _quantize_faults),
    "RESHAPE": Rule(NoOptions, (Signature(("int8",), "int8"),), _reshape_faults),
    "SOFTMAX": Rule(Softmax, (Signature(("int8",), "int8"),), _softmax_faults),
}
