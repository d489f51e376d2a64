"""Constants of fixed-point arithmetic: the nearest multiplier, and for FULLY_CONNECTED, whose sums the reference scales
in float64, one that rounds every sum alike, or none."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from kernel_reference import Ints, requantize_once
from tinykiln.kernels.fixed_point import Float64s, float_multiplier_and_shift, scalar_multiplier_and_shift

LOW, HIGH = -128, 127
NUDGES = (0, 1, -1, 2, -2)
ADVERSARIAL = (0.5, 0.25, 0.125, 1.0, 1.5, 2.0, 1 / 3, 1 / 6, 1 / 10, 1 / 14, 3 / 7, 7 / 10, 7 / 20, 3 / 22, 13 / 24,
               11 / 30, 15 / 22, 0.1 + 0.2, 1 / 255, 2.0**-31, 1e-12, 127.5, 0.49999999999, 0.9999999998,
               float(np.nextafter(0.5, 0)), float(np.nextafter(0.5, 0)) / 7, float(np.nextafter(0.25, 0)))


def float64(sums: Ints, real: float, zero: int) -> Ints:
    """The reference: round(sum * real), halves away from zero, moved by the zero point and clamped."""
    product = sums.astype(np.float64) * real
    rounded = np.trunc(product) + np.sign(product) * (np.abs(product - np.trunc(product)) >= 0.5)
    return np.asarray(np.clip(rounded + zero, LOW, HIGH).astype(np.int64))


def found(real: float, reach: int, zero: int) -> tuple[int, int] | None:
    """Multiplier and shift for one output."""
    levels = np.arange(LOW + 1, HIGH + 1) - zero
    pair = float_multiplier_and_shift(np.array([real]), np.array([reach]), levels)
    return None if pair is None else (int(pair[0][0]), int(pair[1][0]))


def fixed(sums: Ints, multiplier: int, shift: int, zero: int) -> Ints:
    """What crt_requantize_once makes of the sums."""
    same = np.ones_like(sums)
    return requantize_once(sums, multiplier * same, shift * same, zero, LOW, HIGH)


def adversarial_sums(rng: np.random.Generator, real: float, reach: int) -> Ints:
    """Both ends, sums on both sides of every half that the output can tell apart, and random ones."""
    steps = (np.arange(-256, 257) - 0.5) / real
    near = np.concatenate([np.floor(np.clip(steps, -reach, reach)).astype(np.int64) + i for i in range(-2, 3)])
    drawn = rng.integers(-reach, reach + 1, 500)
    return np.asarray(np.clip(np.concatenate([near, drawn, [-reach, reach, 0, 1, -1]]), -reach, reach))


def test_multiplier_is_the_nearest_of_31_bits() -> None:
    rng = np.random.default_rng(3)
    for real in (*ADVERSARIAL[:19], *np.exp(rng.uniform(-20, 20, 500)), 2.0**-32, 1 - 2.0**-32, 1 - 2.0**-33):
        multiplier, shift = scalar_multiplier_and_shift(float(real))
        assert 2**30 <= multiplier < 2**31, real
        error = Fraction(float(real)) * Fraction(2) ** (31 - shift) - multiplier
        assert abs(error) <= Fraction(1, 2), real


def test_multiplier_rounds_halves_up() -> None:
    assert scalar_multiplier_and_shift((2**30 + 0.5) / 2**31) == (2**30 + 1, 0)
    assert scalar_multiplier_and_shift((2**30 + 1.5) / 2**31) == (2**30 + 2, 0)
    assert scalar_multiplier_and_shift(1 - 2.0**-32) == (2**30, 1)


@pytest.mark.parametrize(("real", "expected"), [(2.0**-32, (2**30, -31)), (2.0**-33, (0, 0)), (0.0, (0, 0))])
def test_multiplier_of_a_tiny_number(real: float, expected: tuple[int, int]) -> None:
    assert scalar_multiplier_and_shift(real) == expected


def test_the_number_just_below_a_half_is_rounded_down() -> None:
    """The reference makes 0 of it; a sum with this product must not be proved equal to one that makes 1."""
    product = float(np.nextafter(0.5, 0))
    checked = 0
    for total in range(3, 2000, 2):
        real = product / total
        if total * real != product:
            continue
        pair = found(real, 4 * total, 0)
        sums = np.arange(-4 * total, 4 * total + 1)
        if pair:
            np.testing.assert_array_equal(fixed(sums, *pair, 0), float64(sums, real, 0))
        checked += 1
    assert checked > 100


def test_constants_are_within_what_the_kernel_takes() -> None:
    rng = np.random.default_rng(1)
    for real in (*ADVERSARIAL, *np.exp(rng.uniform(-18, 3, 300)), *(1 - rng.uniform(0, 6, 200) * 2.0**-31)):
        pair = found(float(real), 10**6, 0)
        assert pair is None or (0 <= pair[0] < 2**31 and -31 <= pair[1] <= 30), real


@pytest.mark.parametrize("zero", [-128, -3, 0, 127])
@pytest.mark.parametrize("real", ADVERSARIAL)
def test_every_sum_of_a_small_reach(real: float, zero: int) -> None:
    sums = np.arange(-600, 601)
    pair = found(real, 600, zero)
    if pair:
        np.testing.assert_array_equal(fixed(sums, *pair, zero), float64(sums, real, zero))


def test_random_scales_and_large_sums() -> None:
    rng = np.random.default_rng(2)
    proved = 0
    for _ in range(300):
        reach = int(2 ** rng.uniform(8, 30.9))
        real = float(128 / reach * 2 ** rng.uniform(-2, 4))
        zero = int(rng.integers(-128, 128))
        pair = found(real, reach, zero)
        if pair:
            proved += 1
            sums = adversarial_sums(rng, real, reach)
            np.testing.assert_array_equal(fixed(sums, *pair, zero), float64(sums, real, zero))
    assert 100 < proved < 300


def test_none_only_where_no_multiplier_near_by_is_exact() -> None:
    refused = 0
    for real in ADVERSARIAL:
        sums = np.arange(-600, 601)
        exact = [nudge for nudge in NUDGES if _is_exact(sums, real, nudge)]
        assert (found(real, 600, 0) is not None) == bool(exact), real
        refused += not exact
    assert refused >= 3


def _is_exact(sums: Ints, real: float, nudge: int) -> bool:
    fraction, exponent = np.frexp(real)
    multiplier = int(np.floor(fraction * 2.0**31 + 0.5))
    shift = int(exponent)
    if multiplier == 2**31:
        multiplier, shift = 2**30, shift + 1
    if shift < -31:
        multiplier, shift = 0, 0
    inside = 0 <= multiplier + nudge < 2**31
    return inside and bool((fixed(sums, multiplier + nudge, shift, 0) == float64(sums, real, 0)).all())


def test_all_outputs_of_a_layer_or_none() -> None:
    levels = np.arange(LOW + 1, HIGH + 1)
    reach = np.array([600, 600])
    assert float_multiplier_and_shift(np.array([1 / 3, 0.01]), reach, levels) is not None
    mixed: Float64s = np.array([0.01, 7 / 10])
    assert float_multiplier_and_shift(mixed, reach, levels) is None
