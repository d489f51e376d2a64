"""What must hold of tensors, whatever operator they belong to; their scales and zero points as numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tinykiln.graph import Activation, Array, Quantization, Tensor
from tinykiln.rules.rule import Fault, Node

MAX_RANK = 6
MAX_BYTES = 2**31 - 1
MAX_SUM = 2**31 - 1024
"""Sums stay below this, so that a zero point can still be added in 32 bits."""

RANGES: Mapping[str, tuple[int, int]] = {"int8": (-128, 127), "uint8": (0, 255), "int32": (-(2**31), 2**31 - 1)}
ACTIVATIONS: tuple[Activation, ...] = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")


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


def computed_faults(*tensors: Tensor) -> Iterator[Fault]:
    for tensor in tensors:
        for reason in activation_faults(tensor):
            yield tensor, reason


def unary_faults(node: Node) -> Iterator[Fault]:
    """The activations of an operator: its first input and its output."""
    if node.input(0).data is not None:
        yield node.input(0), "is a constant; only weights, bias and one operand of ADD may be"
    yield from computed_faults(node.input(0), node.output)


def shape_fault(tensor: Tensor, expected: Sequence[int]) -> Iterator[Fault]:
    if tensor.shape != tuple(expected):
        yield tensor, f"has the shape {list(tensor.shape)} instead of {list(expected)}"


def fused_faults(y: Tensor, activation: Activation) -> Iterator[Fault]:
    if activation not in ACTIVATIONS:
        yield y, f"has the fused activation {activation}; supported are {', '.join(ACTIVATIONS)}"
    limit = {"RELU6": 6.0, "RELU_N1_TO_1": 1.0}.get(activation, 0.0)
    if limit / scales_of(y)[0] > MAX_SUM:
        yield y, f"has a scale that is too small for {activation}"


def scales_of(tensor: Tensor) -> Array:
    """The scales in double precision, of shape (1,) or (channels,)."""
    assert tensor.quantization is not None
    return np.array(tensor.quantization.scales, np.float64)


def zero_of(tensor: Tensor) -> int:
    assert tensor.quantization is not None
    return tensor.quantization.zero_points[0]


def shifts_of(ratio: Array) -> Array:
    """Exponents of the ratios as fixed-point multipliers in [0.5, 1) of 31 bits."""
    fraction, exponent = np.frexp(ratio)
    return np.asarray(exponent.astype(np.int64) + (np.round(fraction * 2.0**31) >= 2.0**31))
