"""What a rule is: the dtypes and options of a kind of operator, and a function that finds what is wrong with one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from tinykiln.graph import DType, Operator, Tensor

Fault: TypeAlias = tuple[Tensor, str]
"""A tensor and what is wrong with it or the operator around it."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Dtypes that an operator takes, in the order of its inputs, and the dtype that it makes."""

    inputs: tuple[DType, ...]
    output: DType

    def text(self, optional: int = 0) -> str:
        """As "int8, int8[, int32] -> int8", with the last `optional` inputs in brackets."""
        needed, others = self.inputs[:len(self.inputs) - optional], self.inputs[len(self.inputs) - optional:]
        return f"{', '.join(needed)}{''.join(f'[, {dtype}]' for dtype in others)} -> {self.output}"


@dataclass(frozen=True, slots=True)
class Node:
    """An operator with its tensors; `inputs` has None for an absent one."""

    operator: Operator
    inputs: tuple[Tensor | None, ...]
    output: Tensor

    def input(self, index: int) -> Tensor:
        """An input that the signature has made sure of."""
        tensor = self.inputs[index]
        assert tensor is not None
        return tensor


@dataclass(frozen=True, slots=True)
class Rule:
    """What can be compiled of one kind of operator. The last `optional` inputs may be ABSENT; `missing` is said where
    one of the others is."""

    options: type
    signatures: tuple[Signature, ...]
    faults: Callable[[Node], Iterator[Fault]]
    optional: int = 0
    missing: str = ""

    def takes(self) -> tuple[str, ...]:
        """Each signature as text, with the optional inputs in brackets."""
        return tuple(signature.text(self.optional) for signature in self.signatures)
