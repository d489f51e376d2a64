"""FULLY_CONNECTED, int8, which the reference rescales in float64 and not in fixed point."""

from __future__ import annotations

import numpy as np

from tinykiln.graph import Array, FullyConnected, Graph, Operator, Tensor
from tinykiln.kernels.channels import (
    channel_rows,
    constant_data,
    effective_scales,
    folded_bias,
    largest_sums,
    operands,
    output_fields,
)
from tinykiln.kernels.fixed_point import activation_range, float_multiplier_and_shift, zero_of
from tinykiln.kernels.kernel import Constant, Kernel, Ref
from tinykiln.kernels.pack import pack_fully_connected


def fully_connected(graph: Graph, operator: Operator) -> Kernel:
    """FULLY_CONNECTED; leading dimensions are a batch.

    In fixed point where that can be proved to give the same bits, else in float64 as the reference does.
    """
    options = operator.options
    assert isinstance(options, FullyConnected)
    x, weights, output = operands(graph, operator)
    outputs, depth = weights.shape
    constants = _fixed_point(graph, operator, output) or _float64(graph, operator)
    name = "fully_connected_s8" if len(constants) == 1 else "fully_connected_f64_s8"
    packed = pack_fully_connected(constant_data(weights))
    return Kernel(
        kind="fc",
        function=f"crt_{name}",
        params=f"struct crt_{name}",
        header="crt/fully_connected.h",
        source=f"{name}.c",
        operands=operator.inputs[:1],
        rows=(
            (("batch", x.size // depth), ("in", depth), ("out", outputs)),
            output_fields(output, options.activation),
            (("weights", Ref("weights")), *((constant.suffix, Ref(constant.suffix)) for constant in constants)),
        ),
        constants=(Constant("weights", "int8_t", packed, "[4 outputs][input][4]"), *constants),
        macs=x.size * outputs,
        note=f"{depth} -> {outputs}",
    )


def _fixed_point(graph: Graph, operator: Operator, output: Tensor) -> tuple[Constant, ...]:
    """Biases, multipliers and shifts, or nothing where they cannot give every bit of the reference."""
    assert isinstance(operator.options, FullyConnected)
    weights = _weights(graph, operator)
    bias = folded_bias(graph, operator, weights)
    low, high = activation_range(operator.options.activation, output)
    levels = np.arange(low + 1, high + 1) - zero_of(output)
    scales = effective_scales(graph, operator, len(weights))
    found = float_multiplier_and_shift(scales, largest_sums(bias, weights), levels)
    return (channel_rows(bias, *found),) if found else ()


def _float64(graph: Graph, operator: Operator) -> tuple[Constant, ...]:
    weights = _weights(graph, operator)
    bias = folded_bias(graph, operator, weights).astype(np.int32)
    scales = effective_scales(graph, operator, len(weights))
    return Constant("bias", "int32_t", bias, "per output"), Constant("scales", "double", scales, "per output")


def _weights(graph: Graph, operator: Operator) -> Array:
    return constant_data(operands(graph, operator)[1])
