"""Placements are valid and as small as their proof says; checked by replay, not by the planner's own arithmetic."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay import replay_items
from tinykiln import memory
from tinykiln.memory import ALIGNMENT, Item, Placement, lower_bound, place


def items_of(*rows: tuple[int, int, int]) -> list[Item]:
    """Items of (size, first, last)."""
    return [Item(f"item_{i}", *row) for i, row in enumerate(rows)]


GREEDY_MISSES = items_of((11, 0, 3), (14, 4, 4), (13, 3, 5), (10, 3, 4), (3, 3, 4), (11, 3, 3))
"""First fit takes 60 bytes in every order; 56 are possible."""

BOUND_OUT_OF_REACH = items_of(
    (16, 0, 0), (4, 0, 4), (4, 0, 3), (8, 1, 2), (8, 1, 1), (8, 2, 5), (4, 3, 4), (4, 3, 3), (8, 4, 5), (8, 5, 5))
"""24 bytes are alive at every step, and no placement takes less than 28."""


@st.composite
def random_items(draw: st.DrawFn, most: int = 16, largest: int = 300) -> list[Item]:
    rows = draw(st.lists(st.tuples(st.integers(1, largest), st.integers(-1, 12), st.integers(0, 8)), max_size=most))
    return items_of(*((size, first, first + length) for size, first, length in rows))


def fits_into(items: Sequence[Item], total: int, offsets: tuple[int, ...] = ()) -> bool:
    """Whether any placement has that total: tries every offset of every item."""
    if len(offsets) == len(items):
        return True
    item = items[len(offsets)]
    for offset in range(0, total - item.size + 1, ALIGNMENT):
        apart = (
            other.last < item.first or item.last < other.first or start + other.size <= offset
            or offset + item.size <= start
            for other, start in zip(items, offsets, strict=False)
        )
        if all(apart) and fits_into(items, total, (*offsets, offset)):
            return True
    return False


@given(random_items())
@settings(deadline=None, max_examples=120)
def test_any_items(items: list[Item]) -> None:
    placement = place(items)
    assert len(placement.offsets) == len(items)
    assert all(offset % ALIGNMENT == 0 for offset in placement.offsets)
    ends = [offset + item.size for offset, item in zip(placement.offsets, items, strict=True)]
    assert placement.total - ALIGNMENT < max(ends, default=0) <= placement.total
    assert placement.total >= placement.lower_bound == lower_bound(items)
    assert (placement.proof == "bound reached") == (placement.total == placement.lower_bound)
    assert replay_items(items, placement.offsets) == []
    assert place(items) == placement


@given(random_items(most=5, largest=16))
@settings(deadline=None, max_examples=400)
def test_no_smaller_total_exists(items: list[Item]) -> None:
    placement = place(items)
    assert placement.proof != "search cut"
    assert fits_into(items, placement.total)
    assert placement.total == 0 or not fits_into(items, placement.total - ALIGNMENT)


def test_lower_bound_is_the_busiest_step() -> None:
    assert lower_bound([]) == 0
    assert lower_bound(items_of((5, 0, 1), (3, 1, 2), (9, 3, 3))) == 12
    assert lower_bound(items_of((5, 0, 1), (3, 1, 2), (9, 2, 3))) == 16
    assert lower_bound(items_of((4, 0, 1), (4, 2, 3))) == 4


def test_nothing_to_place() -> None:
    assert place([]) == Placement((), 0, 0, "bound reached")


def test_search_finds_what_greedy_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    found = place(GREEDY_MISSES)
    assert (found.total, found.proof) == (56, "bound reached")
    monkeypatch.setattr(memory, "SEARCH_BUDGET", 0)
    greedy = place(GREEDY_MISSES)
    assert (greedy.total, greedy.lower_bound, greedy.proof) == (60, 56, "search cut")
    assert replay_items(GREEDY_MISSES, found.offsets) == replay_items(GREEDY_MISSES, greedy.offsets) == []


def test_search_proves_that_the_bound_is_out_of_reach() -> None:
    placement = place(BOUND_OUT_OF_REACH)
    assert (placement.total, placement.lower_bound, placement.proof) == (28, 24, "search complete")
    assert replay_items(BOUND_OUT_OF_REACH, placement.offsets) == []
    assert not fits_into(BOUND_OUT_OF_REACH, 24)


def test_budget_ends_the_search_with_a_valid_placement(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    firsts = [rng.randrange(100) for _ in range(200)]
    items = items_of(*((rng.randint(1, 4000), first, first + rng.randrange(20)) for first in firsts))
    monkeypatch.setattr(memory, "SEARCH_BUDGET", 100_000)
    placement = place(items)
    assert placement.proof == "search cut"
    assert placement.lower_bound < placement.total < 1.2 * placement.lower_bound
    assert replay_items(items, placement.offsets) == []


@pytest.mark.parametrize("items", [GREEDY_MISSES, BOUND_OUT_OF_REACH])
def test_replay_sees_every_item_that_is_moved_onto_another(items: list[Item]) -> None:
    offsets = place(items).offsets
    for i, item in enumerate(items):
        for j, other in enumerate(items):
            if i != j and item.first <= other.last and other.first <= item.last:
                moved = (*offsets[:i], offsets[j], *offsets[i + 1:])
                assert replay_items(items, moved) != []
