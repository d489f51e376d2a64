"""The bytes of a .tflite file as plain records, safely.

The accessors of the `tflite` package trust a file's offsets. Here every table is verified before it is read
(https://flatbuffers.dev/internals: a table starts with the distance to its vtable, a vtable with its own size and that
of the table), every vector is taken as a view, and the sum of what is taken is bounded by the size of the file, so
that vectors which share bytes cannot blow up. Nothing here judges whether a model can be compiled.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import tflite

from tinykiln.graph import Array

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
MAX_TENSORS = 8192
MAX_OPERATORS = 4096
MAX_DIMENSIONS = 16
MAX_OPERANDS = 64
SHARING = 16
"""How many times the size of the file all vectors together may have."""

DTYPES = {code: name.lower() for name, code in vars(tflite.TensorType).items() if name.isupper()}
KINDS = {code: name for name, code in vars(tflite.BuiltinOperator).items() if name.isupper()}
TABLES = {code: name for name, code in vars(tflite.BuiltinOptions).items() if not name.startswith("_")}
CUSTOM = 32


class DamagedError(Exception):
    """The file is no well-formed flatbuffer, or not one that a correct writer makes."""


@dataclass(frozen=True, slots=True)
class FileTensor:
    """A tensor. `data` are its constant's bytes or None, `features` what it has beyond shape, dtype and scales."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int
    data: Array | None
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileOperator:
    """An operator. `options` is the table named `table` of the `tflite` package, or None; -1 is an absent tensor."""

    kind: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    table: str
    options: Any
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class File:
    """The first subgraph of a model, and how many there are."""

    tensors: tuple[FileTensor, ...]
    operators: tuple[FileOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    subgraphs: int


@dataclass(slots=True)
class Budget:
    """How many more bytes of vectors and strings may be taken from the file."""

    left: int

    def take(self, size: int) -> None:
        """Raises DamagedError when all is used up."""
        self.left -= size
        if self.left < 0:
            raise DamagedError("its parts overlap")


def read(data: bytes) -> File:
    """Read the bytes of a file. Raises DamagedError."""
    try:
        return _file(data)
    except (struct.error, TypeError, ValueError, OverflowError, IndexError) as error:
        # What the accessors raise when an offset leads out of the file: unpack_from, range checks, frombuffer.
        raise DamagedError("an offset or a length leads out of the file") from error


def _file(data: bytes) -> File:
    model = _verified(tflite.Model.GetRootAs(data))
    if model.Version() != SCHEMA_VERSION:
        raise DamagedError(f"its schema version is {model.Version()} instead of {SCHEMA_VERSION}")
    if not model.SubgraphsLength():
        raise DamagedError("it has no subgraph")
    budget = Budget(SHARING * len(data))
    graph = _verified(model.Subgraphs(0))
    buffers = _buffers(model)
    codes = [_code(_verified(model.OperatorCodes(i)))
             for i in range(_count(model.OperatorCodesLength(), MAX_OPERATORS, "operator codes"))]
    tensors = _count(graph.TensorsLength(), MAX_TENSORS, "tensors")
    operators = _count(graph.OperatorsLength(), MAX_OPERATORS, "operators")
    return File(
        tuple(_tensor(_verified(graph.Tensors(i)), buffers, budget) for i in range(tensors)),
        tuple(_operator(_verified(graph.Operators(i)), codes) for i in range(operators)),
        _indices(graph.InputsAsNumpy(), graph.InputsLength()),
        _indices(graph.OutputsAsNumpy(), graph.OutputsLength()),
        model.SubgraphsLength(),
    )


def _verified(table: Any) -> Any:
    """The table, whose vtable and fields are now known to lie within the file and within the table."""
    data, position = table._tab.Bytes, table._tab.Pos
    vtable = position - struct.unpack_from("<i", data, position)[0]
    if position % 4 or vtable < 0 or vtable % 2:
        raise DamagedError("a table is not where it should be")
    size, extent = struct.unpack_from("<HH", data, vtable)
    if size < 4 or size % 2 or extent < 4 or position + extent > len(data):
        raise DamagedError("a table is not where it should be")
    if any(field and not 4 <= field < extent for field in struct.unpack_from(f"<{size // 2 - 2}H", data, vtable + 4)):
        raise DamagedError("a table has fields outside of itself")
    return table


def _count(count: int, most: int, what: str) -> int:
    if count > most:
        raise DamagedError(f"it has {count} {what}; up to {most} are supported")
    return count


def _indices(vector: Any, length: int) -> tuple[int, ...]:
    """A vector of tensor indices; the accessors give 0 in place of a missing one."""
    count = _count(length, MAX_OPERANDS, "operands of one operator or of the model")
    return tuple(vector.tolist()) if count else ()


def _text(table: Any, slot: int, budget: Budget) -> str:
    """The string in a field, empty where there is none."""
    offset = table._tab.Offset(4 + 2 * slot)
    if not offset:
        return ""
    length = table._tab.VectorLen(offset)
    start = table._tab.Vector(offset)
    if start + length > len(table._tab.Bytes):
        raise DamagedError("a name leads out of the file")
    budget.take(length)
    try:
        return bytes(table._tab.Bytes[start:start + length]).decode("utf-8")
    except UnicodeDecodeError:
        raise DamagedError("a name is not UTF-8") from None


def _code(code: Any) -> tuple[str, int]:
    """Kind and version. Codes above 127 stand in the newer of two fields; the older one is then 127 or 0."""
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    if number == CUSTOM:
        return f"CUSTOM {_text(code, 1, Budget(MAX_OPERATORS))!a}", code.Version()
    return KINDS.get(number, f"operator code {number}"), code.Version()


def _buffers(model: Any) -> list[Any]:
    """The buffers' tables, not yet verified: a file has many that nothing needs."""
    return [model.Buffers(i) for i in range(_count(model.BuffersLength(), 4 * MAX_TENSORS, "buffers"))]


def _tensor(tensor: Any, buffers: list[Any], budget: Budget) -> FileTensor:
    count = _count(tensor.ShapeLength(), MAX_DIMENSIONS, "dimensions")
    scales, zero_points, axis, features = _quantization(tensor.Quantization(), budget)
    features += tuple(text for text, present in (
        ("is a variable", tensor.IsVariable()),
        ("is sparse", tensor.Sparsity() is not None),
        ("has variants", tensor.VariantTensorsLength() > 0),
    ) if present)
    data, place = _constant(tensor.Buffer(), buffers, budget)
    return FileTensor(_text(tensor, 3, budget), DTYPES.get(tensor.Type(), f"type {tensor.Type()}"),
                      tuple(tensor.ShapeAsNumpy().tolist()) if count else (), scales, zero_points, axis, data,
                      features + place)


def _quantization(table: Any, budget: Budget) -> tuple[tuple[float, ...], tuple[int, ...], int, tuple[str, ...]]:
    if table is None:
        return (), (), 0, ()
    _verified(table)
    budget.take(4 * table.ScaleLength() + 8 * table.ZeroPointLength())
    scales = tuple(table.ScaleAsNumpy().tolist()) if table.ScaleLength() else ()
    zero_points = tuple(table.ZeroPointAsNumpy().tolist()) if table.ZeroPointLength() else ()
    features = ("has a custom quantisation",) if table.DetailsType() else ()
    return scales, zero_points, table.QuantizedDimension(), features


def _constant(index: int, buffers: list[Any], budget: Budget) -> tuple[Array | None, tuple[str, ...]]:
    """The bytes of a buffer, or None where it is empty; buffer 0 stands for none."""
    if index >= len(buffers):
        raise DamagedError(f"buffer {index} does not exist")
    buffer = _verified(buffers[index])
    if buffer.Offset() or buffer.Size():
        return None, ("has data outside of the flatbuffer",)
    if not buffer.DataLength():
        return None, ()
    if index == 0:
        raise DamagedError("buffer 0 is not empty")
    budget.take(buffer.DataLength())
    data = buffer.DataAsNumpy()
    data.flags.writeable = False
    return np.asarray(data), ()


def _operator(operator: Any, codes: list[tuple[str, int]]) -> FileOperator:
    if operator.OpcodeIndex() >= len(codes):
        raise DamagedError(f"operator code {operator.OpcodeIndex()} does not exist")
    kind, version = codes[operator.OpcodeIndex()]
    features = tuple(text for text, present in (
        ("has intermediate tensors", operator.IntermediatesLength()),
        ("has custom options", operator.CustomOptionsLength() or operator.LargeCustomOptionsSize()),
        ("has options of a newer schema", operator.BuiltinOptions2Type()),
        ("changes its inputs", operator.MutatingVariableInputsLength()
         and np.any(operator.MutatingVariableInputsAsNumpy())),
    ) if present)
    table = TABLES.get(operator.BuiltinOptionsType(), "unknown")
    return FileOperator(kind, version, _indices(operator.InputsAsNumpy(), operator.InputsLength()),
                        _indices(operator.OutputsAsNumpy(), operator.OutputsLength()), table,
                        _options(operator, table), features)


def _options(operator: Any, name: str) -> Any:
    union = operator.BuiltinOptions()
    table = getattr(tflite, name, None)
    if union is None or table is None:
        return None
    options = table()
    options.Init(union.Bytes, union.Pos)
    return _verified(options)
