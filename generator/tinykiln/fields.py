"""The fields of a board file: each checked as it is read, with errors that name file, board and field."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

from tinykiln.errors import BoardError

Json: TypeAlias = dict[str, Any]
"""An object of a JSON or YAML file."""

T = TypeVar("T")

_SIZE = re.compile(r"([0-9]{1,10})([KM]?)")
_UNITS = {"": 1, "K": 1024, "M": 1024 * 1024}
_HEX = re.compile(r"0x[0-9a-fA-F]{1,8}")


class Place(NamedTuple):
    """Where in a board file something stands, for messages."""

    file: str
    board: str
    field: str = ""

    def at(self, field: str) -> Place:
        """A field or element below this one."""
        return self._replace(field=f"{self.field}.{field}" if self.field else field)

    def error(self, what: str, hint: str = "") -> BoardError:
        """The error that something here is wrong."""
        where = ", ".join([self.file, f"board {self.board}"] + ([f"field {self.field}"] if self.field else []))
        return BoardError(what, where=where, hint=hint or "boards.yaml of TinyKiln describes the fields")

    def wrong(self, expected: str, got: object) -> BoardError:
        """The error that something else stands here than was expected."""
        return self.error(f"expected {expected}, got {got!r}")


def mapping(place: Place, value: object) -> Json:
    """A mapping with text keys. Raises BoardError."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise place.wrong("fields by name", value)
    return value


def fields_of(place: Place, value: object, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> Json:
    """The fields of a mapping: all `required` ones, none but those and the `optional` ones. Raises BoardError."""
    fields = mapping(place, value)
    known = required + optional
    for name in fields:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            guess = f"; did you mean {near[0]}?" if near else ""
            raise place.at(name).error(f"unknown field{guess}", f"fields here: {', '.join(known)}")
    for name in required:
        if name not in fields:
            raise place.at(name).error("the field is missing")
    return fields


def text(place: Place, value: object) -> str:
    """One line of text. Raises BoardError."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise place.wrong("a text of one line", value)
    return value


def choice(place: Place, value: object, known: tuple[str, ...], suffix: str = "") -> str:
    """One of the `known` texts. Raises BoardError."""
    if not isinstance(value, str) or value not in known:
        raise place.wrong((f"one of {', '.join(known)}" if known else "nothing") + suffix, value)
    return value


def pattern(place: Place, value: object, pattern: re.Pattern[str], expected: str) -> str:
    """A text that matches; `expected` says what in words. Raises BoardError."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise place.wrong(expected, value)
    return value


def integer(place: Place, value: object, low: int, high: int) -> int:
    """A whole number from `low` to `high`. Raises BoardError."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise place.wrong(f"a whole number from {low} to {high}", value)
    return value


def address(place: Place, value: object) -> int:
    """A 32-bit address, as a number or as hexadecimal text. Raises BoardError."""
    if isinstance(value, str) and _HEX.fullmatch(value):
        return int(value, 16)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 32:
        raise place.wrong("a 32-bit address such as 0x20000000", value)
    return value


def size_in_bytes(place: Place, value: object) -> int:
    """A number of bytes above 0, or a text with K or M behind it. Raises BoardError."""
    match = _SIZE.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    size = int(match[1]) * _UNITS[match[2]] if match else 0
    if size == 0:
        raise place.wrong("bytes, or a text such as 128K or 4M", value)
    return size


def list_of(place: Place, value: object, item: Callable[[Place, object], T]) -> tuple[T, ...]:
    """A list, each element read by `item`. Raises BoardError."""
    if not isinstance(value, list):
        raise place.wrong("a list", value)
    return tuple(item(place.at(str(index)), element) for index, element in enumerate(value))
