"""ADD, RESHAPE, SOFTMAX, QUANTIZE and DEQUANTIZE."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from tinykiln.graph import Add, Softmax
from tinykiln.rules.rule import Fault, Node
from tinykiln.rules.tensors import (
    computed_faults,
    fused_faults,
    scales_of,
    shape_fault,
    shifts_of,
    unary_faults,
    zero_of,
)

MAX_SOFTMAX_DEPTH = 4095
"""SOFTMAX adds exponentials of up to 2^19 each in 32 bits."""
SOFTMAX_SCALE = 1 / 256


def add_faults(node: Node) -> Iterator[Fault]:
    a, b, y, options = node.input(0), node.input(1), node.output, node.operator.options
    assert isinstance(options, Add)
    yield from computed_faults(y, *(tensor for tensor in (a, b) if tensor.data is None))
    if a.data is not None and b.data is not None:
        yield y, "is the sum of two constants"
    if any(len(scales_of(tensor)) != 1 for tensor in (a, b, y)):
        yield y, "operands and sum must have one scale each"
        return
    try:
        expected = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        yield y, f"{list(a.shape)} and {list(b.shape)} cannot be added"
        return
    yield from shape_fault(y, expected)
    if a.shape != b.shape and len(expected) > 4:
        yield y, f"broadcasts over {len(expected)} dimensions; up to 4 are supported"
    ratio = 2.0 * max(scales_of(a)[0], scales_of(b)[0]) / (2.0**20 * scales_of(y)[0])
    if shifts_of(ratio) > 0:
        yield y, "has a scale that is too small for those of the operands"
    yield from fused_faults(y, options.activation)


def reshape_faults(node: Node) -> Iterator[Fault]:
    x, y = node.input(0), node.output
    yield from unary_faults(node)
    if x.size != y.size:
        yield y, f"has the shape {list(y.shape)}, which does not hold the elements of {list(x.shape)}"
    if (scales_of(x)[0], zero_of(x)) != (scales_of(y)[0], zero_of(y)):
        yield y, "has another scale or zero point than the input"


def softmax_faults(node: Node) -> Iterator[Fault]:
    x, y, options = node.input(0), node.output, node.operator.options
    assert isinstance(options, Softmax)
    yield from unary_faults(node)
    yield from shape_fault(y, x.shape)
    if abs(scales_of(y)[0] - SOFTMAX_SCALE) > 0.001 * SOFTMAX_SCALE or zero_of(y) != -128:
        yield y, "needs the scale 1/256 and the zero point -128"
    if x.shape and x.shape[-1] > MAX_SOFTMAX_DEPTH:
        yield x, f"has {x.shape[-1]} classes; up to {MAX_SOFTMAX_DEPTH} are supported"
    if not (math.isfinite(options.beta) and options.beta * scales_of(x)[0] * 2.0**26 > 1.0):
        yield x, f"has a scale that is too small for beta = {options.beta}"


def quantize_faults(node: Node) -> Iterator[Fault]:
    x, y = node.input(0), node.output
    yield from unary_faults(node)
    yield from shape_fault(y, x.shape)
    if x.dtype != "float32" and shifts_of(scales_of(x) / scales_of(y))[0] > 22:
        yield y, "has a scale that is too small for that of the input"


def dequantize_faults(node: Node) -> Iterator[Fault]:
    yield from unary_faults(node)
    yield from shape_fault(node.output, node.input(0).shape)
