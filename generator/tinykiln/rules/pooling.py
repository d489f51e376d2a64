"""AVERAGE_POOL_2D and MAX_POOL_2D."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tinykiln.graph import Pool2D
from tinykiln.rules.convolution import window_faults
from tinykiln.rules.rule import Fault, Node
from tinykiln.rules.tensors import MAX_SUM, fused_faults, scales_of, shape_fault, unary_faults, zero_of

POOL_TOLERANCE = 1e-6
"""How far the scales of input and output may be apart."""


def pool2d_faults(node: Node) -> Iterator[Fault]:
    x, y, options = node.input(0), node.output, node.operator.options
    assert isinstance(options, Pool2D)
    yield from unary_faults(node)
    if not len(x.shape) == len(y.shape) == 4:
        yield y, "input and output must have 4 dimensions"
        return
    yield from shape_fault(y, (x.shape[0], *y.shape[1:3], x.shape[3]))
    yield from window_faults(options.window, options.window.kernel, x, y)
    if options.window.dilation != (1, 1):
        yield y, "has a dilation; pooling has none"
    taps = math.prod(min(k, size) for k, size in zip(options.window.kernel, x.shape[1:3], strict=True))
    if taps * 128 > MAX_SUM:
        yield y, "has a window so large that a 32-bit sum can overflow"
    if abs(scales_of(x)[0] - scales_of(y)[0]) > POOL_TOLERANCE or zero_of(x) != zero_of(y):
        yield y, "has another scale or zero point than the input"
    yield from fused_faults(y, options.activation)
