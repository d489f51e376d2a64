"""Writes .tflite files for tests: small models, and models that are wrong in a chosen way.

    model = Model()
    x = model.input((1, 8, 8, 3), scale=0.05, zero=-3)
    y = model.conv2d(x, weights, bias, weight_scales=[0.01] * 16, scale=0.1, zero=4, stride=(2, 2), activation="RELU")
    model.output(y)
    data = model.to_bytes()

Every method that adds an operator returns the index of its output tensor. Shapes of outputs are computed, unless
`shape` is given; `scale` and `zero` are those of the output. Pairs are (vertical, horizontal). `Model.tensor` and
`Model.operator` are what the others stand on: with them a model can be made wrong in any way.

`random_conv2d` and its siblings draw weights and bias from a NumPy generator and choose an output scale that uses
most of the int8 range. The same calls with a generator of the same seed give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
import tflite

Array = npt.NDArray[Any]
Pair = tuple[int, int]
Options = dict[str, Any]
Code = tuple[int, int, str | None, int | None]

TYPES = {name.lower(): code for name, code in vars(tflite.TensorType).items() if name.isupper()}
KINDS = {name: code for name, code in vars(tflite.BuiltinOperator).items() if name.isupper()}
ACTIVATIONS = {name: code for name, code in vars(tflite.ActivationFunctionType).items() if name.isupper()}
PADDINGS = {"SAME": 0, "VALID": 1}


@dataclass
class TensorRecord:
    """A tensor as it goes into the file. `buffer` shares the data of another tensor's buffer where it is set."""

    name: str | bytes | None
    shape: Sequence[int]
    dtype: str | int
    scales: Sequence[float] = ()
    zeros: Sequence[int] = ()
    axis: int = 0
    data: bytes | None = None
    buffer: int | None = None
    variable: bool = False
    shape_signature: Sequence[int] | None = None
    sparse: bool = False


@dataclass
class OperatorRecord:
    """An operator as it goes into the file. `table` names the options' table ("Conv2DOptions"), or is empty.

    The file has an older and a newer field for the kind; `old_code` makes the older one differ.
    """

    kind: str | int
    inputs: Sequence[int]
    outputs: Sequence[int]
    table: str = ""
    options: Options = field(default_factory=dict)
    version: int = 1
    custom: str | None = None
    old_code: int | None = None
    intermediates: Sequence[int] = ()


@dataclass
class Model:
    """A model under construction. Its lists may be changed at will before `to_bytes`."""

    tensors: list[TensorRecord] = field(default_factory=list)
    operators: list[OperatorRecord] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    subgraphs: int = 1
    schema_version: int = 3

    # ---- tensors ----

    def tensor(self, shape: Sequence[int], dtype: str | int = "int8", *, scales: Sequence[float] = (),
               zeros: Sequence[int] = (), axis: int = 0, data: Array | bytes | None = None,
               name: str | bytes | None = "", **more: Any) -> int:
        """Add a tensor; an empty name becomes `t<index>`, None leaves the name out. `more` goes to TensorRecord."""
        raw = data.tobytes() if isinstance(data, np.ndarray) else data
        label = f"t{len(self.tensors)}" if name == "" else name
        self.tensors.append(TensorRecord(label, tuple(shape), dtype, tuple(scales), tuple(zeros), axis, raw, **more))
        return len(self.tensors) - 1

    def activation(self, shape: Sequence[int], scale: float, zero: int, dtype: str = "int8", name: str = "") -> int:
        """Add a tensor with one scale and zero point; a float32 tensor has neither."""
        quantised = dtype != "float32"
        return self.tensor(shape, dtype, scales=[scale] if quantised else (), zeros=[zero] if quantised else (),
                           name=name)

    def input(self, shape: Sequence[int], scale: float = 0.05, zero: int = 0, dtype: str = "int8",
              name: str = "") -> int:
        """Add an input of the model."""
        index = self.activation(shape, scale, zero, dtype, name)
        self.inputs.append(index)
        return index

    def output(self, index: int) -> int:
        """Make a tensor an output of the model."""
        self.outputs.append(index)
        return index

    def constant(self, data: Array, scale: float, zero: int = 0, name: str = "") -> int:
        """Add a constant of one scale, for example an operand of ADD."""
        return self.tensor(data.shape, str(data.dtype), scales=[scale], zeros=[zero], data=data, name=name)

    def shape(self, index: int) -> tuple[int, ...]:
        """The shape of a tensor."""
        return tuple(self.tensors[index].shape)

    def scale(self, index: int) -> float:
        """The first scale of a tensor."""
        return float(self.tensors[index].scales[0])

    def zero(self, index: int) -> int:
        """The first zero point of a tensor."""
        return int(self.tensors[index].zeros[0])

    # ---- operators ----

    def operator(self, kind: str | int, inputs: Sequence[int], outputs: Sequence[int], table: str = "",
                 options: Options | None = None, version: int = 1, **more: Any) -> int:
        """Add an operator of any kind; `more` goes to OperatorRecord. Returns its first output."""
        self.operators.append(OperatorRecord(kind, inputs, outputs, table, options or {}, version, **more))
        return outputs[0] if outputs else -1

    def conv2d(self, x: int, weights: Array, bias: Array | None, *, weight_scales: Sequence[float], scale: float,
               zero: int = 0, stride: Pair = (1, 1), dilation: Pair = (1, 1), padding: str = "SAME",
               activation: str = "NONE", shape: Sequence[int] | None = None) -> int:
        """CONV_2D: int8 weights (O, kh, kw, C / groups), int32 bias (O,); one weight scale, or one an output."""
        out = shape or self._image(x, weights.shape[1:3], stride, dilation, padding, weights.shape[0])
        inputs = [x, *self._parameters(x, weights, bias, weight_scales, 0)]
        options = self._window_options(stride, dilation, padding, activation)
        return self.operator("CONV_2D", inputs, [self.activation(out, scale, zero)], "Conv2DOptions", options, 3)

    def depthwise_conv2d(self, x: int, weights: Array, bias: Array | None, *, weight_scales: Sequence[float],
                         scale: float, zero: int = 0, stride: Pair = (1, 1), dilation: Pair = (1, 1),
                         padding: str = "SAME", activation: str = "NONE", shape: Sequence[int] | None = None) -> int:
        """DEPTHWISE_CONV_2D: int8 weights (1, kh, kw, C * multiplier), int32 bias (C * multiplier,)."""
        channels = weights.shape[3]
        out = shape or self._image(x, weights.shape[1:3], stride, dilation, padding, channels)
        inputs = [x, *self._parameters(x, weights, bias, weight_scales, 3)]
        options = self._window_options(stride, dilation, padding, activation)
        options["DepthMultiplier"] = channels // self.shape(x)[3]
        return self.operator("DEPTHWISE_CONV_2D", inputs, [self.activation(out, scale, zero)],
                             "DepthwiseConv2DOptions", options, 3)

    def fully_connected(self, x: int, weights: Array, bias: Array | None, *, weight_scales: Sequence[float],
                        scale: float, zero: int = 0, activation: str = "NONE", keep_num_dims: bool = False,
                        shape: Sequence[int] | None = None) -> int:
        """FULLY_CONNECTED: int8 weights (O, I), int32 bias (O,); the output is (batch, O) or (..., O)."""
        units, depth = weights.shape
        size = math.prod(self.shape(x))
        out = shape or ((*self.shape(x)[:-1], units) if keep_num_dims else (size // depth, units))
        inputs = [x, *self._parameters(x, weights, bias, weight_scales, 0)]
        options = {"FusedActivationFunction": ACTIVATIONS[activation], "KeepNumDims": keep_num_dims}
        return self.operator("FULLY_CONNECTED", inputs, [self.activation(out, scale, zero)],
                             "FullyConnectedOptions", options, 5)

    def average_pool2d(self, x: int, kernel: Pair, *, stride: Pair = (1, 1), padding: str = "VALID",
                       activation: str = "NONE", shape: Sequence[int] | None = None) -> int:
        """AVERAGE_POOL_2D; scale and zero point are those of the input."""
        return self._pool2d("AVERAGE_POOL_2D", x, kernel, stride, padding, activation, shape)

    def max_pool2d(self, x: int, kernel: Pair, *, stride: Pair = (1, 1), padding: str = "VALID",
                   activation: str = "NONE", shape: Sequence[int] | None = None) -> int:
        """MAX_POOL_2D; scale and zero point are those of the input."""
        return self._pool2d("MAX_POOL_2D", x, kernel, stride, padding, activation, shape)

    def add(self, a: int, b: int, *, scale: float, zero: int = 0, activation: str = "NONE",
            shape: Sequence[int] | None = None) -> int:
        """ADD of two tensors, with NumPy's broadcasting."""
        out = shape or np.broadcast_shapes(self.shape(a), self.shape(b))
        return self.operator("ADD", [a, b], [self.activation(out, scale, zero)], "AddOptions",
                             {"FusedActivationFunction": ACTIVATIONS[activation]}, 2)

    def reshape(self, x: int, shape: Sequence[int], *, wanted: Sequence[int] | None = None) -> int:
        """RESHAPE to `shape`; `wanted` is what the operand says, for example with a -1."""
        target = np.array(shape if wanted is None else wanted, np.int32)
        operand = self.tensor((len(target),), "int32", data=target)
        out = self.activation(shape, self.scale(x), self.zero(x), str(self.tensors[x].dtype))
        return self.operator("RESHAPE", [x, operand], [out], "ReshapeOptions", {})

    def softmax(self, x: int, *, beta: float = 1.0) -> int:
        """SOFTMAX over the last dimension."""
        return self.operator("SOFTMAX", [x], [self.activation(self.shape(x), 1 / 256, -128)], "SoftmaxOptions",
                             {"Beta": beta}, 2)

    def quantize(self, x: int, *, scale: float, zero: int = 0, dtype: str = "int8") -> int:
        """QUANTIZE: float32, int8 or uint8 to int8 or uint8."""
        return self.operator("QUANTIZE", [x], [self.activation(self.shape(x), scale, zero, dtype)],
                             "QuantizeOptions", {}, 2)

    def dequantize(self, x: int) -> int:
        """DEQUANTIZE to float32."""
        return self.operator("DEQUANTIZE", [x], [self.activation(self.shape(x), 0, 0, "float32")],
                             "DequantizeOptions", {}, 2)

    # ---- random parameters ----

    def random_conv2d(self, rng: np.random.Generator, x: int, channels: int, kernel: Pair = (3, 3), *,
                      groups: int = 1, bias: bool = True, per_channel: bool = True, zero: int | None = None,
                      **more: Any) -> int:
        """CONV_2D with drawn parameters; `more` goes to `conv2d` (stride, dilation, padding, activation)."""
        shape = (channels, *kernel, self.shape(x)[3] // groups)
        return self.conv2d(x, **self._draw(rng, x, shape, channels, math.prod(shape[1:]), bias, per_channel, zero),
                           **more)

    def random_depthwise_conv2d(self, rng: np.random.Generator, x: int, kernel: Pair = (3, 3), *,
                                multiplier: int = 1, bias: bool = True, per_channel: bool = True,
                                zero: int | None = None, **more: Any) -> int:
        """DEPTHWISE_CONV_2D with drawn parameters; `more` goes to `depthwise_conv2d`."""
        channels = self.shape(x)[3] * multiplier
        shape = (1, *kernel, channels)
        return self.depthwise_conv2d(
            x, **self._draw(rng, x, shape, channels, math.prod(kernel), bias, per_channel, zero), **more)

    def random_fully_connected(self, rng: np.random.Generator, x: int, units: int, *, depth: int | None = None,
                               bias: bool = True, per_channel: bool = False, zero: int | None = None,
                               **more: Any) -> int:
        """FULLY_CONNECTED with drawn parameters; `depth` is the last dimension of the input unless given."""
        shape = (units, self.shape(x)[-1] if depth is None else depth)
        return self.fully_connected(x, **self._draw(rng, x, shape, units, shape[1], bias, per_channel, zero), **more)

    def random_add(self, rng: np.random.Generator, a: int, b: int, *, zero: int | None = None, **more: Any) -> int:
        """ADD with an output scale that a sum of two seldom exceeds."""
        scale = float(np.float32(max(self.scale(a), self.scale(b)) * rng.uniform(1.2, 2.0)))
        return self.add(a, b, scale=scale, zero=_zero(rng, zero), **more)

    # ---- the file ----

    def to_bytes(self) -> bytes:
        """The .tflite file."""
        return _write(self)

    # ---- private ----

    def _image(self, x: int, kernel: Sequence[int], stride: Pair, dilation: Pair, padding: str,
               channels: int) -> tuple[int, ...]:
        n, h, w, _ = self.shape(x)
        sizes = [_window_outputs(size, kernel[i], stride[i], dilation[i], padding) for i, size in enumerate((h, w))]
        return (n, *sizes, channels)

    def _parameters(self, x: int, weights: Array, bias: Array | None, scales: Sequence[float],
                    axis: int) -> list[int]:
        w = self.tensor(weights.shape, "int8", scales=scales, zeros=[0] * len(scales), axis=axis, data=weights)
        if bias is None:
            return [w]
        bias_scales = [float(np.float32(self.scale(x)) * np.float32(scale)) for scale in scales]
        b = self.tensor(bias.shape, "int32", scales=bias_scales, zeros=[0] * len(scales), data=bias)
        return [w, b]

    def _window_options(self, stride: Pair, dilation: Pair, padding: str, activation: str) -> Options:
        return {"Padding": PADDINGS[padding], "StrideH": stride[0], "StrideW": stride[1],
                "DilationHFactor": dilation[0], "DilationWFactor": dilation[1],
                "FusedActivationFunction": ACTIVATIONS[activation]}

    def _pool2d(self, kind: str, x: int, kernel: Pair, stride: Pair, padding: str, activation: str,
                shape: Sequence[int] | None) -> int:
        out = shape or self._image(x, kernel, stride, (1, 1), padding, self.shape(x)[3])
        options = {"Padding": PADDINGS[padding], "StrideH": stride[0], "StrideW": stride[1],
                   "FilterHeight": kernel[0], "FilterWidth": kernel[1],
                   "FusedActivationFunction": ACTIVATIONS[activation]}
        y = self.activation(out, self.scale(x), self.zero(x))
        return self.operator(kind, [x], [y], "Pool2DOptions", options, 2)

    def _draw(self, rng: np.random.Generator, x: int, shape: Sequence[int], channels: int, taps: int, bias: bool,
              per_channel: bool, zero: int | None) -> dict[str, Any]:
        """Weights and bias with scales such that the sums spread over most of an output of about the input's scale."""
        spread = 74.0 * 74.0 * math.sqrt(taps)
        unit = 50.0 / spread
        scales = [float(np.float32(unit * s)) for s in rng.uniform(0.5, 1.5, channels if per_channel else 1)]
        drawn = rng.integers(-int(spread), int(spread) + 1, channels, np.int32)
        return {"weights": rng.integers(-127, 128, shape, np.int8), "bias": drawn if bias else None,
                "weight_scales": scales, "zero": _zero(rng, zero),
                "scale": float(np.float32(self.scale(x) * rng.uniform(0.8, 1.2)))}


def residual_network(seed: int = 1) -> bytes:
    """A small residual network of ten operators, input (1, 8, 8, 3), output (1, 4): the model of the golden files."""
    rng = np.random.default_rng(seed)
    model = Model()
    image = model.input((1, 8, 8, 3), scale=0.03125, zero=-1, name="image")
    stem = model.random_conv2d(rng, image, 8, stride=(2, 2), activation="RELU", zero=-128)
    a = model.random_depthwise_conv2d(rng, stem, activation="RELU6", zero=-128)
    b = model.random_conv2d(rng, a, 8, (1, 1))
    total = model.random_add(rng, stem, b, activation="RELU", zero=-128)
    wide = model.random_depthwise_conv2d(rng, total, multiplier=2, padding="VALID", per_channel=False)
    small = model.max_pool2d(wide, (2, 2), padding="SAME")
    mean = model.average_pool2d(small, (2, 2))
    flat = model.reshape(mean, (1, 16), wanted=(-1, 16))
    logits = model.random_fully_connected(rng, flat, 4)
    model.output(model.softmax(logits))
    model.tensors[model.outputs[0]].name = "scores"
    return model.to_bytes()


def _zero(rng: np.random.Generator, zero: int | None) -> int:
    return int(rng.integers(-20, 21)) if zero is None else zero


def _window_outputs(size: int, kernel: int, stride: int, dilation: int, padding: str) -> int:
    reach = (kernel - 1) * dilation + 1
    return -(-size // stride) if padding == "SAME" else (size + stride - reach) // stride


# ---- flatbuffers ----


def _write(model: Model) -> bytes:
    builder = flatbuffers.Builder(1024)
    codes = _codes(model)
    buffers: list[bytes] = [b""]
    tensors = [_tensor(builder, record, buffers) for record in model.tensors]
    operators = [_operator(builder, record, codes) for record in model.operators]
    graph = _subgraph(builder, model, tensors, operators)
    fields = {
        "Version": model.schema_version,
        "OperatorCodes": _tables(builder, [_code(builder, *code) for code in codes]),
        "Subgraphs": _tables(builder, [graph] * model.subgraphs),
        "Description": builder.CreateString("TinyKiln test model"),
        "Buffers": _tables(builder, [_buffer(builder, data) for data in buffers]),
    }
    builder.Finish(_table(builder, "Model", fields), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _codes(model: Model) -> list[Code]:
    return list(dict.fromkeys(_code_of(record) for record in model.operators))


def _code_of(record: OperatorRecord) -> Code:
    kind = KINDS[record.kind] if isinstance(record.kind, str) else record.kind
    return kind, record.version, record.custom, record.old_code


def _table(builder: Any, name: str, fields: Options) -> int:
    """Write a table of the schema; what its fields point to must have been written before."""
    getattr(tflite, f"{name}Start")(builder)
    for key, value in fields.items():
        if value is not None:
            add: Callable[[Any, Any], None] = getattr(tflite, f"{name}Add{key}")
            add(builder, value)
    return int(getattr(tflite, f"{name}End")(builder))


def _tables(builder: Any, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _vector(builder: Any, values: Sequence[Any], dtype: str) -> int:
    return int(builder.CreateNumpyVector(np.array(values, dtype)))


def _text(builder: Any, text: str | bytes | None) -> int | None:
    return None if text is None else int(builder.CreateString(text))


def _code(builder: Any, kind: int, version: int, custom: str | None, old_code: int | None) -> int:
    fields = {"CustomCode": _text(builder, custom), "BuiltinCode": kind, "Version": version,
              "DeprecatedBuiltinCode": min(kind, 127) if old_code is None else old_code}
    return _table(builder, "OperatorCode", fields)


def _buffer(builder: Any, data: bytes) -> int:
    if not data:
        return _table(builder, "Buffer", {})
    builder.StartVector(1, len(data), 16)
    builder.head -= len(data)
    builder.Bytes[builder.head:builder.head + len(data)] = data
    return _table(builder, "Buffer", {"Data": builder.EndVector()})


def _quantization(builder: Any, record: TensorRecord) -> int | None:
    if not record.scales and not record.zeros:
        return None
    fields = {"Scale": _vector(builder, record.scales, "<f4"), "ZeroPoint": _vector(builder, record.zeros, "<i8"),
              "QuantizedDimension": record.axis}
    return _table(builder, "QuantizationParameters", fields)


def _tensor(builder: Any, record: TensorRecord, buffers: list[bytes]) -> int:
    buffer = record.buffer or 0
    if record.data is not None and record.buffer is None:
        buffers.append(record.data)
        buffer = len(buffers) - 1
    signature = record.shape_signature
    fields = {
        "Name": _text(builder, record.name),
        "Shape": _vector(builder, record.shape, "<i4"),
        "ShapeSignature": None if signature is None else _vector(builder, signature, "<i4"),
        "Quantization": _quantization(builder, record),
        "Sparsity": _table(builder, "SparsityParameters", {}) if record.sparse else None,
        "Type": TYPES[record.dtype] if isinstance(record.dtype, str) else record.dtype,
        "Buffer": buffer,
        "IsVariable": record.variable,
    }
    return _table(builder, "Tensor", fields)


def _operator(builder: Any, record: OperatorRecord, codes: list[Code]) -> int:
    options = {key: _vector(builder, value, "<i4") if isinstance(value, (list, tuple)) else value
               for key, value in record.options.items()}
    table = _table(builder, record.table, options) if record.table else None
    fields = {
        "OpcodeIndex": codes.index(_code_of(record)),
        "Inputs": _vector(builder, record.inputs, "<i4"),
        "Outputs": _vector(builder, record.outputs, "<i4"),
        "Intermediates": _vector(builder, record.intermediates, "<i4") if record.intermediates else None,
        "BuiltinOptionsType": getattr(tflite.BuiltinOptions, record.table) if record.table else 0,
        "BuiltinOptions": table,
    }
    return _table(builder, "Operator", fields)


def _subgraph(builder: Any, model: Model, tensors: Sequence[int], operators: Sequence[int]) -> int:
    fields = {
        "Tensors": _tables(builder, tensors),
        "Inputs": _vector(builder, model.inputs, "<i4"),
        "Outputs": _vector(builder, model.outputs, "<i4"),
        "Operators": _tables(builder, operators),
        "Name": builder.CreateString("main"),
    }
    return _table(builder, "SubGraph", fields)
