"""AVERAGE_POOL_2D and MAX_POOL_2D, int8."""

from __future__ import annotations

from tinykiln.graph import Graph, Operator, Pool2D
from tinykiln.kernels.convolution import image_note, image_row, window_row
from tinykiln.kernels.fixed_point import activation_range
from tinykiln.kernels.kernel import Kernel


def average_pool2d(graph: Graph, operator: Operator) -> Kernel:
    """AVERAGE_POOL_2D."""
    return _pool2d(graph, operator, "avgpool", "average_pool2d_s8")


def max_pool2d(graph: Graph, operator: Operator) -> Kernel:
    """MAX_POOL_2D."""
    return _pool2d(graph, operator, "maxpool", "max_pool2d_s8")


def _pool2d(graph: Graph, operator: Operator, kind: str, name: str) -> Kernel:
    options = operator.options
    assert isinstance(options, Pool2D)
    x, output = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
    low, high = activation_range(options.activation, output)
    return Kernel(
        kind=kind,
        function=f"crt_{name}",
        params="struct crt_pool2d_s8",
        header="crt/pool2d.h",
        source=f"{name}.c",
        operands=operator.inputs,
        rows=(image_row(x, output), window_row(options.window), (("min", low), ("max", high))),
        note=image_note(x, output),
    )
