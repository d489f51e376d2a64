"""Where the tensors lie: lifetimes in steps -> offsets in the arena. Pure, knows nothing of graphs.

Placing items so that those alive at the same time do not overlap is dynamic storage allocation,
NP-hard in general (Garey & Johnson, SR2). Real networks are small and kind: first fit in a good
order nearly always reaches the lower bound, the largest sum of items alive at once. Where it does
not, a search goes on until it reaches the bound, has tried everything, or has used up its budget,
and the placement says which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

ALIGNMENT = 4
"""Bytes; every item starts at a multiple of it, so that kernels can read words."""

SEARCH_BUDGET = 20_000
"""Positions that the search may try."""

Proof: TypeAlias = Literal["bound reached", "search complete", "search cut"]


@dataclass(frozen=True, slots=True)
class Item:
    """`size` bytes that are needed from step `first` to step `last`, both included."""

    name: str
    size: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Offsets of the items in their order, all in bytes.

    `proof` says why there is no smaller one: the lower bound is reached, all others were tried, or
    ("search cut") it is not known.
    """

    offsets: tuple[int, ...]
    total: int
    lower_bound: int
    proof: Proof


def place(items: Sequence[Item]) -> Placement:
    """Gives every item an offset so that no two alive at the same step overlap; the least total it finds."""
    bound = lower_bound(items)
    orders: tuple[Callable[[Item], tuple[int, ...]], ...] = (
        lambda item: (-item.size, item.first),
        lambda item: (item.first - item.last, -item.size),
        lambda item: (item.first, -item.size),
        lambda item: (-item.size * (item.last - item.first + 1), item.first),
    )
    best: dict[int, int] = {}
    for order in orders:
        offsets: dict[int, int] = {}
        for i in sorted(range(len(items)), key=lambda i: order(items[i])):
            offsets[i] = _lowest(items, offsets, i)
        if not best or _total(items, offsets) < _total(items, best):
            best = offsets
    if _total(items, best) == bound:
        return Placement(_in_order(best), bound, bound, "bound reached")
    return _search(items, best, bound)


def lower_bound(items: Sequence[Item]) -> int:
    """The largest sum of items alive at one step, in bytes, each rounded up to ALIGNMENT."""
    changes: dict[int, int] = {}
    for item in items:
        changes[item.first] = changes.get(item.first, 0) + _aligned(item.size)
        changes[item.last + 1] = changes.get(item.last + 1, 0) - _aligned(item.size)
    live = peak = 0
    for step in sorted(changes):
        live += changes[step]
        peak = max(peak, live)
    return peak


def _search(items: Sequence[Item], best: dict[int, int], bound: int) -> Placement:
    """Depth first over the orders in which items can be laid from the bottom up.

    Any placement can be pushed down until every item lies at 0 or on another, and then be built by
    laying the items in the order of their offsets, each as low as it goes but not below the last:
    so trying those orders finds the least total.
    """
    budget = SEARCH_BUDGET
    pending: list[dict[int, int]] = [{}]
    while pending and _total(items, best) > bound and budget > 0:
        placed = pending.pop()
        budget -= 1
        if len(placed) == len(items):
            best = placed if _total(items, placed) < _total(items, best) else best
            continue
        limit, floor = _total(items, best), max(placed.values(), default=0)
        left = [i for i in range(len(items)) if i not in placed]
        lows = {i: _lowest(items, placed, i, at_least=floor) for i in left}
        if all(low + _aligned(items[i].size) < limit for i, low in lows.items()):
            # Popped from the end: the lowest position first, there the largest item.
            left.sort(key=lambda i: (-lows[i], items[i].size))
            pending += [{**placed, i: lows[i]} for i in left]
    total = _total(items, best)
    proof: Proof = "bound reached" if total == bound else "search cut" if pending else "search complete"
    return Placement(_in_order(best), total, bound, proof)


def _lowest(items: Sequence[Item], placed: dict[int, int], i: int, at_least: int = 0) -> int:
    """The lowest offset from `at_least` on where item i meets no placed item that is alive with it."""
    offset, size = at_least, _aligned(items[i].size)
    alive = (j for j in placed if items[j].first <= items[i].last and items[i].first <= items[j].last)
    for start, end in sorted((placed[j], placed[j] + _aligned(items[j].size)) for j in alive):
        if start >= offset + size:
            break
        offset = max(offset, end)
    return offset


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _total(items: Sequence[Item], offsets: dict[int, int]) -> int:
    return max((offset + _aligned(items[i].size) for i, offset in offsets.items()), default=0)


def _in_order(offsets: dict[int, int]) -> tuple[int, ...]:
    return tuple(offsets[i] for i in range(len(offsets)))
