"""FULLY_CONNECTED."""

from __future__ import annotations

from collections.abc import Iterator

from tinykiln.graph import FullyConnected
from tinykiln.rules.channels import linear_faults
from tinykiln.rules.rule import Fault, Node
from tinykiln.rules.tensors import shape_fault, unary_faults


def fully_connected_faults(node: Node) -> Iterator[Fault]:
    x, weights, y, options = node.input(0), node.input(1), node.output, node.operator.options
    assert isinstance(options, FullyConnected)
    yield from unary_faults(node)
    if len(weights.shape) != 2 or not x.shape or x.size % weights.shape[1]:
        yield weights, f"{list(weights.shape)} do not fit an input of {list(x.shape)}"
        return
    units, depth = weights.shape
    flat = (x.size // depth, units)
    if x.shape[-1] != depth or y.shape != (*x.shape[:-1], units):
        yield from shape_fault(y, flat)
    yield from linear_faults(node, units, 0, options.activation)
