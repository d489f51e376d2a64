"""Weights, biases and sums of CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinykiln.graph import Activation, Array, Tensor
from tinykiln.rules.rule import Fault, Node
from tinykiln.rules.tensors import MAX_SUM, fused_faults, scales_of, shape_fault, shifts_of, zero_of

BIAS_TOLERANCE = 0.02
"""How far, in steps of the output, a bias scale may be from input scale * weight scale."""


def linear_faults(node: Node, channels: int, axis: int, activation: Activation) -> Iterator[Fault]:
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
    yield from fused_faults(node.output, activation)
    if weights.data is not None and (bias is None or (bias.data is not None and bias.shape == (channels,))):
        yield from _sum_faults(node, weights.data, None if bias is None else bias.data, axis)


def _bias_faults(node: Node, bias: Tensor, channels: int) -> Iterator[Fault]:
    if bias.data is None:
        yield bias, "is not constant; a bias must be"
    yield from shape_fault(bias, (channels,))
    assert bias.quantization is not None
    if any(bias.quantization.zero_points):
        yield bias, "has a zero point that is not 0"
    scales = np.array(bias.quantization.scales)
    products = scales_of(node.input(1)) * scales_of(node.input(0))
    if len(scales) not in (1, len(products)) and len(products) != 1:
        yield bias, f"has {len(scales)} scales where the weights have {len(products)}"
    elif np.any(np.abs(products - scales) > BIAS_TOLERANCE * scales_of(node.output)):
        yield bias, "has a scale that is not input scale * weight scale"


def _sum_faults(node: Node, weights: Array, bias: Array | None, axis: int) -> Iterator[Fault]:
    """Bounds every partial sum, with the input's zero point folded into the bias or not, before and after a shift."""
    axes = tuple(i for i in range(weights.ndim) if i != axis)
    total = np.abs(weights.astype(np.int16)).sum(axis=axes, dtype=np.int64)
    bound = (128 + abs(zero_of(node.input(0)))) * total
    if bias is not None:
        bound = bound + np.abs(bias.astype(np.int64))
    ratio = scales_of(node.input(0)) * scales_of(node.input(1)) / scales_of(node.output)
    shift = np.maximum(shifts_of(ratio), 0)
    if np.any(shift > 30):
        yield node.output, "has a scale that is too small for those of input and weights"
    elif np.any(np.maximum(bound, 1) > MAX_SUM >> shift):
        yield node.output, "weights and bias are so large that a 32-bit sum can overflow"
