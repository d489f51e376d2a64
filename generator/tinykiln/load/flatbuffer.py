"""Checks that a flatbuffer is well-formed, so that generated accessors can read it without leaving the file.

The format: https://flatbuffers.dev/internals. A table begins with the distance back to its vtable; the vtable holds
its own size, the table's size, and where in the table each field lies (0: absent). Everything else is reached by
unsigned distances forwards, so no walk can go in circles.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

MAX_TABLES = 65536


class DamagedError(Exception):
    """The file is no well-formed flatbuffer, or not one that a correct writer makes."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number of `size` bytes, aligned to as many."""

    size: int


@dataclass(frozen=True, slots=True)
class Text:
    """A string in UTF-8 that ends with a zero byte."""


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector of numbers of `size` bytes."""

    size: int


@dataclass(frozen=True, slots=True)
class Table:
    """Another table."""

    name: str


@dataclass(frozen=True, slots=True)
class Tables:
    """A vector of tables."""

    name: str


@dataclass(frozen=True, slots=True)
class Union:
    """A table whose kind stands in the one-byte field `tag`; kinds that are not in `names` are not looked at."""

    tag: int
    names: Mapping[int, str]


Field: TypeAlias = Scalar | Text | Vector | Table | Tables | Union
Schema: TypeAlias = Mapping[str, Mapping[int, Field]]
"""Fields of each table by their number. Fields of a newer schema that are not listed are not looked at."""
Place: TypeAlias = tuple[str, int]
"""A table's name and position."""


def verify(data: bytes, schema: Schema, root: str) -> None:
    """Check everything that `root` and the schema reach. Raises DamagedError. Every table is looked at once."""
    waiting = [(root, _target(data, 0))]
    seen: set[Place] = set()
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        if len(seen) > MAX_TABLES:
            raise DamagedError(f"it has more than {MAX_TABLES} tables")
        waiting += _table(data, schema, *place)


def _table(data: bytes, schema: Schema, name: str, position: int) -> list[Place]:
    """Check one table and name those that it refers to."""
    offsets = _offsets(data, position)
    found: list[Place] = []
    for number, field in schema[name].items():
        offset = offsets[number] if number < len(offsets) else 0
        if offset:
            found += _field(data, field, position, offset, offsets)
    return found


def _offsets(data: bytes, position: int) -> tuple[int, ...]:
    """Where in the table at `position` its fields lie."""
    vtable = position - int(_number(data, position, "<i", 4))
    size, extent = _number(data, vtable, "<H", 2), _number(data, vtable + 2, "<H", 2)
    if size < 4 or size % 2 or vtable + size > len(data) or extent < 4 or position + extent > len(data):
        raise DamagedError("a table has no proper layout")
    offsets = struct.unpack_from(f"<{size // 2 - 2}H", data, vtable + 4)
    if any(offset and not 4 <= offset < extent for offset in offsets):
        raise DamagedError("a table has fields outside of itself")
    return offsets


def _field(data: bytes, field: Field, position: int, offset: int, offsets: tuple[int, ...]) -> list[Place]:
    place = position + offset
    if isinstance(field, Scalar):
        if place % field.size or place + field.size > len(data):
            raise DamagedError("a number is not where it should be")
        return []
    target = _target(data, place)
    if isinstance(field, Table):
        return [(field.name, target)]
    if isinstance(field, Union):
        tag = offsets[field.tag] if field.tag < len(offsets) else 0
        name = field.names.get(data[position + tag]) if tag else None
        return [(name, target)] if name else []
    return _vector(data, field, target)


def _vector(data: bytes, field: Text | Vector | Tables, position: int) -> list[Place]:
    count = _number(data, position, "<I", 4)
    size = field.size if isinstance(field, Vector) else 1 if isinstance(field, Text) else 4
    start, end = position + 4, position + 4 + count * size
    if end > len(data):
        raise DamagedError("a list is longer than the file")
    if isinstance(field, Text):
        _text(data, start, end)
    if not isinstance(field, Tables):
        return []
    if count > MAX_TABLES:
        raise DamagedError(f"it has more than {MAX_TABLES} tables")
    return [(field.name, _target(data, place)) for place in range(start, end, 4)]


def _text(data: bytes, start: int, end: int) -> None:
    if data[end:end + 1] != b"\0":
        raise DamagedError("a name does not end")
    try:
        data[start:end].decode("utf-8")
    except UnicodeDecodeError:
        raise DamagedError("a name is not UTF-8") from None


def _target(data: bytes, place: int) -> int:
    """Where the distance at `place` leads."""
    distance = _number(data, place, "<I", 4)
    if not 4 <= distance < len(data) - place:
        raise DamagedError("a reference leads out of the file")
    return place + distance


def _number(data: bytes, place: int, form: str, size: int) -> int:
    if place % size or not 0 <= place <= len(data) - size:
        raise DamagedError("a reference leads out of the file")
    return int(struct.unpack_from(form, data, place)[0])
