"""Truth: test vectors, and what the reference interpreter makes of them.

LiteRT with its reference kernels (`OpResolverType.BUILTIN_REF`, package ai-edge-litert, extra
`verify`) runs the same model file. Vectors are stored in the firmware repository, so that it can
test itself later without LiteRT.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from tinykiln.errors import ModelError, ToolError, VectorError
from tinykiln.graph import Array, Graph, Tensor, plain_name
from tinykiln.plan import Plan

OLDEST_LITERT = (1, 3)

Arrays: TypeAlias = Mapping[str, Array]
"""By name of an input or output, (N, *tensor shape) in the tensor's dtype; by step, (*tensor shape)."""


class TensorSpec(Protocol):
    """What inputs are checked against: an input of a Project or of a Plan."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """N inputs and the outputs that belong to them. `layers` has the output of every step for the first."""

    inputs: Arrays
    outputs: Arrays
    layers: Arrays

    @property
    def count(self) -> int:
        """Number of inferences."""
        return len(next(iter(self.inputs.values()), ()))


def random_inputs(plan: Plan, count: int) -> Arrays:
    """`count` inputs for each input of the model, the same for the same model on every machine.

    The bytes are SHAKE-128 of the model's digest. Integers take every value; a float input takes
    values over the range of the tensor that it is quantised to, or else from -1 to 1.
    """
    return {
        port.name: _random(plan.graph, port.tensor, count, f"{plan.graph.digest} {i}")
        for i, port in enumerate(plan.inputs)
    }


def _random(graph: Graph, index: int, count: int, seed: str) -> Array:
    tensor = graph.tensors[index]
    shape = (count, *tensor.shape)
    noise = hashlib.shake_128(seed.encode()).digest(2 * math.prod(shape))
    if tensor.dtype != "float32":
        return np.frombuffer(noise[: math.prod(shape)], dtype=tensor.dtype).reshape(shape)
    unit = np.frombuffer(noise, dtype="<u2").astype(np.float64) / 65535
    low, high = _float_range(graph, index)
    return (low + (high - low) * unit).astype(np.float32).reshape(shape)


def _float_range(graph: Graph, index: int) -> tuple[float, float]:
    for operator in graph.operators:
        if operator.kind == "QUANTIZE" and index in operator.inputs:
            quantization = graph.tensors[operator.outputs[0]].quantization
            assert quantization is not None
            scale, zero = quantization.scales[0], quantization.zero_points[0]
            return scale * (-128 - zero), scale * (127 - zero)
    return -1.0, 1.0


def run_reference(model: bytes, plan: Plan, inputs: Arrays) -> Vectors:
    """What LiteRT's reference kernels make of the `inputs`.

    Raises ToolError where LiteRT is not installed, ModelError where it refuses the model.
    """
    try:
        return _run(_interpreter(model), plan, inputs)
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            "the reference interpreter (LiteRT) refuses the model",
            where=str(error).strip(),
            hint="convert the model again; the file must be one that LiteRT runs",
        ) from error


def _run(interpreter: Any, plan: Plan, inputs: Arrays) -> Vectors:
    names = [port.name for port in plan.outputs]
    outputs: dict[str, list[Array]] = {name: [] for name in names}
    layers: dict[str, Array] = {}
    for i in range(len(next(iter(inputs.values()), ()))):
        for port, detail in zip(plan.inputs, interpreter.get_input_details(), strict=True):
            interpreter.set_tensor(detail["index"], inputs[port.name][i])
        interpreter.invoke()
        for name, detail in zip(names, interpreter.get_output_details(), strict=True):
            outputs[name].append(interpreter.get_tensor(detail["index"]))
        if i == 0:
            layers = {step.name: _layer(interpreter, plan.graph, step.output) for step in plan.steps}
    return Vectors(inputs, {name: _stack(plan, name, rows) for name, rows in outputs.items()}, layers)


def _layer(interpreter: Any, graph: Graph, index: int) -> Array:
    return np.asarray(interpreter.get_tensor(index)).reshape(graph.tensors[index].shape)


def _stack(plan: Plan, name: str, rows: list[Array]) -> Array:
    tensor = _tensor(plan, name)
    return np.array(rows, dtype=tensor.dtype).reshape(len(rows), *tensor.shape)


def _tensor(plan: Plan, name: str) -> Tensor:
    return next(plan.graph.tensors[port.tensor] for port in plan.outputs if port.name == name)


def _interpreter(model: bytes) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError as error:
        raise ToolError(
            "the reference interpreter (LiteRT) is not installed",
            where=str(error),
            hint="pip install 'tinykiln[verify]' (Linux or macOS, x86-64 or Arm64)",
        ) from error
    _check_version()
    interpreter = Interpreter(
        model_content=model,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    return interpreter


def _check_version() -> None:
    """LiteRT before 1.3 rounds FULLY_CONNECTED in fixed point: its vectors would fail right firmware."""
    try:
        version = metadata.version("ai-edge-litert")
    except metadata.PackageNotFoundError:
        return  # a build of the user's own
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_LITERT:
        raise ToolError(
            f"the reference interpreter (LiteRT) is too old: expected 1.3 or newer, got {version}",
            hint="pip install --upgrade ai-edge-litert",
        )


def vectors_to_npz(vectors: Vectors) -> bytes:
    """The vectors as an .npz file: arrays inputs/<name>, outputs/<name>, layers/<step>. Same vectors, same bytes."""
    groups = {"inputs": vectors.inputs, "outputs": vectors.outputs, "layers": vectors.layers}
    arrays: dict[str, Any] = {
        f"{group}/{name}": array for group, named in groups.items() for name, array in named.items()
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def vectors_from_npz(path: Path) -> Vectors:
    """The reverse of `vectors_to_npz`. Raises VectorError where the file is missing or damaged."""
    if not path.exists():
        raise VectorError(
            "the project has no golden vectors",
            where=str(path),
            hint="generate it again where LiteRT is installed: pip install 'tinykiln[verify]'",
        )
    groups: dict[str, dict[str, Array]] = {"inputs": {}, "outputs": {}, "layers": {}}
    for key, array in _read_npz(path).items():
        group, _, name = key.partition("/")
        groups.setdefault(group, {})[name] = array
    vectors = Vectors(groups["inputs"], groups["outputs"], groups["layers"])
    if not vectors.inputs or not vectors.outputs:
        raise VectorError(
            "the file holds no golden vectors", where=str(path), hint="generate the project again with LiteRT installed"
        )
    return vectors


def read_inputs(path: Path, inputs: Sequence[TensorSpec]) -> Arrays:
    """The user's own inputs: one array per input tensor, (N, *tensor shape), the same N for all.

    Arrays of other names are not read. Raises VectorError.
    """
    arrays = _read_npz(path)
    found: dict[str, Array] = {}
    for spec in inputs:
        if spec.name not in arrays:
            raise VectorError(
                f"no array '{spec.name}' for the model's input",
                where=f"{path} has {', '.join(plain_name(key) for key in sorted(arrays)) or 'nothing'}",
                hint=f"numpy.savez(file, {spec.name}=array of shape (N, {_text(spec.shape)}), dtype {spec.dtype})",
            )
        found[spec.name] = _checked(arrays[spec.name], spec, path)
    counts = {name: len(array) for name, array in found.items()}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        raise VectorError(
            f"expected the same number of vectors, at least one, in every array, got {counts}", where=str(path)
        )
    return found


def read_labels(path: Path, inputs: Arrays) -> Array | None:
    """The array `labels` beside the inputs, one class index for each, if there is one. Raises VectorError."""
    labels = _read_npz(path).get("labels")
    count = len(next(iter(inputs.values())))
    if labels is not None and (labels.shape != (count,) or labels.dtype.kind not in "iu"):
        raise VectorError(
            f"array 'labels': expected {count} integers, got {labels.dtype} of shape ({_text(labels.shape)})",
            where=str(path),
        )
    return labels


def _checked(array: Array, spec: TensorSpec, path: Path) -> Array:
    if array.dtype != spec.dtype or array.shape[1:] != tuple(spec.shape) or array.ndim == 0:
        raise VectorError(
            f"array '{spec.name}': expected {spec.dtype} of shape (N, {_text(spec.shape)}), "
            f"got {array.dtype} of shape ({_text(array.shape)})",
            where=str(path),
            hint=_shape_hint(array, spec),
        )
    return array


def _shape_hint(array: Array, spec: TensorSpec) -> str:
    if array.dtype == spec.dtype and spec.shape[:1] == (1,) and array.shape[1:] == tuple(spec.shape[1:]):
        return f"the model's batch dimension is missing: {spec.name}[:, None]"
    return "values are quantised as the model's header says: q = real / scale + zero"


def _text(shape: Sequence[int]) -> str:
    return ", ".join(str(n) for n in shape)


def _read_npz(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except OSError as error:
        raise VectorError(f"cannot read vectors: {error.strerror or error}", where=str(path)) from error
    except (ValueError, TypeError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        hint = "numpy.savez writes such a file"
        raise VectorError(f"{path.name} is no .npz file, or a damaged one", where=str(path), hint=hint) from error
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise VectorError(f"'{plain_name(key)}' is no array", where=str(path), hint="numpy.savez writes arrays")
    return arrays
