"""Fixed-point constants as TensorFlow Lite's reference computes them.

Source: tensorflow/lite/kernels/internal/quantization_util.cc and kernels/kernel_util.cc, double
rounding variant (TFLITE_SINGLE_ROUNDING not set). All arithmetic that decides a bit is done in
the precision the reference uses: scales are float32, their quotients float64.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tinykiln.graph import Activation, Tensor

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def multiplier_and_shift(real: npt.ArrayLike) -> tuple[Int64s, Int64s]:
    """Non-negative `real` as multiplier * 2^(shift - 31), multiplier 0 or in [2^30, 2^31).

    Values that need a shift below -31 become 0, as in QuantizeMultiplier.
    """
    fraction, exponent = np.frexp(np.asarray(real, dtype=np.float64))
    multiplier = np.floor(fraction * 2.0**31 + 0.5).astype(np.int64)
    shift = exponent.astype(np.int64)
    carried = multiplier == 1 << 31
    multiplier = np.where(carried, multiplier >> 1, multiplier)
    shift = np.where(carried, shift + 1, shift)
    vanishes = shift < -31
    return np.where(vanishes, 0, multiplier), np.where(vanishes, 0, shift)


def scalar_multiplier_and_shift(real: float) -> tuple[int, int]:
    """`multiplier_and_shift` of one number."""
    multiplier, shift = multiplier_and_shift(real)
    return int(multiplier), int(shift)


def float_multiplier_and_shift(
    real: Float64s, reach: Int64s, levels: Int64s
) -> tuple[Int64s, Int64s] | None:
    """Multipliers and shifts with which crt_requantize_once rounds as the reference does in float64, or None.

    FULLY_CONNECTED is rescaled in float64: round(sum * real), halves away from zero
    (reference/integer_ops/fully_connected.h, LiteRT 1.3 and later). Both ways are step functions of the
    sum, so they are equal if they step at the same sums. That is checked at each of the `levels` (the
    rounded values that the output can tell apart) for sums from -reach to reach; where the nearest
    multiplier misses a step its neighbours are tried.
    """
    nearest, shift = multiplier_and_shift(real)
    best, exact = nearest, np.zeros(len(real), bool)
    for nudge in (0, 1, -1, 2, -2):
        found = ~exact & _same_steps(real, nearest + nudge, shift, reach, levels)
        best = np.where(found, nearest + nudge, best)
        exact |= found
    return (best, shift) if exact.all() else None


def _same_steps(real: Float64s, multiplier: Int64s, shift: Int64s, reach: Int64s, levels: Int64s) -> Bools:
    """For each scale: do both roundings reach each of the `levels` at the same sum?"""
    real, multiplier, shift, reach = real[:, None], multiplier[:, None], shift[:, None], reach[:, None]
    step = np.clip(np.floor((levels - 0.5) / np.maximum(real, 1e-30)), -reach, reach).astype(np.int64)
    same = np.ones(step.shape, bool)
    for sums in (step - 1, step, step + 1, step + 2):
        sums = np.clip(sums, -reach, reach)
        wanted = _round_half_away(sums * real) >= levels
        same &= wanted == (_round_scaled(sums, multiplier, shift) >= levels)
    return np.asarray(same.all(axis=1) & (multiplier[:, 0] >= 0) & (multiplier[:, 0] < 1 << 31))


def _round_half_away(real: Float64s) -> Float64s:
    """C's round(). Adding a half instead would round up the number just below a half."""
    whole = np.trunc(real)
    return np.asarray(whole + np.trunc(2 * (real - whole)))


def _round_scaled(sums: Int64s, multiplier: Int64s, shift: Int64s) -> Int64s:
    """crt_requantize_once: sums * multiplier * 2^(shift - 31), halves away from zero."""
    right = 31 - shift
    return (sums * multiplier + (1 << (right - 1)) - (sums < 0)) >> right


def scale_of(tensor: Tensor) -> float:
    """The only scale of a per-tensor quantised tensor (a float32 value)."""
    assert tensor.quantization is not None
    return tensor.quantization.scales[0]


def zero_of(tensor: Tensor) -> int:
    """The only zero point of a per-tensor quantised tensor."""
    assert tensor.quantization is not None
    return tensor.quantization.zero_points[0]


def activation_range(activation: Activation, output: Tensor) -> tuple[int, int]:
    """The clamp of an int8 output, (min, max) in quantised units (CalculateActivationRangeQuantized)."""
    bounds: dict[Activation, tuple[float, float]] = {
        "NONE": (-math.inf, math.inf),
        "RELU": (0.0, math.inf),
        "RELU6": (0.0, 6.0),
        "RELU_N1_TO_1": (-1.0, 1.0),
    }
    low, high = bounds[activation]
    return max(-128, _quantize(low, output)), min(127, _quantize(high, output))


def _quantize(real: float, tensor: Tensor) -> int:
    if math.isinf(real):
        return -128 if real < 0 else 127
    quotient = float(np.float32(real) / np.float32(scale_of(tensor)))
    rounded = math.floor(abs(quotient) + 0.5)
    return zero_of(tensor) + (rounded if quotient >= 0 else -rounded)


def softmax_scale(beta: float, input_scale: float) -> tuple[int, int, int]:
    """(multiplier, left shift, smallest difference) of an int8 SOFTMAX.

    Source: PreprocessSoftmaxScaling and CalculateInputRadius. Differences to the maximum are fixed
    point with 5 integer bits.
    """
    integer_bits = 5
    real = min(beta * input_scale * (1 << (31 - integer_bits)), (1 << 31) - 1.0)
    multiplier, shift = scalar_multiplier_and_shift(real)
    radius = ((1 << integer_bits) - 1) * (1 << (31 - integer_bits)) / (1 << shift)
    return multiplier, shift, -math.floor(radius)
