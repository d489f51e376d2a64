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

SEARCH_BUDGET = 1_000_000
"""Pairs of items that the search may compare: about a second."""

Proof: TypeAlias = Literal["bound reached", "search complete", "search cut"]


@dataclass(frozen=True, slots=True)
class Item:
    """`size` bytes, at least one, that are needed from step `first` to step `last`, both included."""

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
    bound, rivals = lower_bound(items), _rivals(items)
    orders: tuple[Callable[[Item], tuple[int, ...]], ...] = (
        lambda item: (-item.size, item.first),
        lambda item: (item.first - item.last, -item.size),
        lambda item: (item.first, -item.size),
        lambda item: (-item.size * (item.last - item.first + 1), item.first),
    )
    layouts = (_first_fit(items, rivals, order) for order in orders)
    best = min(layouts, key=lambda offsets: _total(items, offsets))
    proof: Proof = "bound reached"
    if _total(items, best) > bound:
        best, proof = _search(items, rivals, best, bound)
    return Placement(tuple(best[i] for i in range(len(items))), _total(items, best), bound, proof)


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


def _rivals(items: Sequence[Item]) -> list[list[int]]:
    """For every item the others that are alive at one of its steps."""
    return [
        [j for j, other in enumerate(items) if j != i and other.first <= item.last and item.first <= other.last]
        for i, item in enumerate(items)
    ]


def _first_fit(
    items: Sequence[Item], rivals: list[list[int]], order: Callable[[Item], tuple[int, ...]]
) -> dict[int, int]:
    """Every item as low as it goes, in that order."""
    offsets: dict[int, int] = {}
    for i in sorted(range(len(items)), key=lambda i: order(items[i])):
        offsets[i] = _lowest(items, rivals[i], offsets, i)
    return offsets


def _search(
    items: Sequence[Item], rivals: list[list[int]], best: dict[int, int], bound: int
) -> tuple[dict[int, int], Proof]:
    """Depth first over the orders in which items can be laid from the bottom up.

    Of the placements with the least total take the one with the least sum of offsets. Laying its
    items in the order of their offsets, each is as low as it can be without being below the last
    (else it could be moved down), so trying those orders finds that total.
    """
    budget, limit = SEARCH_BUDGET, _total(items, best)
    placed: dict[int, int] = {}
    untried = [_next_positions(items, rivals, placed, limit)]
    while untried and budget > 0 and limit > bound:
        if not untried[-1]:
            untried.pop()
            if placed:
                placed.popitem()
            continue
        i, offset = untried[-1].pop()
        placed[i] = offset
        budget -= sum(1 + len(rivals[j]) for j in range(len(items)) if j not in placed)
        if len(placed) == len(items) and _total(items, placed) < limit:
            best, limit = dict(placed), _total(items, placed)
        untried.append(_next_positions(items, rivals, placed, limit))
    return best, "bound reached" if limit == bound else "search cut" if untried else "search complete"


def _next_positions(
    items: Sequence[Item], rivals: list[list[int]], placed: dict[int, int], limit: int
) -> list[tuple[int, int]]:
    """(item, offset) of what can be laid next on a total below `limit`, the best last.

    Nothing is laid above a hole in which one of the others fits: that one could be moved down. Items at
    the same offset are laid largest first, as their order makes no difference.
    """
    last = next(reversed(placed), None)
    floor = 0 if last is None else placed[last]
    left = [i for i in range(len(items)) if i not in placed]
    lows = {i: _lowest(items, rivals[i], placed, i, at_least=floor) for i in left}
    tops = [low + _aligned(items[i].size) for i, low in lows.items()]
    if max(tops, default=limit) >= limit:
        return []
    beside = {i for i in left if last is not None and lows[i] == floor and _rank(items, i) < _rank(items, last)}
    found = [(i, low) for i, low in lows.items() if low < min(tops) and i not in beside]
    return sorted(found, key=lambda position: (-position[1], items[position[0]].size))


def _rank(items: Sequence[Item], i: int) -> tuple[int, int]:
    return -items[i].size, i


def _lowest(items: Sequence[Item], rivals: list[int], placed: dict[int, int], i: int, at_least: int = 0) -> int:
    """The lowest offset from `at_least` on where item i meets none of its rivals that are placed."""
    offset, size = at_least, _aligned(items[i].size)
    for start, end in sorted((placed[j], placed[j] + _aligned(items[j].size)) for j in rivals if j in placed):
        if start >= offset + size:
            break
        offset = max(offset, end)
    return offset


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _total(items: Sequence[Item], offsets: dict[int, int]) -> int:
    return max((offset + _aligned(items[i].size) for i, offset in offsets.items()), default=0)
