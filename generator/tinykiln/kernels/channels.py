"""What becomes of the sums of CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED: biases and scales of output channels."""

from __future__ import annotations

import numpy as np

from tinykiln.graph import ABSENT, Activation, Array, Graph, Operator, Tensor
from tinykiln.kernels.fixed_point import Float64s, Int64s, activation_range, scale_of, zero_of
from tinykiln.kernels.kernel import Constant, Row


def operands(graph: Graph, operator: Operator) -> tuple[Tensor, Tensor, Tensor]:
    """(activations, weights, output)."""
    x, weights = (graph.tensors[i] for i in operator.inputs[:2])
    return x, weights, graph.tensors[operator.outputs[0]]


def constant_data(tensor: Tensor) -> Array:
    """The elements of a constant."""
    assert tensor.data is not None
    return tensor.data


def output_fields(output: Tensor, activation: Activation) -> Row:
    """Zero point and clamp of the output."""
    low, high = activation_range(activation, output)
    return (("out_zero", zero_of(output)), ("min", low), ("max", high))


def effective_scales(graph: Graph, operator: Operator, channels: int) -> Float64s:
    """Output steps per unit of the sum, for each channel: input scale * weight scale / output scale, in float64."""
    x, weights, output = operands(graph, operator)
    assert weights.quantization is not None
    scales = scale_of(x) * np.asarray(weights.quantization.scales, dtype=np.float64) / scale_of(output)
    return np.broadcast_to(scales, channels)


def folded_bias(graph: Graph, operator: Operator, weights: Array) -> Int64s:
    """bias - in_zero * sum of weights (channel, taps). rules/channels.py bounds it, and every partial sum, to int32."""
    bias_index = operator.inputs[2] if len(operator.inputs) > 2 else ABSENT
    bias = np.zeros(len(weights), np.int64)
    if bias_index != ABSENT:
        bias = constant_data(graph.tensors[bias_index]).astype(np.int64).reshape(-1)
    return np.asarray(bias - zero_of(graph.tensors[operator.inputs[0]]) * weights.sum(axis=1, dtype=np.int64))


def largest_sums(folded: Int64s, weights: Array) -> Int64s:
    """A bound of the magnitude of every partial sum of each channel, for any int8 input."""
    return np.asarray(np.abs(folded) + 128 * np.abs(weights.astype(np.int64)).sum(axis=1))


def channel_rows(bias: Int64s, multiplier: Int64s, shift: Int64s) -> Constant:
    """An array of struct crt_channel."""
    rows = np.stack([bias, multiplier, shift], axis=1).astype(np.int32)
    return Constant("channels", "struct crt_channel", rows, "bias, multiplier, shift")
