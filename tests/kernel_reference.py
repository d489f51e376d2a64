"""The kernels from their definitions, in NumPy: slow, plain, and without anything in common with the C."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def wrap32(x: Ints) -> Ints:
    """x modulo 2^32, as a signed number."""
    return ((x + 2**31) % 2**32) - 2**31


def q31(a: int, b: int) -> int:
    """a * b / 2^31, rounded to nearest, halves up."""
    return (a * b + 2**30) // 2**31


def halve(x: int, times: int) -> int:
    """x / 2^times, rounded to nearest, halves away from zero."""
    magnitude = (abs(x) + ((1 << times) >> 1)) >> times
    return magnitude if x >= 0 else -magnitude


def scale(x: Ints, multiplier: Ints, shift: Ints) -> Ints:
    """x * multiplier * 2^(shift - 31), rounded twice: after the multiply (halves up), after the right shift
    (halves away from zero). Python integers, so nothing overflows unnoticed."""

    def one(value: int, factor: int, by: int) -> int:
        if by > 0:
            value = (value * 2**by + 2**31) % 2**32 - 2**31
        return halve(q31(value, factor), max(-by, 0))

    table = np.frompyfunc(one, 3, 1)(x.astype(object), multiplier, shift)
    return np.asarray(table).astype(np.int64)


def requantize(x: Ints, multiplier: Ints, shift: Ints, zero: int, low: int, high: int) -> Ints:
    """Scaled, moved by `zero` (modulo 2^32) and clamped to [low, high]."""
    return np.clip(wrap32(scale(x, multiplier, shift) + zero), low, high)


def requantize_once(x: Ints, multiplier: Ints, shift: Ints, zero: int, low: int, high: int) -> Ints:
    """x * multiplier * 2^(shift - 31), rounded once, halves away from zero, moved by `zero` and clamped."""

    def one(value: int, factor: int, by: int) -> int:
        scaled = halve(value * factor, 31 - by)
        return min(max(scaled + zero, low), high)

    table = np.frompyfunc(one, 3, 1)(x.astype(object), multiplier.astype(object), shift.astype(object))
    return np.asarray(table).astype(np.int64)


def round_away(x: npt.NDArray[np.float64]) -> Ints:
    """x rounded to nearest, halves away from zero (x + 0.5 would be inexact)."""
    whole = np.trunc(x)
    nearest: Ints = (whole + (x - whole >= 0.5) - (x - whole <= -0.5)).astype(np.int64)
    return nearest


@dataclass(frozen=True)
class Geometry:
    """A sliding window; every pair is (vertical, horizontal)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int]
    out: tuple[int, int]


def taps(image: Ints, g: Geometry, outside: int) -> Ints:
    """The values that every window sees: (N, out h, out w, kernel h, kernel w, C)."""
    n, height, width, depth = image.shape
    result = np.full((n, *g.out, *g.kernel, depth), outside, np.int64)
    for y, x, i, j in itertools.product(*map(range, (*g.out, *g.kernel))):
        row = y * g.stride[0] - g.pad[0] + i * g.dilation[0]
        column = x * g.stride[1] - g.pad[1] + j * g.dilation[1]
        if 0 <= row < height and 0 <= column < width:
            result[:, y, x, i, j] = image[:, row, column]
    return result


def convolution(image: Ints, weights: Ints, bias: Ints, g: Geometry, groups: int, in_zero: int) -> Ints:
    """Sums of a convolution with weights (O, kh, kw, C / groups): (N, out h, out w, O)."""
    seen = taps(image, g, in_zero) - in_zero
    seen = seen.reshape(*seen.shape[:-1], groups, -1)
    weights = weights.reshape(groups, -1, *weights.shape[1:])
    sums = np.einsum("nyxijgc,goijc->nyxgo", seen, weights)
    return np.asarray(sums.reshape(*sums.shape[:3], -1) + bias)


def depthwise(image: Ints, weights: Ints, bias: Ints, g: Geometry, multiplier: int, in_zero: int) -> Ints:
    """Sums of a depthwise convolution with weights (1, kh, kw, C * multiplier): (N, out h, out w, C * multiplier)."""
    seen = np.repeat(taps(image, g, in_zero) - in_zero, multiplier, axis=-1)
    return np.asarray((seen * weights).sum(axis=(3, 4)) + bias)


def average_pool(image: Ints, g: Geometry) -> Ints:
    """Means of the values inside the image, halves away from zero."""
    total = taps(image, g, 0).sum(axis=(3, 4))
    count = taps(np.ones_like(image), g, 0).sum(axis=(3, 4))
    return np.asarray(np.sign(total) * ((2 * abs(total) + count) // (2 * count)))


def max_pool(image: Ints, g: Geometry) -> Ints:
    """Largest of the values inside the image."""
    return np.asarray(taps(image, g, -128).max(axis=(3, 4)))


def saturate(x: int) -> int:
    """x as int32."""
    return min(max(x, -(2**31)), 2**31 - 1)


def fixed_exp(x: int) -> int:
    """exp(x / 2^26) in units of 2^-31, x <= 0: a Taylor series about -1/8 for what is left after whole quarters,
    then a product of exp(-1/4), exp(-1/2), ..., exp(-16)."""
    if x == 0:
        return 2**31 - 1
    quarters, rest = divmod(-x, 2**24)
    if rest == 0:
        quarters, rest = quarters - 1, 2**24
    d = 2**28 - 32 * rest
    d2 = q31(d, d)
    d3, d4 = q31(d2, d), q31(d2, d2)
    series = d + halve(q31(halve(d4, 2) + d3, round(2**31 / 3)) + d2, 1)
    eighth = round(2**31 * math.exp(-0.125))
    result = eighth + q31(eighth, series)
    for bit in range(7):
        if quarters >> bit & 1:
            result = q31(result, round(2**31 * math.exp(-(2.0 ** (bit - 2)))))
    return result


def fixed_reciprocal(x: int) -> int:
    """2^31 / (1 + x / 2^31) for 0 <= x < 2^31: three Newton steps from 48/17 - 32/17 d, numbers of 2 integer bits."""
    half = (x + 2**31) // 2
    y = round(48 / 17 * 2**29) + q31(half, round(-32 / 17 * 2**29))
    for _ in range(3):
        y += saturate(4 * q31(y, 2**29 - q31(half, y)))
    return saturate(2 * y)


def softmax(x: Ints, multiplier: int, shift: int, diff_min: int) -> Ints:
    """Softmax of one vector; differences to the largest element, scaled, have 26 fraction bits."""
    differences = [int(v) - int(x.max()) for v in x]
    exps = [fixed_exp(q31(d * 2**shift, multiplier)) if d >= diff_min else None for d in differences]
    total = sum(halve(e, 12) for e in exps if e is not None)
    spare = 32 - total.bit_length()
    inverse = fixed_reciprocal((total << spare) - 2**31)
    made = [0 if e is None else halve(q31(inverse, e), 12 - spare + 31 - 8) for e in exps]
    return np.clip(np.array(made, np.int64) - 128, -128, 127)


def quantize(x: npt.NDArray[np.float32], step: np.float32, zero: int) -> Ints:
    """round(x / step) + zero, halves away from zero, clamped; NaN is `zero`."""
    with np.errstate(over="ignore", invalid="ignore"):
        quotient = np.clip(np.nan_to_num((x / step).astype(np.float64), nan=0.0), -1000.0, 1000.0)
    return np.clip(round_away(quotient) + zero, -128, 127)
