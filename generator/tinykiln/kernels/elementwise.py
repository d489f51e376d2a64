"""ADD, SOFTMAX, QUANTIZE and DEQUANTIZE."""

from __future__ import annotations

import math

from tinykiln.graph import Add, Graph, Operator, Softmax, Tensor
from tinykiln.kernels.fixed_point import (
    activation_range,
    scalar_multiplier_and_shift,
    scale_of,
    softmax_scale,
    zero_of,
)
from tinykiln.kernels.kernel import Constant, Kernel, Ref, Row

ADD_LEFT_SHIFT = 20
"""Operands of ADD are scaled up by 2^20 before they are rescaled (reference integer_ops/add.h)."""

BROADCAST_RANK = 4
"""Dimensions that crt_add_broadcast_s8 walks."""


def add(graph: Graph, operator: Operator) -> Kernel:
    """ADD; where an operand is repeated, the broadcasting kernel."""
    a, b = (graph.tensors[i] for i in operator.inputs)
    output = graph.tensors[operator.outputs[0]]
    rows = _add_rows(operator, a, b, output)
    name = "add_s8"
    if a.shape != b.shape:
        name = "add_broadcast_s8"
        dims, a_strides, b_strides = broadcast(a, b, output)
        nested: Row = tuple((f"add.{field}", value) for row in rows[1:] for field, value in row)
        rows = (nested, (("dims", dims), ("a_strides", a_strides), ("b_strides", b_strides)))
    constants = [
        Constant(suffix, "int8_t", tensor.data.reshape(-1), "an operand")
        for suffix, tensor in (("a", a), ("b", b))
        if tensor.data is not None
    ]
    operands = tuple(
        i if tensor.data is None else Ref(suffix)
        for suffix, i, tensor in zip("ab", operator.inputs, (a, b), strict=True)
    )
    return Kernel(
        kind="add",
        function=f"crt_{name}",
        params=f"struct crt_{name}",
        header="crt/add.h",
        source=f"{name}.c",
        operands=operands,
        rows=rows,
        constants=tuple(constants),
        note=shape_note(output),
    )


def _add_rows(operator: Operator, a: Tensor, b: Tensor, output: Tensor) -> tuple[Row, ...]:
    """struct crt_add_s8, as prepared in tensorflow/lite/kernels/add.cc."""
    assert isinstance(operator.options, Add)
    twice_max = 2.0 * max(scale_of(a), scale_of(b))
    operands = []
    for tensor in (a, b):
        multiplier, shift = scalar_multiplier_and_shift(scale_of(tensor) / twice_max)
        operands.append((zero_of(tensor), multiplier, shift))
    multiplier, shift = scalar_multiplier_and_shift(twice_max / ((1 << ADD_LEFT_SHIFT) * scale_of(output)))
    low, high = activation_range(operator.options.activation, output)
    return (
        (("size", output.size),),
        (("a", operands[0]), ("b", operands[1])),
        (("out_zero", zero_of(output)), ("multiplier", multiplier), ("shift", shift), ("min", low), ("max", high)),
    )


def broadcast(a: Tensor, b: Tensor, output: Tensor) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Dimensions of the output and strides of both operands, for crt_add_broadcast_s8."""
    dims = (1,) * (BROADCAST_RANK - len(output.shape)) + output.shape
    return dims, _strides(a), _strides(b)


def _strides(tensor: Tensor) -> tuple[int, ...]:
    """Elements between neighbours of each dimension, 0 where the tensor is repeated."""
    shape = (1,) * (BROADCAST_RANK - len(tensor.shape)) + tensor.shape
    return tuple(math.prod(shape[i + 1 :]) if size > 1 else 0 for i, size in enumerate(shape))


def softmax(graph: Graph, operator: Operator) -> Kernel:
    """SOFTMAX."""
    assert isinstance(operator.options, Softmax)
    x, output = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
    multiplier, shift, diff_min = softmax_scale(operator.options.beta, scale_of(x))
    return Kernel(
        kind="softmax",
        function="crt_softmax_s8",
        params="struct crt_softmax_s8",
        header="crt/softmax.h",
        source="softmax_s8.c",
        operands=operator.inputs,
        rows=(
            (("batch", x.size // x.shape[-1]), ("depth", x.shape[-1])),
            (("multiplier", multiplier), ("shift", shift), ("diff_min", diff_min)),
        ),
        note=shape_note(output),
    )


def quantize(graph: Graph, operator: Operator) -> Kernel:
    """QUANTIZE from float32, or from one 8-bit format to another."""
    x, output = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
    if x.dtype == "float32":
        return _format("quantize", "quantize_f32_s8", operator, output, _float_rows(output))
    multiplier, shift = scalar_multiplier_and_shift(scale_of(x) / scale_of(output))
    rows: tuple[Row, ...] = (
        (("size", x.size), ("in_zero", zero_of(x)), ("out_zero", zero_of(output))),
        (("multiplier", multiplier), ("shift", shift)),
    )
    short = {"int8": "s8", "uint8": "u8"}
    name = f"requantize_{short[x.dtype]}_{short[output.dtype]}"
    return _format("quantize", name, operator, output, rows)


def dequantize(graph: Graph, operator: Operator) -> Kernel:
    """DEQUANTIZE to float32."""
    x, output = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
    return _format("dequantize", "dequantize_s8_f32", operator, output, _float_rows(x))


def _float_rows(quantised: Tensor) -> tuple[Row, ...]:
    return ((("size", quantised.size), ("scale", scale_of(quantised)), ("zero", zero_of(quantised))),)


def _format(kind: str, name: str, operator: Operator, output: Tensor, rows: tuple[Row, ...]) -> Kernel:
    return Kernel(
        kind=kind,
        function=f"crt_{name}",
        params="struct crt_requantize" if name.startswith("requantize") else "struct crt_quantize",
        header="crt/quantize.h",
        source=f"{name}.c",
        operands=operator.inputs,
        rows=rows,
        note=shape_note(output),
    )


def shape_note(tensor: Tensor) -> str:
    """The shape for a comment: 1x10."""
    return "x".join(str(n) for n in tensor.shape)
