"""The bytes of a .tflite file as plain records, safely.

The accessors of the `tflite` package trust a file's offsets, so all tables are verified first. Vectors are taken as
views, and the sum of what is taken is bounded by the size of the file, so that parts which share bytes cannot blow
up. Nothing here judges whether a model can be compiled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import tflite

from tinykiln.graph import Array, plain_name
from tinykiln.load.flatbuffer import DamagedError, Scalar, Schema, Table, Tables, Text, Union, Vector, verify

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


OPTIONS: Schema = {
    "Conv2DOptions": {0: Scalar(1), 1: Scalar(4), 2: Scalar(4), 3: Scalar(1), 4: Scalar(4), 5: Scalar(4), 6: Scalar(1)},
    "DepthwiseConv2DOptions": {0: Scalar(1), 1: Scalar(4), 2: Scalar(4), 3: Scalar(4), 4: Scalar(1), 5: Scalar(4),
                               6: Scalar(4)},
    "FullyConnectedOptions": {0: Scalar(1), 1: Scalar(1), 2: Scalar(1), 3: Scalar(1), 4: Scalar(1)},
    "Pool2DOptions": {0: Scalar(1), 1: Scalar(4), 2: Scalar(4), 3: Scalar(4), 4: Scalar(4), 5: Scalar(1)},
    "AddOptions": {0: Scalar(1), 1: Scalar(1)},
    "ReshapeOptions": {0: Vector(4)},
    "SoftmaxOptions": {0: Scalar(4)},
    "QuantizeOptions": {},
    "DequantizeOptions": {},
}
SCHEMA: Schema = {
    **OPTIONS,
    "Model": {0: Scalar(4), 1: Tables("OperatorCode"), 2: Tables("SubGraph"), 3: Text(), 4: Tables("Buffer"),
              5: Vector(4), 6: Tables("Metadata"), 7: Tables("SignatureDef")},
    "OperatorCode": {0: Scalar(1), 1: Text(), 2: Scalar(4), 3: Scalar(4)},
    "SubGraph": {0: Tables("Tensor"), 1: Vector(4), 2: Vector(4), 3: Tables("Operator"), 4: Text(), 5: Scalar(4)},
    "Tensor": {0: Vector(4), 1: Scalar(1), 2: Scalar(4), 3: Text(), 4: Table("QuantizationParameters"), 5: Scalar(1),
               7: Vector(4), 8: Scalar(1), 9: Tables("VariantSubType")},
    "VariantSubType": {0: Vector(4), 1: Scalar(1), 2: Scalar(1)},
    "QuantizationParameters": {0: Vector(4), 1: Vector(4), 2: Vector(4), 3: Vector(8), 4: Scalar(1), 6: Scalar(4)},
    "Operator": {0: Scalar(4), 1: Vector(4), 2: Vector(4), 3: Scalar(1),
                 4: Union(3, {code: name for code, name in TABLES.items() if name in OPTIONS}), 5: Vector(1),
                 6: Scalar(1), 7: Vector(1), 8: Vector(4), 9: Scalar(8), 10: Scalar(8), 11: Scalar(1), 13: Scalar(4)},
    "Buffer": {0: Vector(1), 1: Scalar(8), 2: Scalar(8)},
    "Metadata": {0: Text(), 1: Scalar(4)},
    "SignatureDef": {0: Tables("TensorMap"), 1: Tables("TensorMap"), 2: Text(), 4: Scalar(4)},
    "TensorMap": {0: Text(), 1: Scalar(4)},
}
"""The part of TensorFlow Lite's schema that is read, or that LiteRT refuses a file for."""


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
    verify(data, SCHEMA, "Model")
    model = tflite.Model.GetRootAs(data)
    if model.Version() != SCHEMA_VERSION:
        raise DamagedError(f"its schema version is {model.Version()} instead of {SCHEMA_VERSION}")
    if not model.SubgraphsLength():
        raise DamagedError("it has no subgraph")
    budget = Budget(SHARING * len(data))
    graph, buffers = model.Subgraphs(0), [model.Buffers(i) for i in range(model.BuffersLength())]
    codes = [_code(model.OperatorCodes(i), budget) for i in range(model.OperatorCodesLength())]
    tensors = _count(graph.TensorsLength(), MAX_TENSORS, "tensors")
    operators = _count(graph.OperatorsLength(), MAX_OPERATORS, "operators")
    return File(
        tuple(_tensor(graph.Tensors(i), buffers, budget) for i in range(tensors)),
        tuple(_operator(graph.Operators(i), codes) for i in range(operators)),
        _indices(graph.InputsAsNumpy(), graph.InputsLength()),
        _indices(graph.OutputsAsNumpy(), graph.OutputsLength()),
        model.SubgraphsLength(),
    )


def _count(count: int, most: int, what: str) -> int:
    if count > most:
        raise DamagedError(f"it has {count} {what}; up to {most} are supported")
    return count


def _indices(vector: Any, length: int) -> tuple[int, ...]:
    """A vector of tensor indices; the accessors give 0 in place of a missing one."""
    count = _count(length, MAX_OPERANDS, "operands of one operator or of the model")
    return tuple(vector.tolist()) if count else ()


def _text(text: bytes | None, budget: Budget) -> str:
    """A string, empty where there is none."""
    budget.take(len(text or b""))
    return (text or b"").decode("utf-8")


def _code(code: Any, budget: Budget) -> tuple[str, int]:
    """Kind and version. The code is the larger of two fields, an older one of one byte and a newer one, as LiteRT has
    it; the package's accessor of the newer field hides values below 127, so that field is read directly."""
    newer = code._tab.GetSlot(4 + 2 * 3, 0, flatbuffers.number_types.Int32Flags)
    number = max(newer, code.DeprecatedBuiltinCode())
    if number == CUSTOM:
        return f"CUSTOM '{plain_name(_text(code.CustomCode(), budget))}'", code.Version()
    return KINDS.get(number, f"operator code {number}"), code.Version()


def _tensor(tensor: Any, buffers: list[Any], budget: Budget) -> FileTensor:
    count = _count(tensor.ShapeLength(), MAX_DIMENSIONS, "dimensions")
    scales, zero_points, axis, features = _quantization(tensor.Quantization(), budget)
    features += tuple(text for text, present in (
        ("is a variable", tensor.IsVariable()),
        ("is sparse", tensor.Sparsity() is not None),
        ("has variants", tensor.VariantTensorsLength() > 0),
    ) if present)
    data, place = _constant(tensor.Buffer(), buffers, budget)
    return FileTensor(_text(tensor.Name(), budget), DTYPES.get(tensor.Type(), f"type {tensor.Type()}"),
                      tuple(tensor.ShapeAsNumpy().tolist()) if count else (), scales, zero_points, axis, data,
                      features + place)


def _quantization(table: Any, budget: Budget) -> tuple[tuple[float, ...], tuple[int, ...], int, tuple[str, ...]]:
    if table is None:
        return (), (), 0, ()
    budget.take(4 * table.ScaleLength() + 8 * table.ZeroPointLength())
    scales = tuple(table.ScaleAsNumpy().tolist()) if table.ScaleLength() else ()
    zero_points = tuple(table.ZeroPointAsNumpy().tolist()) if table.ZeroPointLength() else ()
    features = ("has a custom quantisation",) if table.DetailsType() else ()
    return scales, zero_points, table.QuantizedDimension(), features


def _constant(index: int, buffers: list[Any], budget: Budget) -> tuple[Array | None, tuple[str, ...]]:
    """The bytes of a buffer, or None where it is empty; buffer 0 stands for none."""
    if index >= len(buffers):
        raise DamagedError(f"buffer {index} does not exist")
    buffer = buffers[index]
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
    if union is None or name not in OPTIONS:
        return None
    options = getattr(tflite, name)()
    options.Init(union.Bytes, union.Pos)
    return options
