"""Small models for test_conformance.py: every operator with every option it can have.

Each family first goes through the values of every axis (stride, padding, shape, ...) one by one while the other axes
are drawn, and then through a few extremes by name. The draws are seeded: the same models in every run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tflite_writer import Model, Pair, residual_network

Random = np.random.Generator
Axes = dict[str, Sequence[Any]]
ACTIVATIONS = ("NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1")
ZEROS = (-128, -60, -20, -3, 0, 5, 31, 90, 127)
STRIDES = tuple(itertools.product((1, 2, 3), (1, 2, 3)))
KERNELS = ((1, 1), (1, 3), (3, 1), (2, 2), (3, 3), (4, 2), (5, 5), (5, 7))
DILATIONS = ((1, 1), (2, 1), (1, 2), (2, 2), (3, 2), (1, 3))
SIDES = (1, 2, 3, 5, 6, 7, 9)


@dataclass(frozen=True)
class Case:
    """A model and what is special about it; `name` is a C identifier, unique in its family."""

    name: str
    text: str
    data: bytes


def _cases(name: str, made: Iterator[tuple[str, Model]]) -> list[Case]:
    return [Case(f"{name}_{i}", text, model.to_bytes()) for i, (text, model) in enumerate(made)]


def _drawn(seed: int, axes: Axes, repeats: int = 1) -> Iterator[tuple[Random, dict[str, Any]]]:
    """Settings in which each value of each axis stands fixed once (`repeats` times), the others drawn."""
    rng = np.random.default_rng(seed)
    for axis, values in axes.items():
        for value in tuple(values) * repeats:
            drawn = {key: options[int(rng.integers(len(options)))] for key, options in axes.items()}
            yield rng, drawn | {axis: value}


def _float32(number: float) -> float:
    return float(np.float32(number))


# ---- convolutions and pooling ----

WINDOW: Axes = {
    "kernel": KERNELS,
    "stride": STRIDES,
    "padding": ("SAME", "VALID"),
    "side": tuple(itertools.product(SIDES, SIDES))[::4],
    "batch": (1, 1, 3),
    "in_zero": ZEROS,
}
CONV: Axes = WINDOW | {
    "dilation": DILATIONS,
    "activation": ACTIVATIONS,
    "zero": ZEROS,
    "per_channel": (True, False),
}


def _image(model: Model, s: Mapping[str, Any], channels: int, dilation: Pair = (1, 1)) -> int:
    """An input that a VALID window fits in; SAME windows may be larger than the image."""
    reach = [(s["kernel"][i] - 1) * dilation[i] + 1 for i in (0, 1)]
    sides = [max(s["side"][i], reach[i] if s["padding"] == "VALID" else 1) for i in (0, 1)]
    return model.input((s["batch"], *sides, channels), scale=0.05, zero=s["in_zero"])


def _options(s: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: s[key] for key in keys}


def conv2d() -> Iterator[tuple[str, Model]]:
    """CONV_2D; `depth` and `made` are channels of a group."""
    axes = CONV | {"depth": (1, 2, 3, 4, 5, 8, 17), "made": tuple(range(1, 10)), "groups": (1, 1, 1, 2, 3)}
    for rng, s in _drawn(1, axes):
        model = Model()
        x = _image(model, s, s["depth"] * s["groups"], s["dilation"])
        options = _options(s, "groups", "per_channel", "zero", "stride", "dilation", "padding", "activation")
        model.output(model.random_conv2d(rng, x, s["made"] * s["groups"], s["kernel"], **options))
        yield str(s), model


def conv2d_1x1() -> Iterator[tuple[str, Model]]:
    """CONV_2D with windows of one pixel, which have a kernel of their own."""
    axes = CONV | {"kernel": ((1, 1),), "depth": (1, 2, 3, 4, 5, 8, 17), "made": tuple(range(1, 10))}
    for rng, s in _drawn(2, axes):
        model = Model()
        x = _image(model, s, s["depth"])
        options = _options(s, "per_channel", "zero", "stride", "padding", "activation")
        model.output(model.random_conv2d(rng, x, s["made"], s["kernel"], **options))
        yield str(s), model


def depthwise_conv2d() -> Iterator[tuple[str, Model]]:
    """DEPTHWISE_CONV_2D."""
    axes = CONV | {"depth": (1, 2, 3, 4, 5, 8, 17), "multiplier": (1, 1, 2, 3, 5, 8), "bias": (True, False)}
    for rng, s in _drawn(3, axes):
        model = Model()
        x = _image(model, s, s["depth"], s["dilation"])
        options = _options(s, "multiplier", "bias", "per_channel", "zero", "stride", "dilation", "padding",
                           "activation")
        model.output(model.random_depthwise_conv2d(rng, x, s["kernel"], **options))
        yield str(s), model


def pool2d(kind: str, seed: int) -> Iterator[tuple[str, Model]]:
    """AVERAGE_POOL_2D or MAX_POOL_2D."""
    axes = WINDOW | {"depth": (1, 2, 3, 4, 7), "activation": ACTIVATIONS}
    for _, s in _drawn(seed, axes):
        model = Model()
        x = _image(model, s, s["depth"])
        make: Callable[..., int] = getattr(model, kind)
        model.output(make(x, s["kernel"], **_options(s, "stride", "padding", "activation")))
        yield str(s), model


EFFECTIVE = (0.99999, 1.0, 1.5, 3.7, 100.3, 0.5, 0.25, 1 / 3, 2.0**-20, 1.3 * 2.0**-31, 2.0**-32, 1.9 * 2.0**-33, 1e-12)
"""Steps of the output for a step of the sum: from more than one to so few that nothing is left."""


def extreme_scales() -> Iterator[tuple[str, Model]]:
    """Convolutions whose sums are scaled up, hardly at all, or to nothing; dead channels with a large bias."""
    rng = np.random.default_rng(4)
    for effective, depthwise in itertools.product(EFFECTIVE, (False, True)):
        model = Model()
        x = model.input((1, 4, 3, 4), scale=0.5, zero=3)
        bias = rng.integers(-300, 301, 4, np.int32)
        # As many channels are dead as a bias of about 2^30 leaves room for when it is scaled up.
        if effective < 1:
            bias[:2] = (2**30 + 12345, -(2**30) - 54321)
        weights = rng.integers(-127, 128, (1, 2, 2, 4) if depthwise else (4, 2, 2, 4), np.int8)
        weights[(..., slice(2)) if depthwise else slice(2)] = 0
        scales = [effective * 2.0**-24, effective * 2.0**-26, effective, effective * 0.7]
        scale = 0.5
        if effective >= 1:
            scales = [effective] * 4
        make = model.depthwise_conv2d if depthwise else model.conv2d
        scales = [_float32(s) for s in scales]
        model.output(make(x, weights, bias, weight_scales=scales, scale=scale, zero=-5))
        yield f"effective scale {effective}, depthwise {depthwise}", model


# ---- fully connected ----


def fully_connected() -> Iterator[tuple[str, Model]]:
    """FULLY_CONNECTED: shapes, options, and scales of every kind."""
    axes: Axes = {
        "shape": ((1, 8), (3, 8), (1, 17), (5, 1), (2, 3, 8), (1, 2, 3, 4), (1, 640), (8,)),
        "units": tuple(range(1, 10)),
        "keep_num_dims": (True, False),
        "bias": (True, False),
        "per_channel": (True, False),
        "activation": ACTIVATIONS,
        "in_zero": ZEROS,
        "zero": ZEROS,
    }
    for rng, s in _drawn(5, axes):
        model = Model()
        x = model.input(s["shape"], zero=s["in_zero"])
        options = _options(s, "keep_num_dims", "bias", "per_channel", "zero", "activation")
        model.output(model.random_fully_connected(rng, x, s["units"], **options))
        yield str(s), model
    for shape, depth in (((2, 3, 4), 12), ((1, 2, 3, 4), 6), ((4, 3), 2), ((2, 2, 2, 2), 16)):
        model = Model()
        x = model.input(shape)
        rng = np.random.default_rng(depth)
        model.output(model.random_fully_connected(rng, x, 3, depth=depth))
        yield f"{shape} as vectors of {depth}", model


RATIOS = ((1, 2), (1, 4), (3, 2), (1, 3), (1, 6), (1, 10), (3, 7), (1, 14), (0.1, 0.7), (0.003, 41.7), (0.9, 0.01),
          (7, 10), (7, 20), (3, 22), (13, 24), (11, 30), (15, 22), (15, 26))
"""(input scale, output scale) where the weight scale is 1: sums that lie on or next to a half, on both sides."""


def fully_connected_ties() -> Iterator[tuple[str, Model]]:
    """FULLY_CONNECTED with scales where one rounding and two, or float64 and fixed point, differ."""
    rng = np.random.default_rng(6)
    for (numerator, denominator), depth, weight in itertools.product(RATIOS, (3, 40), (1.0, 0.3)):
        model = Model()
        x = model.input((2, depth), scale=_float32(numerator), zero=1)
        weights = rng.integers(-9, 10, (5, depth), np.int8)
        bias = rng.integers(-50, 51, 5, np.int32)
        model.output(model.fully_connected(x, weights, bias, weight_scales=[_float32(weight)],
                                           scale=_float32(denominator), zero=2))
        yield f"scales {numerator} * {weight} / {denominator}, depth {depth}", model
    for depth in (1000, 3000):
        model = Model()
        x = model.input((1, depth), zero=-128)
        model.output(model.random_fully_connected(rng, x, 6, per_channel=True))
        yield f"depth {depth}", model


STEPS, AROUND = np.arange(-126, 128), np.arange(-3, 5)
PRECISE = len(STEPS) * len(AROUND)
PRECISE_SHAPES: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "conv2d": ((1, 1, 1, 1), (PRECISE, 1, 1, 1)),
    "depthwise_conv2d": ((1, 1, 1, PRECISE), (1, 1, 1, PRECISE)),
    "fully_connected": ((1, 1), (PRECISE, 1)),
}
"""Of the input and of the weights."""


def precise_scales(kind: str, seed: int) -> Iterator[tuple[str, Model]]:
    """Sums of up to 2^24 next to every step of the output: where scales are multiplied as float32, some steps lie
    elsewhere. Weights are 0, so that the bias is the sum."""
    rng = np.random.default_rng(seed)
    for per_channel in (False, True):
        model = Model()
        x = model.input(PRECISE_SHAPES[kind][0], scale=_float32(rng.uniform(0.001, 0.02)))
        for _ in range(4):
            _precise(model, rng, kind, x, per_channel)
        yield f"{kind}, per_channel {per_channel}", model


def _precise(model: Model, rng: Random, kind: str, x: int, per_channel: bool) -> None:
    """As many outputs for each of the STEPS as there are places AROUND it."""
    scales = [_float32(scale) for scale in rng.uniform(0.001, 0.002, PRECISE if per_channel else 1)]
    scale = _float32(model.scale(x) * 0.002 * 2.0**17)
    real = np.broadcast_to(model.scale(x) * np.array(scales) / scale, PRECISE)
    step = np.floor((np.repeat(STEPS, len(AROUND)) - 0.5) / real)
    bias = (step + np.tile(AROUND, len(STEPS))).astype(np.int32)
    weights = np.zeros(PRECISE_SHAPES[kind][1], np.int8)
    make: Callable[..., int] = getattr(model, kind)
    model.output(make(x, weights, bias, weight_scales=scales, scale=scale))


# ---- element by element ----

SHAPES: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((5,), (5,)), ((1, 7), (1, 7)), ((1, 3, 4, 5), (1, 3, 4, 5)), ((2, 1, 3, 1, 2), (2, 1, 3, 1, 2)),
    ((2, 3, 4, 5), (1,)), ((1,), (2, 3, 4, 5)), ((2, 3, 4, 5), (5,)), ((2, 3, 4, 5), (4, 1)),
    ((2, 3, 4, 5), (3, 1, 1)), ((2, 3, 4, 5), (2, 1, 1, 1)), ((2, 1, 4, 1), (1, 3, 1, 5)), ((2, 3, 1, 5), (1, 3, 4, 1)),
    ((4, 1), (1, 6)), ((1, 1, 1, 8), (1, 5, 5, 8)), ((3, 1, 1), (1, 2, 2)), ((2, 1), (2, 5)), ((6, 1, 2), (6, 3, 2)),
)


def add() -> Iterator[tuple[str, Model]]:
    """ADD: every way to repeat an operand, constants, scales and activations."""
    axes: Axes = {
        "shapes": SHAPES,
        "constant": ("none", "none", "a", "b"),
        "activation": ACTIVATIONS,
        "zeros": tuple(zip(ZEROS, reversed(ZEROS), strict=True)),
        "zero": ZEROS,
        "scales": ((0.05, 0.05), (0.05, 0.031), (0.1, 0.7), (0.25, 0.25), (0.3, 0.0011), (1.0, 1e-8)),
        "fill": (0.6, 1.0, 1.4, 1.7, 40.0),
    }
    for rng, s in _drawn(7, axes):
        model = Model()
        operands = [_operand(model, rng, s, i) for i in (0, 1)]
        scale = _float32(max(s["scales"]) * s["fill"])
        model.output(model.add(*operands, scale=scale, **_options(s, "zero", "activation")))
        yield str(s), model
    model = Model()
    x = model.input((1, 3, 3, 2), zero=7)
    model.output(model.add(x, x, scale=0.11, zero=-9))
    yield "a tensor and itself", model


def _operand(model: Model, rng: Random, s: Mapping[str, Any], i: int) -> int:
    shape, scale, zero = s["shapes"][i], s["scales"][i], s["zeros"][i]
    if s["constant"] == "ab"[i]:
        return model.constant(rng.integers(-128, 128, shape, np.int8), scale, zero)
    return model.input(shape, scale=scale, zero=zero)


def softmax() -> Iterator[tuple[str, Model]]:
    """SOFTMAX; the reference aborts where exponentials add up to 512, so no vector is longer than 511."""
    axes: Axes = {
        "shape": ((7,), (1, 1), (1, 2), (3, 10), (2, 3, 5), (1, 2, 2, 17), (2, 100), (1, 511),
                  (4000, 3), (1000, 20)),
        "scale": (0.0005, 0.003, 0.05, 0.1, 0.3, 1.0, 8.0),
        "beta": (0.05, 0.5, 1.0, 2.5, 30.0),
        "zero": ZEROS,
    }
    for _, s in _drawn(8, axes):
        model = Model()
        model.output(model.softmax(model.input(s["shape"], scale=s["scale"], zero=s["zero"]), beta=s["beta"]))
        yield str(s), model


def quantize() -> Iterator[tuple[str, Model]]:
    """QUANTIZE of every pair of dtypes, and DEQUANTIZE."""
    axes: Axes = {
        "dtypes": (("float32", "int8"), ("int8", "int8"), ("uint8", "int8"), ("int8", "uint8"), ("int8", "float32")),
        "ratio": (0.001, 0.3, 0.5, 1.0, 1.25, 2.0, 3.0, 77.0),
        "scale": (0.0039, 0.05, 0.3, 1.0, 2.5),
        "zeros": tuple(itertools.product((-128, -3, 0, 127), (-128, 5, 127))),
    }
    for _, s in _drawn(9, axes, repeats=2):
        source, made = s["dtypes"]
        zero_in, zero_out = (zero + 128 * (dtype == "uint8")
                             for zero, dtype in zip(s["zeros"], s["dtypes"], strict=True))
        model = Model()
        x = model.input((3, 41), scale=s["scale"], zero=zero_in, dtype=source)
        scale = _float32(s["scale"] / s["ratio"])
        model.output(model.dequantize(x) if made == "float32"
                     else model.quantize(x, scale=scale, zero=zero_out, dtype=made))
        yield str(s), model


# ---- graphs ----


def graphs() -> Iterator[tuple[str, Model]]:
    """What lies between operators: views, several inputs and outputs, memory that is shared and used again."""
    for make in (_chain_of_reshapes, _reshape_of_an_input, _reshape_to_an_output, _two_inputs, _two_outputs,
                 _inner_output, _all_of_a_fork, _float_to_float, _long_life, _unread_input, _input_as_an_output):
        model = Model()
        make(model, np.random.default_rng(10))
        yield make.__name__.strip("_"), model


def _chain_of_reshapes(model: Model, rng: Random) -> None:
    x = model.max_pool2d(model.input((1, 4, 4, 3)), (2, 2))
    for shape in ((1, 27), (3, 9), (27,), (1, 3, 3, 3)):
        x = model.reshape(x, shape)
    model.output(model.random_conv2d(rng, x, 5))


def _reshape_of_an_input(model: Model, rng: Random) -> None:
    x = model.input((1, 4, 6))
    flat = model.reshape(x, (1, 24), wanted=(1, -1))
    image = model.reshape(x, (1, 4, 6, 1))
    model.output(model.random_fully_connected(rng, flat, 7))
    model.output(model.random_conv2d(rng, image, 3))


def _reshape_to_an_output(model: Model, rng: Random) -> None:
    y = model.random_conv2d(rng, model.input((1, 4, 4, 2)), 4)
    model.output(model.reshape(y, (4, 16)))
    model.output(y)


def _two_inputs(model: Model, rng: Random) -> None:
    a, b = model.input((1, 5, 5, 3), name="left"), model.input((1, 5, 5, 4), scale=0.1, zero=9, name="right")
    model.output(model.random_add(rng, model.random_conv2d(rng, a, 6), model.random_conv2d(rng, b, 6, (1, 1))))


def _two_outputs(model: Model, rng: Random) -> None:
    x = model.random_conv2d(rng, model.input((1, 5, 5, 3)), 6)
    model.output(model.average_pool2d(x, (3, 3)))
    model.output(model.random_depthwise_conv2d(rng, x, stride=(2, 2)))


def _inner_output(model: Model, rng: Random) -> None:
    x = model.output(model.random_conv2d(rng, model.input((1, 6, 6, 3)), 6))
    x = model.output(model.random_conv2d(rng, x, 5))
    model.output(model.random_conv2d(rng, x, 4))


def _all_of_a_fork(model: Model, rng: Random) -> None:
    x = model.input((1, 6, 6, 4))
    branches = [model.random_conv2d(rng, x, 4, kernel) for kernel in ((1, 1), (3, 3), (5, 5), (1, 3))]
    total = branches[0]
    for branch in branches[1:]:
        total = model.random_add(rng, total, branch)
    model.output(total)


def _float_to_float(model: Model, rng: Random) -> None:
    x = model.quantize(model.input((1, 5, 5, 2), dtype="float32"), scale=0.03, zero=4)
    model.output(model.dequantize(model.random_conv2d(rng, x, 3, activation="RELU6")))


def _long_life(model: Model, rng: Random) -> None:
    first = model.random_conv2d(rng, model.input((1, 6, 6, 2)), 3)
    x = first
    for channels in (8, 2, 7, 3):
        x = model.random_conv2d(rng, x, channels)
    model.output(model.random_add(rng, x, first))


def _unread_input(model: Model, rng: Random) -> None:
    x = model.input((1, 3, 3, 2), name="used")
    model.input((1, 50), name="unused")
    model.output(model.random_conv2d(rng, x, 3))


def _input_as_an_output(model: Model, rng: Random) -> None:
    x = model.input((1, 4, 6, 2))
    model.output(model.random_conv2d(rng, x, 3))
    model.output(model.reshape(x, (12, 4)))


def random_graphs() -> Iterator[tuple[str, Model]]:
    """Operators on any tensors made before, so that lifetimes cross in every way; some inner tensors are outputs."""
    for seed in range(30):
        rng = np.random.default_rng(100 + seed)
        model = Model()
        made = [model.input((1, 4, 6, int(rng.integers(1, 6)))) for _ in range(rng.integers(1, 3))]
        inputs = list(made)
        for _ in range(rng.integers(4, 13)):
            made.append(_random_operator(model, rng, made))
        read = {i for operator in model.operators for i in operator.inputs}
        for x in made:
            if x not in inputs and (x not in read or rng.random() < 0.15):
                model.output(x)
        yield f"seed {seed}", model


def _random_operator(model: Model, rng: Random, made: Sequence[int]) -> int:
    x = made[int(rng.integers(len(made)))]
    alike = [y for y in made if model.shape(y) == model.shape(x)]
    _, height, width, channels = model.shape(x)
    choices: tuple[Callable[[], int], ...] = (
        lambda: model.random_conv2d(rng, x, int(rng.integers(1, 9))),
        lambda: model.random_conv2d(rng, x, int(rng.integers(1, 9)), (1, 1)),
        lambda: model.random_depthwise_conv2d(rng, x),
        lambda: model.max_pool2d(x, (2, 2), padding="SAME"),
        lambda: model.random_add(rng, x, alike[int(rng.integers(len(alike)))]),
        lambda: model.reshape(x, (1, width, height, channels)),
    )
    return choices[int(rng.integers(len(choices)))]()


def residual() -> list[Case]:
    """The residual network of the writer, under a few seeds."""
    return [Case(f"residual_{seed}", f"seed {seed}", residual_network(seed)) for seed in range(1, 7)]


FAMILIES: dict[str, Callable[[], list[Case]]] = {
    "conv2d": lambda: _cases("conv2d", conv2d()),
    "conv2d_1x1": lambda: _cases("conv2d_1x1", conv2d_1x1()),
    "depthwise_conv2d": lambda: _cases("depthwise_conv2d", depthwise_conv2d()),
    "extreme_scales": lambda: _cases("extreme_scales", extreme_scales()),
    "average_pool2d": lambda: _cases("average_pool2d", pool2d("average_pool2d", 11)),
    "max_pool2d": lambda: _cases("max_pool2d", pool2d("max_pool2d", 12)),
    "fully_connected": lambda: _cases("fully_connected", fully_connected()),
    "fully_connected_ties": lambda: _cases("fully_connected_ties", fully_connected_ties()),
    "precise_conv2d": lambda: _cases("precise_conv2d", precise_scales("conv2d", 13)),
    "precise_depthwise_conv2d": lambda: _cases("precise_depthwise_conv2d", precise_scales("depthwise_conv2d", 14)),
    "precise_fully_connected": lambda: _cases("precise_fully_connected", precise_scales("fully_connected", 15)),
    "add": lambda: _cases("add", add()),
    "softmax": lambda: _cases("softmax", softmax()),
    "quantize": lambda: _cases("quantize", quantize()),
    "graphs": lambda: _cases("graphs", graphs()),
    "random_graphs": lambda: _cases("random_graphs", random_graphs()),
    "residual": residual,
}
