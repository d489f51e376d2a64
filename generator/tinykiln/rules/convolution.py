"""CONV_2D and DEPTHWISE_CONV_2D; the windows of all spatial operators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tinykiln.graph import Conv2D, DepthwiseConv2D, Tensor, Window
from tinykiln.rules.channels import linear_faults
from tinykiln.rules.rule import Fault, Node
from tinykiln.rules.tensors import MAX_SUM, shape_fault, unary_faults

MAX_WINDOW = 2**15 - 1
"""Stride, and reach of a dilated window, in pixels."""


def conv2d_faults(node: Node) -> Iterator[Fault]:
    x, weights, y, options = node.input(0), node.input(1), node.output, node.operator.options
    assert isinstance(options, Conv2D)
    yield from unary_faults(node)
    if {len(x.shape), len(weights.shape), len(y.shape)} != {4}:
        yield y, "input, weights and output must have 4 dimensions"
        return
    channels = weights.shape[0]
    if options.groups < 1 or x.shape[3] != weights.shape[3] * options.groups or channels % options.groups:
        yield weights, f"{list(weights.shape)} do not divide {x.shape[3]} input channels into equal groups"
        return
    yield from shape_fault(y, (x.shape[0], *y.shape[1:3], channels))
    yield from window_faults(options.window, weights.shape[1:3], x, y)
    yield from linear_faults(node, channels, 0, options.activation)


def depthwise_conv2d_faults(node: Node) -> Iterator[Fault]:
    x, weights, y, options = node.input(0), node.input(1), node.output, node.operator.options
    assert isinstance(options, DepthwiseConv2D)
    yield from unary_faults(node)
    if {len(x.shape), len(weights.shape), len(y.shape)} != {4}:
        yield y, "input, weights and output must have 4 dimensions"
        return
    channels = x.shape[3] * options.multiplier
    yield from shape_fault(weights, (1, *weights.shape[1:3], channels))
    yield from shape_fault(y, (x.shape[0], *y.shape[1:3], channels))
    yield from window_faults(options.window, weights.shape[1:3], x, y)
    if weights.shape[3] == channels:
        yield from linear_faults(node, channels, 3, options.activation)


def window_faults(window: Window, kernel: Sequence[int], x: Tensor, y: Tensor) -> Iterator[Fault]:
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
