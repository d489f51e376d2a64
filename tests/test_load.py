"""Loading .tflite files: real models, every operator, and the exact text of what is refused."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from litert import random_inputs, run
from real_models import real_model
from tflite_writer import Array, Model, residual_network
from tinykiln.errors import ModelError
from tinykiln.graph import ABSENT, UNUSED, Conv2D, DepthwiseConv2D, Graph, Pool2D, Window
from tinykiln.load import load, model_name, supported_ops
from tinykiln.load.tflite_options import READERS
from tinykiln.rules import OPERATORS

ALL_OPERATORS = ("ADD, AVERAGE_POOL_2D, CONV_2D, DEPTHWISE_CONV_2D, DEQUANTIZE, FULLY_CONNECTED, MAX_POOL_2D, "
                 "QUANTIZE, RESHAPE, SOFTMAX")
Build = Callable[[Model, np.random.Generator], int]
Change = Callable[[Model], object]


def load_bytes(data: bytes, tmp_path: Path, name: str = "m") -> Graph:
    path = tmp_path / f"{name}.tflite"
    path.write_bytes(data)
    return load(path)


def built(build: Build) -> Model:
    model = Model()
    model.output(build(model, np.random.default_rng(3)))
    return model


def image(model: Model, channels: int = 4) -> int:
    return model.input((1, 9, 7, channels))


# ---- real models ----


@pytest.mark.parametrize(("name", "tensors", "operators", "shape", "classes"), [
    ("ad01_int8", 31, 10, (1, 640), (1, 640)),
    ("kws_ref_model", 35, 13, (1, 49, 10, 1), (1, 12)),
    ("pretrainedResnet_quant", 38, 16, (1, 32, 32, 3), (1, 10)),
    ("str_ww_ref_model", 31, 11, (1, 30, 1, 40), (1, 3)),
    ("vww_96_int8", 89, 31, (1, 96, 96, 3), (1, 2)),
    ("hello_world_int8", 10, 3, (1, 1), (1, 1)),
    ("micro_speech_quantized", 10, 4, (1, 1960), (1, 4)),
])
def test_real_models_load(name: str, tensors: int, operators: int, shape: tuple[int, ...],
                          classes: tuple[int, ...]) -> None:
    graph = load(real_model(name))
    assert graph.name == name.lower()
    assert graph.digest == f"sha256:{hashlib.sha256(real_model(name).read_bytes()).hexdigest()}"
    assert (len(graph.tensors), len(graph.operators)) == (tensors, operators)
    assert [graph.tensors[i].shape for i in graph.inputs] == [shape]
    assert [graph.tensors[i].shape for i in graph.outputs] == [classes]


def test_kws_operators_are_what_the_file_says() -> None:
    graph = load(real_model("kws_ref_model"))
    first, second = graph.operators[0].options, graph.operators[1].options
    assert first == Conv2D(Window((10, 4), (2, 2), (1, 1), (4, 1)), "RELU")
    assert second == DepthwiseConv2D(Window((3, 3), (1, 1), (1, 1), (1, 1)), "RELU")
    assert graph.operators[9].options == Pool2D(Window((25, 5), (25, 5)), "NONE")
    assert graph.operators[10].kind == "RESHAPE" and len(graph.operators[10].inputs) == 1


def test_loading_is_fast() -> None:
    path = real_model("vww_96_int8")
    times = []
    for _ in range(5):
        start = time.process_time()
        load(path)
        times.append(time.process_time() - start)
    assert min(times) < 0.15, times


# ---- what is refused in real models ----


def refusal(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load(path)
    assert caught.value.where == str(path)
    return caught.value


def test_float_model_is_refused() -> None:
    error = refusal(real_model("hello_world_float"))
    assert error.what == """\
hello_world_float.tflite cannot be compiled: 3 problems
    operator 0 FULLY_CONNECTED, tensor 'sequential/dense/MatMul;sequential/dense/Relu;sequential/dense/BiasAdd' \
(float32): float32, float32, float32 -> float32 is not supported
    operator 1 FULLY_CONNECTED, tensor 'sequential/dense_1/MatMul;sequential/dense_1/Relu;sequential/dense_1/BiasAdd' \
(float32): float32, float32, float32 -> float32 is not supported
    operator 2 FULLY_CONNECTED, tensor 'StatefulPartitionedCall:0' (float32): \
float32, float32, float32 -> float32 is not supported"""
    assert error.hint == "convert the model with full integer quantisation (int8 weights and activations)"


def test_svdf_model_is_refused() -> None:
    error = refusal(real_model("keyword_scrambled_8bit"))
    assert error.what == """\
keyword_scrambled_8bit.tflite cannot be compiled: 10 problems
    operator 0 QUANTIZE, tensor '' (int8): int16 -> int8 is not supported
    operator 1 SVDF, tensor '' (int8): the operator is not supported
    operator 3 SVDF, tensor '' (int8): the operator is not supported
    operator 5 SVDF, tensor '' (int8): the operator is not supported
    operator 7 SVDF, tensor '' (int8): the operator is not supported
    operator 9 SVDF, tensor '' (int8): the operator is not supported
    operator 10 SVDF, tensor '' (int8): the operator is not supported
    operator 11 SVDF, tensor '' (int8): the operator is not supported
    operator 13 SOFTMAX, tensor '' (int16): int8 -> int16 is not supported
    operator 14 QUANTIZE, tensor '' (int32): int16 -> int32 is not supported"""
    assert error.hint == (
        "QUANTIZE takes float32 -> int8, or int8 -> int8, or uint8 -> int8, or int8 -> uint8; "
        f"supported operators are {ALL_OPERATORS}; SOFTMAX takes int8 -> int8")


def test_lstm_model_is_refused() -> None:
    error = refusal(real_model("trained_lstm_int8"))
    assert error.what == """\
trained_lstm_int8.tflite cannot be compiled: 1 problem
    operator 0 UNIDIRECTIONAL_SEQUENCE_LSTM, tensor 'tfl.unidirectional_sequence_lstm' (int8): \
the operator is not supported"""
    assert error.hint == f"supported operators are {ALL_OPERATORS}"


def test_streaming_model_is_refused_with_every_operator() -> None:
    error = refusal(real_model("alexa_v2"))
    lines = error.what.splitlines()
    assert lines[:3] == [
        "alexa_v2.tflite cannot be compiled: 33 problems",
        "    the model has 2 subgraphs",
        "    operator 0 CALL_ONCE, tensor 'serving_default_input_audio:0' (int8): the operator is not supported",
    ]
    kinds = [line.split()[2].rstrip(",") for line in lines[2:]]
    assert [kinds.count(kind) for kind in ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CONCATENATION",
                                           "STRIDED_SLICE", "LOGISTIC")] == [6, 6, 6, 6, 6, 1]
    assert len(kinds) == 32


# ---- every operator loads, and LiteRT runs it ----


SINGLE: dict[str, Build] = {
    "conv": lambda m, r: m.random_conv2d(r, image(m), 6, (3, 2), stride=(2, 1), dilation=(1, 2)),
    "conv_groups": lambda m, r: m.random_conv2d(r, image(m), 6, groups=2, activation="RELU"),
    "conv_depthwise_groups": lambda m, r: m.random_conv2d(r, image(m), 8, groups=4, padding="VALID"),
    "conv_per_tensor": lambda m, r: m.random_conv2d(r, image(m), 6, per_channel=False, activation="RELU_N1_TO_1"),
    "conv_batch": lambda m, r: m.random_conv2d(r, m.input((3, 5, 5, 2)), 4, activation="RELU6"),
    "depthwise": lambda m, r: m.random_depthwise_conv2d(r, image(m), dilation=(2, 2)),
    "depthwise_multiplier": lambda m, r: m.random_depthwise_conv2d(r, image(m), multiplier=3, stride=(1, 2)),
    "depthwise_per_tensor": lambda m, r: m.random_depthwise_conv2d(r, image(m), per_channel=False),
    "depthwise_no_bias": lambda m, r: m.random_depthwise_conv2d(r, image(m), bias=False),
    "fully_connected": lambda m, r: m.random_fully_connected(r, m.input((3, 20)), 5, activation="RELU"),
    "fully_connected_no_bias": lambda m, r: m.random_fully_connected(r, m.input((3, 20)), 5, bias=False),
    "fully_connected_per_channel": lambda m, r: m.random_fully_connected(r, m.input((3, 20)), 5, per_channel=True),
    "fully_connected_flatten": lambda m, r: m.random_fully_connected(r, image(m), 5, depth=28),
    "fully_connected_all": lambda m, r: m.random_fully_connected(r, image(m), 5, depth=252),
    "fully_connected_keep": lambda m, r: m.random_fully_connected(r, image(m), 5, keep_num_dims=True),
    "average_pool": lambda m, r: m.average_pool2d(image(m), (3, 2), stride=(2, 1), padding="SAME", activation="RELU"),
    "max_pool": lambda m, r: m.max_pool2d(image(m), (2, 3), stride=(2, 2), activation="RELU6"),
    "add": lambda m, r: m.random_add(r, image(m), image(m), activation="RELU"),
    "add_broadcast": lambda m, r: m.random_add(r, m.input((7, 1)), image(m)),
    "add_constant": lambda m, r: m.random_add(r, image(m), m.constant(np.array([1, -2, 3, -128], np.int8), 0.1, 5)),
    "add_scalar": lambda m, r: m.random_add(r, m.constant(np.array(7, np.int8), 0.1), image(m)),
    "add_same": lambda m, r: m.random_add(r, m.input((2, 3)), 0),
    "reshape": lambda m, r: m.reshape(image(m), (9, 28), wanted=(-1, 28)),
    "softmax": lambda m, r: m.softmax(m.input((3, 7), scale=0.1), beta=0.5),
    "softmax_4d": lambda m, r: m.softmax(image(m)),
    "quantize_float": lambda m, r: m.quantize(m.input((2, 3), dtype="float32"), scale=0.02, zero=3),
    "quantize_uint8": lambda m, r: m.quantize(m.input((2, 3), 0.02, 128, "uint8"), scale=0.02),
    "quantize_int8": lambda m, r: m.quantize(m.input((2, 3)), scale=0.02, zero=-7),
    "quantize_to_uint8": lambda m, r: m.quantize(m.input((2, 3)), scale=0.07, zero=100, dtype="uint8"),
    "dequantize": lambda m, r: m.dequantize(m.input((2, 3))),
}


@pytest.mark.parametrize("name", SINGLE)
def test_written_models_load_and_run_in_litert(name: str, tmp_path: Path) -> None:
    data = built(SINGLE[name]).to_bytes()
    graph = load_bytes(data, tmp_path)
    outputs = run(data, random_inputs(data))
    assert [graph.tensors[i].shape for i in graph.outputs] == [output.shape for output in outputs]
    assert [graph.tensors[i].dtype for i in graph.outputs] == [str(output.dtype) for output in outputs]
    assert len(np.unique(outputs[0])) > 1


def test_written_models_cover_every_operator_and_signature(tmp_path: Path) -> None:
    seen = set()
    for build in SINGLE.values():
        graph = load_bytes(built(build).to_bytes(), tmp_path)
        for operator in graph.operators:
            dtypes = (graph.tensors[i].dtype for i in operator.inputs if i != ABSENT)
            seen.add((operator.kind, f"{', '.join(dtypes)} -> {graph.tensors[operator.outputs[0]].dtype}"))
    assert seen >= {(op.kind, dtypes) for op in supported_ops() for dtypes in op.dtypes}


def test_residual_network_is_deterministic_and_runs(tmp_path: Path) -> None:
    data = residual_network()
    assert data == residual_network()
    graph = load_bytes(data, tmp_path)
    assert [operator.kind for operator in graph.operators] == [
        "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "ADD", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "AVERAGE_POOL_2D",
        "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"]
    scores = [run(data, random_inputs(data, seed))[0] for seed in range(8)]
    assert len({output.tobytes() for output in scores}) == 8


def test_tensors_keep_their_indices_and_unused_ones_are_empty(tmp_path: Path) -> None:
    model = built(SINGLE["reshape"])
    model.tensor((5, -1), "int64", name="stray")
    graph = load_bytes(model.to_bytes(), tmp_path)
    assert [tensor.name for tensor in graph.tensors] == ["t0", "", "t2", ""]
    assert graph.tensors[1] is UNUSED and graph.tensors[3] is UNUSED
    assert graph.operators[0].inputs == (0,) and graph.operators[0].outputs == (2,)


def test_constants_are_read_only_views_of_the_right_type(tmp_path: Path) -> None:
    weights = np.arange(-12, 12, dtype=np.int8).reshape(2, 2, 2, 3)
    bias = np.array([1000, -70000], np.int32)
    graph = load_bytes(built(lambda m, r: m.conv2d(image(m, 3), weights, bias, weight_scales=[0.01, 0.02],
                                                   scale=0.1)).to_bytes(), tmp_path)
    wanted: list[Array] = [weights, bias]
    for index, expected in zip(graph.operators[0].inputs[1:], wanted, strict=True):
        data = graph.tensors[index].data
        assert data is not None and data.dtype == expected.dtype and not data.flags.writeable
        np.testing.assert_array_equal(data, expected)


# ---- windows mean what LiteRT means ----


def expected_conv(x: Array, weights: Array, window: Window, shape: tuple[int, ...]) -> Array:
    """Depthwise sums as the Graph's Window defines them, saturated to int8."""
    sums = np.zeros(shape, np.int64)
    for y in range(shape[1]):
        for c in range(shape[2]):
            for i in range(window.kernel[0]):
                for j in range(window.kernel[1]):
                    row = y * window.stride[0] - window.pad[0] + i * window.dilation[0]
                    column = c * window.stride[1] - window.pad[1] + j * window.dilation[1]
                    if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                        sums[:, y, c] += x[:, row, column].astype(np.int64) * weights[0, i, j]
    return np.clip(sums, -128, 127)


def pair(rng: np.random.Generator, low: int, high: int) -> tuple[int, int]:
    return int(rng.integers(low, high)), int(rng.integers(low, high))


@pytest.mark.parametrize("seed", range(60))
def test_windows_mean_what_litert_means(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    size, kernel, stride, dilation = (pair(rng, *limits) for limits in ((3, 12), (1, 5), (1, 5), (1, 4)))
    padding = "VALID" if all((kernel[i] - 1) * dilation[i] < size[i] for i in (0, 1)) and seed % 2 else "SAME"
    weights = rng.integers(-3, 4, (1, *kernel, 2), np.int8)
    model = Model()
    x = model.input((1, *size, 2), scale=1.0)
    model.output(model.depthwise_conv2d(x, weights, np.zeros(2, np.int32), weight_scales=[1.0], scale=1.0,
                                        stride=stride, dilation=dilation, padding=padding))
    graph = load_bytes(model.to_bytes(), tmp_path)
    values = rng.integers(-10, 11, (1, *size, 2), np.int8)
    output, options = run(model.to_bytes(), [values])[0], graph.operators[0].options
    assert isinstance(options, DepthwiseConv2D)
    np.testing.assert_array_equal(output, expected_conv(values, weights, options.window, output.shape))


# ---- messages ----


def options(**changes: object) -> Change:
    return lambda m: m.operators[0].options.update(changes)


def tensor(index: int, **changes: object) -> Change:
    return lambda m: m.tensors.__setitem__(index, replace(m.tensors[index], **changes))  # type: ignore[arg-type]


def operator(**changes: object) -> Change:
    return lambda m: m.operators.__setitem__(0, replace(m.operators[0], **changes))  # type: ignore[arg-type]


CONV, FC, DW = "operator 0 CONV_2D", "operator 0 FULLY_CONNECTED", "operator 0 DEPTHWISE_CONV_2D"

REFUSED: list[tuple[str, Change, str]] = [
    ("conv", options(FusedActivationFunction=4),
     f"{CONV}, tensor 't3' (int8): has the fused activation TANH; supported are NONE, RELU, RELU6, RELU_N1_TO_1"),
    ("fully_connected", options(FusedActivationFunction=5), f"{FC}, tensor 't3' (int8): has the fused activation "
     "SIGN_BIT; supported are NONE, RELU, RELU6, RELU_N1_TO_1"),
    ("conv", options(FusedActivationFunction=77), f"{CONV}, tensor 't3' (int8): has the fused activation 77; "
     "supported are NONE, RELU, RELU6, RELU_N1_TO_1"),
    ("conv", options(StrideH=0), f"{CONV}, tensor 't3' (int8): has a stride, dilation or window below 1"),
    ("conv", options(StrideH=1),
     f"{CONV}, tensor 't3' (int8): makes 5 rows or columns where 9 are computed"),
    ("conv", options(Padding=7), f"{CONV}, tensor 't3' (int8): has the unknown padding 7"),
    ("conv", tensor(3, shape=(1, 5, 7, 8)),
     f"{CONV}, tensor 't3' (int8): has the shape [1, 5, 7, 8] instead of [1, 5, 7, 6]"),
    ("conv", tensor(1, zeros=[0, 0, 3, 0, 0, 0]), f"{CONV}, tensor 't1' (int8): has a zero point that is not 0"),
    ("conv", tensor(1, axis=3), f"{CONV}, tensor 't1' (int8): has 6 scales, which fit no dimension 3 of [6, 3, 2, 4]"),
    ("conv", tensor(0, axis=4), f"{CONV}, tensor 't0' (int8): has 1 scale, which fits no dimension 4 of [1, 9, 7, 4]"),
    ("max_pool", options(StrideW=2**15), "operator 0 MAX_POOL_2D, tensor 't1' (int8): makes 3 rows or columns "
     "where 1 are computed"),
    ("conv", tensor(1, data=None), f"{CONV}, tensor 't1' (int8): is not constant; weights must be"),
    ("conv", tensor(1, data=b"abc"), f"{CONV}, tensor 't1' (int8): data do not match shape [6, 3, 2, 4]"),
    ("conv", tensor(1, dtype="int4"), f"{CONV}, tensor 't3' (int8): int8, int4, int32 -> int8 is not supported"),
    ("conv", tensor(1, sparse=True), f"{CONV}, tensor 't3' (int8): tensor 't1' is sparse"),
    ("conv", tensor(0, variable=True), f"{CONV}, tensor 't3' (int8): tensor 't0' is a variable"),
    ("conv", tensor(0, scales=[], zeros=[]), f"{CONV}, tensor 't0' (int8): has no scale and zero point"),
    ("conv", tensor(0, scales=[float("nan")]),
     f"{CONV}, tensor 't0' (int8): has a scale that is not a positive number"),
    ("conv", tensor(0, zeros=[128]), f"{CONV}, tensor 't0' (int8): has the zero point 128, outside of -128 to 127"),
    ("conv", tensor(0, zeros=[]), f"{CONV}, tensor 't0' (int8): has 1 scales and 0 zero points"),
    ("conv", tensor(0, shape=(1, -1, 7, 4)),
     f"{CONV}, tensor 't0' (int8): has the shape [1, -1, 7, 4]; every dimension must be known and at least 1"),
    ("conv", tensor(2, scales=[1.0] * 6),
     f"{CONV}, tensor 't2' (int32): has a scale that is not input scale * weight scale"),
    ("conv", tensor(2, data=np.full(6, 2**31 - 5000, np.int32).tobytes()),
     f"{CONV}, tensor 't3' (int8): weights and bias are so large that a 32-bit sum can overflow"),
    ("conv", operator(inputs=[0, 1]), f"{CONV}, tensor 't3' (int8): has no bias; the reference kernel needs one"),
    ("conv", operator(inputs=[0, 1, 2, 2]), f"{CONV}, tensor 't3' (int8): has 4 inputs; 3 are supported"),
    ("conv", operator(inputs=[0, 1, 9]), f"{CONV}: refers to tensor 9; there are 4"),
    ("conv", operator(outputs=[3, 3]), f"{CONV}, tensor 't3' (int8): has 2 outputs instead of 1"),
    ("conv", operator(version=9), f"{CONV}, tensor 't3' (int8): has version 9; versions 1 to 8 are supported"),
    ("conv", operator(table=""), f"{CONV}, tensor 't3' (int8): has options NONE instead of Conv2DOptions"),
    ("conv", operator(table="Pool2DOptions", options={}),
     f"{CONV}, tensor 't3' (int8): has options Pool2DOptions instead of Conv2DOptions"),
    ("conv", operator(intermediates=[1]), f"{CONV}, tensor 't3' (int8): has intermediate tensors"),
    ("conv", operator(kind=32, custom="My'Op\n"),
     "operator 0 CUSTOM 'My_Op_', tensor 't3' (int8): the operator is not supported"),
    ("conv", operator(kind="EMBEDDING_LOOKUP", old_code=3),
     "operator 0 EMBEDDING_LOOKUP, tensor 't3' (int8): the operator is not supported"),
    ("conv", operator(kind=250),
     "operator 0 operator code 250, tensor 't3' (int8): the operator is not supported"),
    ("conv", operator(outputs=[2]), f"{CONV}, tensor 't2' (int32): needs an input and an output of 4 dimensions"),
    ("conv_groups", tensor(1, shape=(9, 3, 3, 2), scales=[0.01], zeros=[0], data=bytes(162)),
     f"{CONV}, tensor 't1' (int8): [9, 3, 3, 2] do not divide 4 input channels into equal groups"),
    ("depthwise_multiplier", options(DepthMultiplier=2),
     f"{DW}, tensor 't1' (int8): has the shape [1, 3, 3, 12] instead of [1, 3, 3, 8]"),
    ("fully_connected", options(WeightsFormat=1),
     f"{FC}, tensor 't3' (int8): has shuffled weights; only the default format is supported"),
    ("fully_connected", tensor(0, shape=(3, 21)), f"{FC}, tensor 't1' (int8): [5, 20] do not fit an input of [3, 21]"),
    ("fully_connected_flatten", options(KeepNumDims=True),
     f"{FC}, tensor 't3' (int8): keeps the number of dimensions, but its output has another"),
    ("max_pool", tensor(1, scales=[0.06]),
     "operator 0 MAX_POOL_2D, tensor 't1' (int8): has another scale or zero point than the input"),
    ("average_pool", tensor(1, zeros=[1]),
     "operator 0 AVERAGE_POOL_2D, tensor 't1' (int8): has another scale or zero point than the input"),
    ("add", tensor(2, shape=(1, 9, 7, 5)),
     "operator 0 ADD, tensor 't2' (int8): has the shape [1, 9, 7, 5] instead of [1, 9, 7, 4]"),
    ("add", tensor(1, shape=(1, 9, 6, 4)),
     "operator 0 ADD, tensor 't2' (int8): [1, 9, 7, 4] and [1, 9, 6, 4] cannot be added"),
    ("add", tensor(2, scales=[1e-8]),
     "operator 0 ADD, tensor 't2' (int8): has a scale that is too small for those of the operands"),
    ("reshape", tensor(2, zeros=[1]),
     "operator 0 RESHAPE, tensor 't2' (int8): has another scale or zero point than the input"),
    ("reshape", tensor(1, data=np.array([-1, 27], np.int32).tobytes()),
     "operator 0 RESHAPE, tensor 't2' (int8): reshapes to [-1, 27], but its output has the shape [9, 28]"),
    ("reshape", tensor(1, data=None),
     "operator 0 RESHAPE, tensor 't2' (int8): takes its shape from a tensor that is not constant"),
    ("reshape", operator(inputs=[0]), "operator 0 RESHAPE, tensor 't2' (int8): has no shape to reshape to"),
    ("softmax", tensor(1, zeros=[0]),
     "operator 0 SOFTMAX, tensor 't1' (int8): needs the scale 1/256 and the zero point -128"),
    ("softmax", options(Beta=1e-12),
     "operator 0 SOFTMAX, tensor 't0' (int8): has a scale that is too small for beta = 9.999999960041972e-13"),
    ("quantize_int8", tensor(1, scales=[1e-9]),
     "operator 0 QUANTIZE, tensor 't1' (int8): has a scale that is too small for that of the input"),
    ("quantize_float", tensor(1, dtype="int16"),
     "operator 0 QUANTIZE, tensor 't1' (int16): float32 -> int16 is not supported"),
    ("softmax", tensor(0, shape=(1, 1, 1, 1, 1, 3, 7)),
     "operator 0 SOFTMAX, tensor 't0' (int8): has 7 dimensions; up to 6 are supported"),
    ("dequantize", tensor(0, shape=(65536, 65536)),
     "operator 0 DEQUANTIZE, tensor 't0' (int8): has 4294967296 bytes; up to 2147483647 are supported"),
    ("conv", lambda m: setattr(m, "subgraphs", 2), "the model has 2 subgraphs"),
    ("conv", lambda m: m.operators.clear(), "the model has no operators"),
    ("conv", lambda m: m.inputs.clear(), "the model has no inputs"),
    ("conv", lambda m: m.outputs.clear(), "the model has no outputs"),
    ("conv", lambda m: m.outputs.append(0), "tensor 0 is an input and an output"),
    ("conv", lambda m: m.outputs.append(3), "a tensor is listed twice among the outputs"),
    ("conv", lambda m: m.outputs.append(44), "output tensor 44 does not exist: there are 4 tensors"),
    ("conv", lambda m: m.inputs.append(2), "input 't2' (int32): is a constant"),
    ("add", lambda m: setattr(m.tensors[1], "name", "t0"), "several inputs are named 't0'"),
    ("conv", lambda m: m.operators.append(m.operators[0]),
     "operator 1 CONV_2D: makes tensor 't3', which is there already"),
    ("conv", lambda m: m.inputs.__setitem__(0, m.activation((1, 9, 7, 4), 0.1, 0)),
     "operator 0 CONV_2D: reads tensor 't0' before anything makes it"),
]


@pytest.mark.parametrize(("base", "change", "line"), REFUSED,
                         ids=lambda value: value if isinstance(value, str) else "")
def test_refusals_say_what_and_where(base: str, change: Change, line: str, tmp_path: Path) -> None:
    model = built(SINGLE[base])
    change(model)
    with pytest.raises(ModelError) as caught:
        load_bytes(model.to_bytes(), tmp_path)
    lines = caught.value.what.splitlines()
    assert f"    {line}" in lines[1:]
    count = len(lines) - 1
    assert lines[0] == f"m.tflite cannot be compiled: {'1 problem' if count == 1 else f'{count} problems'}"


def test_the_newer_of_two_kinds_is_enough(tmp_path: Path) -> None:
    model = built(SINGLE["conv"])
    model.operators[0].old_code = 0
    assert load_bytes(model.to_bytes(), tmp_path).operators[0].kind == "CONV_2D"


def test_shape_signature_does_not_matter(tmp_path: Path) -> None:
    model = built(SINGLE["conv"])
    model.tensors[0].shape_signature = (-1, 9, 7, 4)
    assert load_bytes(model.to_bytes(), tmp_path).tensors[0].shape == (1, 9, 7, 4)


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    model = built(lambda m, r: m.random_conv2d(r, m.random_conv2d(r, image(m), 4), 4))
    model.operators[0].options["FusedActivationFunction"] = 4
    model.operators[1].kind = "TANH"
    model.subgraphs = 3
    with pytest.raises(ModelError) as caught:
        load_bytes(model.to_bytes(), tmp_path)
    assert str(caught.value) == f"""\
m.tflite cannot be compiled: 3 problems
    the model has 3 subgraphs
    operator 0 CONV_2D, tensor 't3' (int8): has the fused activation TANH; supported are NONE, RELU, RELU6, RELU_N1_TO_1
    operator 1 TANH, tensor 't6' (int8): the operator is not supported
  where: {tmp_path / "m.tflite"}
  next:  a model of one subgraph is supported; supported operators are {ALL_OPERATORS}"""


# ---- files ----


def test_missing_file(tmp_path: Path) -> None:
    assert str(refusal(tmp_path / "no.tflite")) == f"""\
the model file cannot be read: No such file or directory
  where: {tmp_path / "no.tflite"}
  next:  check the path and its permissions"""


def test_folder_is_no_model(tmp_path: Path) -> None:
    assert refusal(tmp_path).what == f"{tmp_path.name} is not a file"


@pytest.mark.parametrize("data", [b"", b"TFL3", b"PK\3\4" + bytes(100), bytes(1000)])
def test_other_formats_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tflite").write_bytes(data)
    assert str(refusal(tmp_path / "a.tflite")) == f"""\
a.tflite is not a model of a known format
  where: {tmp_path / "a.tflite"}
  next:  give a TensorFlow Lite file (.tflite); its bytes 4 to 7 are TFL3"""


def test_content_decides_and_not_the_ending(tmp_path: Path) -> None:
    (tmp_path / "net.bin").write_bytes(residual_network())
    assert load(tmp_path / "net.bin").name == "net"


def test_truncated_file(tmp_path: Path) -> None:
    (tmp_path / "a.tflite").write_bytes(residual_network()[:-100])
    assert str(refusal(tmp_path / "a.tflite")) == f"""\
a.tflite is damaged: a reference leads out of the file
  where: {tmp_path / "a.tflite"}
  next:  copy or convert the model again; the file must come whole from the converter"""


@pytest.mark.parametrize(("stem", "name"), [
    ("kws_ref_model", "kws_ref_model"), ("My Net-2.1", "my_net_2_1"), ("1st", "m_1st"), ("int", "m_int"),
    ("Main", "m_main"), ("string", "m_string"), ("__x__", "x"), ("---", "model_0"), ("", "model_0"),
    ("größe", "gr_e"), ("a" * 200, "a" * 48),
])
def test_model_name_is_an_identifier(stem: str, name: str) -> None:
    assert model_name(stem) == name


def test_supported_ops_is_the_table_that_decides() -> None:
    assert {op.kind for op in supported_ops()} == set(OPERATORS) == set(READERS)
    assert [op.kind for op in supported_ops()] == sorted(op.kind for op in supported_ops())
    conv = next(op for op in supported_ops() if op.kind == "CONV_2D")
    assert (conv.dtypes, conv.optional, conv.takes) == (("int8, int8, int32 -> int8",), 0, conv.dtypes)
    dense = next(op for op in supported_ops() if op.kind == "FULLY_CONNECTED")
    assert (dense.dtypes, dense.optional, dense.takes) == (conv.dtypes, 1, ("int8, int8[, int32] -> int8",))
