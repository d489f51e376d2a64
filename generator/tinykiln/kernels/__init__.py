"""From operators to C kernels: one table, one row an operator.

A row's function turns a checked operator into a `Kernel`: C function, parameter rows, packed
weights, multiplies. RESHAPE has no row: it is a view, and the memory plan gives it none of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from tinykiln.graph import Graph, Operator
from tinykiln.kernels.convolution import conv2d, depthwise_conv2d
from tinykiln.kernels.elementwise import add, dequantize, quantize, softmax
from tinykiln.kernels.fully_connected import fully_connected
from tinykiln.kernels.kernel import Constant, Kernel, Ref, Row, Value
from tinykiln.kernels.pooling import average_pool2d, max_pool2d

__all__ = ["KERNELS", "VIEWS", "Constant", "Kernel", "Ref", "Row", "Value", "lower"]

KERNELS: dict[str, Callable[[Graph, Operator], Kernel]] = {
    "CONV_2D": conv2d,
    "DEPTHWISE_CONV_2D": depthwise_conv2d,
    "FULLY_CONNECTED": fully_connected,
    "AVERAGE_POOL_2D": average_pool2d,
    "MAX_POOL_2D": max_pool2d,
    "ADD": add,
    "SOFTMAX": softmax,
    "QUANTIZE": quantize,
    "DEQUANTIZE": dequantize,
}

VIEWS = frozenset({"RESHAPE"})
"""Operators whose output is their first input under another shape."""


def lower(graph: Graph, operator: Operator) -> Kernel:
    """The kernel call of a checked operator that is no view."""
    return KERNELS[operator.kind](graph, operator)
