"""A .tflite file to a Graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from tinykiln.check import Problem, graph_problems, model_error, operator_problems, problem, supported_kinds
from tinykiln.errors import ModelError
from tinykiln.graph import (
    ABSENT,
    Array,
    DType,
    Graph,
    Operator,
    Options,
    Quantization,
    Tensor,
    plain_name,
    without_unused,
)
from tinykiln.load.flatbuffer import DamagedError
from tinykiln.load.tflite_file import File, FileOperator, FileTensor, read
from tinykiln.load.tflite_options import READERS, RefusedError
from tinykiln.rules import OPERATORS, shape_faults

STORED = {"int8", "uint8", "int32", "float32"}
"""Dtypes whose constants are read; the others cannot be used and are only named in errors."""


def load(data: bytes, name: str, digest: str, path: Path) -> Graph:
    """The Graph of a file's bytes; `path` is for errors only. Raises ModelError."""
    try:
        file = read(data)
    except DamagedError as error:
        raise ModelError(f"{path.name} is damaged: {error}", where=str(path),
                         hint="copy or convert the model again; the file must come whole from the converter") from error
    graph, problems = _graph(file, name, digest)
    problems = problems or graph_problems(graph)
    if problems:
        raise model_error(f"{path.name} cannot be compiled", problems, str(path))
    return graph


def _graph(file: File, name: str, digest: str) -> tuple[Graph, list[Problem]]:
    """The graph, as far as it can be made, and everything that is in its way."""
    tensors = tuple(_tensor(tensor) for tensor in file.tensors)
    problems = list(_file_problems(file))
    operators = []
    for index, operator in enumerate(file.operators):
        made, found = _operator(index, operator, file, tensors)
        problems += found
        if made is not None:
            operators.append(made)
    graph = Graph(name, digest, tensors, tuple(operators), file.inputs, file.outputs)
    return (graph if problems else without_unused(graph)), problems


def _tensor(tensor: FileTensor) -> Tensor:
    """The dtype may be one that a Graph cannot have: whatever uses it is then refused by its signature."""
    return Tensor(tensor.name, cast(DType, tensor.dtype), tensor.shape, _quantization(tensor), _data(tensor))


def _quantization(tensor: FileTensor) -> Quantization | None:
    if tensor.dtype == "float32" or not tensor.scales:
        return None
    return Quantization(tensor.scales, tensor.zero_points, tensor.axis)


def _data(tensor: FileTensor) -> Array | None:
    """The constant as an array of its dtype and shape, or its bytes where their number is wrong."""
    if tensor.data is None or tensor.dtype not in STORED or any(size < 0 for size in tensor.shape):
        return tensor.data
    dtype = np.dtype(tensor.dtype).newbyteorder("<")
    size = dtype.itemsize
    for dimension in tensor.shape:
        size *= dimension
    return tensor.data.view(dtype).reshape(tensor.shape) if size == len(tensor.data) else tensor.data


def _file_problems(file: File) -> Iterator[Problem]:
    if file.subgraphs > 1:
        yield Problem("", f"the model has {file.subgraphs} subgraphs", "a model of one subgraph is supported")
    if not file.operators:
        yield Problem("", "the model has no operators")


def _operator(index: int, operator: FileOperator, file: File,
              tensors: Sequence[Tensor]) -> tuple[Operator | None, list[Problem]]:
    """The operator as the Graph has it, or the reasons why it cannot be in one."""
    used = [i for i in (*operator.inputs, *operator.outputs) if i != ABSENT]
    outside = [i for i in used if not 0 <= i < len(tensors)]
    if outside:
        return None, [Problem(f"operator {index} {operator.kind}",
                              f"refers to tensor {outside[0]}; there are {len(tensors)}")]
    shown = tensors[(operator.outputs or used or (0,))[0]] if tensors else Tensor("", "int8", ())
    reasons = _refusals(operator, file)
    if reasons:
        hint = supported_kinds() if operator.kind not in OPERATORS else ""
        return None, [problem(index, operator.kind, shown, reason, hint) for reason in reasons]
    faults = [(tensors[i], reason) for i in used for reason in shape_faults(tensors[i])]
    if faults:
        return None, [problem(index, operator.kind, tensor, reason) for tensor, reason in faults]
    try:
        made = _made(operator, tensors)
    except RefusedError as error:
        return None, [problem(index, operator.kind, shown, str(error))]
    return made, operator_problems(index, made, tensors)


def _refusals(operator: FileOperator, file: File) -> list[str]:
    """What can be said against an operator without looking at its options."""
    reader = READERS.get(operator.kind)
    if reader is None:
        return ["the operator is not supported"]
    reasons = list(operator.features)
    for tensor in (file.tensors[i] for i in (*operator.inputs, *operator.outputs) if i != ABSENT):
        reasons += [f"tensor '{plain_name(tensor.name)}' {text}" for text in tensor.features]
    if not 1 <= operator.version <= reader.versions:
        reasons.append(f"has version {operator.version}; versions 1 to {reader.versions} are supported")
    if len(operator.outputs) != 1 or ABSENT in operator.outputs:
        reasons.append(f"has {len(operator.outputs)} outputs instead of 1")
    missing = operator.options is None and (not reader.optional or operator.table != "NONE")
    if missing or (operator.options is not None and operator.table != reader.table):
        reasons.append(f"has options {operator.table} instead of {reader.table}")
    return reasons


def _made(operator: FileOperator, tensors: Sequence[Tensor]) -> Operator:
    """RESHAPE loses its shape operand; operators that may have a bias always get three inputs."""
    inputs = operator.inputs
    options: Options = READERS[operator.kind].read(
        operator.options, [None if i == ABSENT else tensors[i] for i in inputs], tensors[operator.outputs[0]])
    if operator.kind == "RESHAPE":
        inputs = inputs[:1] if len(inputs) <= 2 else inputs
    if OPERATORS[operator.kind].optional and len(inputs) == 2:
        inputs = (*inputs, ABSENT)
    return Operator(operator.kind, inputs, operator.outputs, options)
