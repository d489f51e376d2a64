"""Drops operators whose outputs nobody reads."""

from __future__ import annotations

from dataclasses import replace

from tinykiln.graph import Graph, Operator, without_unused


def drop_unread(graph: Graph) -> Graph:
    """The graph without operators that no output depends on, and without the constants that only they used."""
    needed = set(graph.outputs)
    kept: list[Operator] = []
    for operator in reversed(graph.operators):
        if needed.intersection(operator.outputs):
            needed.update(operator.inputs)
            kept.append(operator)
    return without_unused(replace(graph, operators=tuple(reversed(kept))))
