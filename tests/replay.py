"""Replays a memory plan on an arena of tags: does every tensor that is read still hold what was written?

Written without the planner's arithmetic: whoever writes puts his tag on every byte, whoever reads looks for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinykiln.memory import Item
from tinykiln.plan import Plan

NOBODY = -1


class Arena:
    """Bytes with the tag of their last writer, and what readers found wrong."""

    def __init__(self, size: int) -> None:
        self.tags = [NOBODY] * size
        self.faults: list[str] = []

    def write(self, tag: int, offset: int, size: int, what: str) -> None:
        """Put the tag on `size` bytes."""
        if offset < 0 or offset + size > len(self.tags):
            self.faults.append(f"{what} lies outside of the arena")
        for at in range(max(offset, 0), min(offset + size, len(self.tags))):
            self.tags[at] = tag

    def read(self, tag: int, offset: int, size: int, what: str) -> None:
        """Note a fault unless all of `size` bytes have the tag."""
        if self.tags[max(offset, 0):max(offset + size, 0)] != [tag] * size:
            self.faults.append(f"{what} was overwritten")


def replay_items(items: Sequence[Item], offsets: Sequence[int]) -> list[str]:
    """What goes wrong where every item is written at its first step and read at each of its steps."""
    arena = Arena(max((offset + item.size for item, offset in zip(items, offsets, strict=True)), default=0))
    for step in sorted({item.first for item in items} | {item.last for item in items}):
        alive = [(i, item) for i, item in enumerate(items) if item.first <= step <= item.last]
        for i, item in alive:
            if item.first == step:
                arena.write(i, offsets[i], item.size, item.name)
        for i, item in alive:
            arena.read(i, offsets[i], item.size, f"{item.name} at step {step}")
    return arena.faults


def replay_plan(plan: Plan, offsets: Sequence[int]) -> list[str]:
    """What goes wrong in a run of the plan's graph with the items of the plan at `offsets`.

    Follows the operators of the graph, not the plan's lifetimes. A tensor's tag is its index, a view has that of its
    source.
    """
    graph = plan.graph
    arena = Arena(plan.arena_bytes)
    tags = {i: i for i in graph.inputs}

    def read(tensor: int, by: str) -> None:
        if graph.tensors[tensor].data is None:
            at, size = offsets[plan.item_of[tensor]], graph.tensors[tensor].nbytes
            arena.read(tags[tensor], at, size, f"tensor {tensor}, read by {by},")

    for tensor in graph.inputs:
        arena.write(tensor, offsets[plan.item_of[tensor]], graph.tensors[tensor].nbytes, f"input {tensor}")
    for operator in graph.operators:
        made = operator.outputs[0]
        if operator.kind == "RESHAPE":
            tags[made] = tags[operator.inputs[0]]
            continue
        # Kernels may write before they have read everything, so output and inputs must be apart: write, then read.
        tags[made] = made
        arena.write(made, offsets[plan.item_of[made]], graph.tensors[made].nbytes, f"tensor {made}")
        for tensor in operator.inputs:
            if tensor >= 0:
                read(tensor, operator.kind)
    for tensor in graph.outputs:
        read(tensor, "the caller")
    return arena.faults
