"""Exact rewrites of a Graph: the outputs keep every bit for every input. One rewrite a file."""

from __future__ import annotations

from collections.abc import Callable

from tinykiln.check import check
from tinykiln.graph import Graph
from tinykiln.passes.drop_unread import drop_unread

PASSES: tuple[Callable[[Graph], Graph], ...] = (drop_unread,)
"""All passes, in the order in which they are applied."""


def simplify(graph: Graph) -> Graph:
    """Apply every pass and check the graph after each. Raises ModelError where a pass broke it."""
    for rewrite in PASSES:
        graph = rewrite(graph)
        check(graph)
    return graph
