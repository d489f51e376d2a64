"""A call of one C kernel as a value: function, parameters, packed constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Ref:
    """A parameter that points to the constant of that suffix."""

    constant: str


Value: TypeAlias = int | float | tuple[int, ...] | Ref | tuple[tuple[str, tuple[int, int]], ...]
"""What a parameter can be: a number, a list of numbers, a pointer to a constant, a nested struct."""

Row: TypeAlias = tuple[tuple[str, Value], ...]
"""Parameters that stand on one line, as (field, value)."""


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A const array of the model, named `<step>_<suffix>`; a 2-D array is one struct a row."""

    suffix: str
    ctype: str
    data: npt.NDArray[Any]
    layout: str


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """What the plan has to know of a kernel call.

    `kind` names the steps that it makes, `function` is the C function, `params` the type of its
    parameter struct, `header` and `source` its files under crt/include and crt/kernels. `operands`
    are what it reads beside its parameters: tensor indices, or constants of its own. `macs` counts
    multiplies of weights, taps outside the image included. `note` says in few characters what it does.
    """

    kind: str
    function: str
    params: str
    header: str
    source: str
    operands: tuple[int | Ref, ...]
    rows: tuple[Row, ...]
    constants: tuple[Constant, ...] = ()
    macs: int = 0
    note: str = ""
