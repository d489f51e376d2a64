"""Every kernel of crt/kernels, built for this machine with the address and undefined-behaviour sanitisers,
against tests/kernel_reference.py: equal bytes, for whole tensors and row by row."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import kernel_reference as reference
import numpy as np
import numpy.typing as npt
import pytest
from kernel_reference import Geometry, Ints
from tinykiln.kernels.pack import pack_conv2d, pack_depthwise, pack_fully_connected

ROOT = Path(__file__).resolve().parent.parent
CRT = ROOT / "crt"
WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
KERNELS = [
    *("conv2d", "conv2d_1x1", "depthwise", "depthwise_multiplier", "average_pool", "max_pool"),
    *("fully_connected", "fully_connected_f64", "add", "add_broadcast", "softmax", "quantize", "dequantize"),
    *("requantize_s8_s8", "requantize_u8_s8", "requantize_s8_u8"),
]
FUNCTIONS = ["exp", "reciprocal"]
"""Both in the order of enum kernel in kernels_main.c."""

SPATIAL = KERNELS[:6]


@dataclass(frozen=True)
class Case:
    """One call, and what it must make. `channels` is int32 (n, 3): bias, multiplier, shift."""

    kernel: str
    params: Sequence[int]
    inputs: Sequence[npt.NDArray[Any]]
    expected: npt.NDArray[Any]
    weights: npt.NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))
    channels: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))

    def encode(self) -> bytes:
        buffers: list[npt.NDArray[Any]] = [self.weights, self.channels]
        buffers += [*self.inputs, np.zeros(0, np.int8)][:2]
        sizes = [buffer.nbytes for buffer in buffers]
        head = [(KERNELS + FUNCTIONS).index(self.kernel), len(self.params), *sizes, self.expected.nbytes, *self.params]
        return struct.pack(f"<{len(head)}i", *head) + b"".join(buffer.tobytes() for buffer in buffers)

    @property
    def answers(self) -> int:
        return 2 if self.kernel in SPATIAL else 1


Runner = Callable[[Sequence[Case]], None]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    path = tmp_path_factory.mktemp("kernels") / "kernels"
    sources = [ROOT / "tests/c/kernels_main.c", *sorted((CRT / "kernels").glob("*.c"))]
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{CRT / 'include'}"]
    subprocess.run([compiler, *WARNINGS, *flags, *map(str, sources), "-lm", "-o", str(path)], check=True, timeout=120)
    return path


@pytest.fixture(scope="session")
def run(program: Path) -> Runner:
    def run_cases(cases: Sequence[Case]) -> None:
        stdin = b"".join(case.encode() for case in cases)
        done = subprocess.run([program], input=stdin, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        position = 0
        for case in cases:
            for way in ("whole", "rows")[: case.answers]:
                got = np.frombuffer(done.stdout, case.expected.dtype, case.expected.size, position)
                np.testing.assert_array_equal(got, case.expected.ravel(), err_msg=f"{way}: {case}")
                position += case.expected.nbytes
        assert position == len(done.stdout)

    return run_cases


Random = np.random.Generator


def pick(rng: Random, *choices: int) -> int:
    return int(rng.choice(choices))


def int8s(rng: Random, *shape: int) -> Ints:
    """Random int8 values; now and then all at one end, where sums are largest."""
    if rng.random() < 0.1:
        return np.full(shape, rng.choice([-128, 127]), np.int64)
    return rng.integers(-128, 128, shape)


def zeros(rng: Random) -> tuple[int, int]:
    """Zero points of input and output."""
    return int(rng.integers(-128, 128)), int(rng.integers(-128, 128))


def limits(rng: Random) -> tuple[int, int]:
    return (-128, 127) if rng.random() < 0.5 else (pick(rng, -128, -20, 3), pick(rng, 3, 60, 127))


def random_scales(rng: Random, n: int) -> npt.NDArray[np.int32]:
    """(n, 2): multipliers and shifts, most of them such that outputs differ, some extreme."""
    multipliers = np.where(rng.random(n) < 0.2, 2**30, rng.integers(2**30, 2**31, n))  # 2^30: exact halves
    shifts = rng.integers(-12, -4, n)
    rare = rng.random(n)
    shifts = np.where(rare < 0.05, rng.integers(-31, 31, n), shifts)
    multipliers = np.where(rare > 0.97, 0, multipliers)
    return np.stack([multipliers, shifts], axis=1).astype(np.int32)


def random_channels(rng: Random, n: int) -> Ints:
    """(n, 3): biases before the zero point is folded in, multipliers, shifts; some near +-2^30."""
    biases = rng.integers(-4000, 4000, n)
    biases = np.where(rng.random(n) < 0.1, rng.choice([-(2**30), 2**30], n), biases)
    return np.column_stack([biases, random_scales(rng, n)]).astype(np.int64)


def folded(channels: Ints, weight_sums: Ints, in_zero: int) -> npt.NDArray[np.int32]:
    result = channels.copy()
    result[:, 0] -= in_zero * weight_sums
    return np.asarray(result, np.int32)


def outputs(sums: Ints, channels: Ints, zero: int, low: int, high: int) -> npt.NDArray[np.int8]:
    return reference.requantize(sums, channels[:, 1], channels[:, 2], zero, low, high).astype(np.int8)


def random_geometry(rng: Random, height: int, width: int, dilations: Sequence[int] = (1, 1, 1, 2, 3)) -> Geometry:
    """Any window that fits somewhere; pads as SAME, as VALID and beyond."""
    kernel = (pick(rng, 1, 2, 3, 5), pick(rng, 1, 2, 3, 4))
    stride = (pick(rng, 1, 1, 2, 3), pick(rng, 1, 1, 2, 3))
    dilation = (pick(rng, *dilations), pick(rng, *dilations))
    pads, out = [], []
    for size, k, s, d in zip((height, width), kernel, stride, dilation, strict=True):
        reach = (k - 1) * d + 1
        if rng.random() < 0.3 and reach <= size:
            pads.append(0)
            out.append((size - reach) // s + 1)
        else:
            out.append(-(-size // s))
            pads.append(max((out[-1] - 1) * s + reach - size, 0) // 2)
    return Geometry(kernel, stride, dilation, (pads[0], pads[1]), (out[0], out[1]))


def spatial_params(image: Ints, g: Geometry, out_c: int, last: Sequence[int]) -> list[int]:
    return [*image.shape, *g.out, out_c, *g.kernel, *g.stride, *g.dilation, *g.pad, *last]


def random_image(rng: Random, depth: int) -> Ints:
    return int8s(rng, pick(rng, 1, 1, 2), int(rng.integers(1, 9)), int(rng.integers(1, 9)), depth)


def conv_case(rng: Random) -> Case:
    groups = pick(rng, 1, 1, 1, 2, 3)
    image = random_image(rng, groups * int(rng.integers(1, 7)))
    g = random_geometry(rng, *image.shape[1:3])
    n_out, (zero, out_zero), (low, high) = groups * int(rng.integers(1, 10)), zeros(rng), limits(rng)
    weights = int8s(rng, n_out, *g.kernel, image.shape[3] // groups)
    channels = random_channels(rng, n_out)
    sums = reference.convolution(image, weights, channels[:, 0], g, groups, zero)
    return Case(
        "conv2d",
        spatial_params(image, g, n_out, [groups, zero, out_zero, low, high]),
        [image.astype(np.int8)],
        outputs(sums, channels, out_zero, low, high),
        pack_conv2d(weights.astype(np.int8), groups),
        folded(channels, weights.sum(axis=(1, 2, 3)), zero),
    )


def conv_1x1_case(rng: Random) -> Case:
    image = random_image(rng, int(rng.integers(1, 20)))
    stride = (pick(rng, 1, 1, 2), pick(rng, 1, 1, 3))
    out = (-(-image.shape[1] // stride[0]), -(-image.shape[2] // stride[1]))
    g = Geometry((1, 1), stride, (1, 1), (0, 0), out)
    n_out, (zero, out_zero), (low, high) = int(rng.integers(1, 14)), zeros(rng), limits(rng)
    weights = int8s(rng, n_out, 1, 1, image.shape[3])
    channels = random_channels(rng, n_out)
    sums = reference.convolution(image, weights, channels[:, 0], g, 1, zero)
    return Case(
        "conv2d_1x1",
        spatial_params(image, g, n_out, [1, zero, out_zero, low, high]),
        [image.astype(np.int8)],
        outputs(sums, channels, out_zero, low, high),
        pack_conv2d(weights.astype(np.int8)),
        folded(channels, weights.sum(axis=(1, 2, 3)), zero),
    )


def depthwise_case(rng: Random, multiplier: int = 1) -> Case:
    image = random_image(rng, int(rng.integers(1, 12)) if multiplier == 1 else int(rng.integers(1, 5)))
    g = random_geometry(rng, *image.shape[1:3])
    n_out, (zero, out_zero), (low, high) = image.shape[3] * multiplier, zeros(rng), limits(rng)
    weights = int8s(rng, 1, *g.kernel, n_out)
    channels = random_channels(rng, n_out)
    sums = reference.depthwise(image, weights, channels[:, 0], g, multiplier, zero)
    return Case(
        "depthwise" if multiplier == 1 else "depthwise_multiplier",
        spatial_params(image, g, n_out, [multiplier, zero, out_zero, low, high]),
        [image.astype(np.int8)],
        outputs(sums, channels, out_zero, low, high),
        pack_depthwise(weights.astype(np.int8), multiplier),
        folded(channels, weights.sum(axis=(0, 1, 2)), zero),
    )


def depthwise_multiplier_case(rng: Random) -> Case:
    return depthwise_case(rng, int(rng.integers(2, 10)))


def pool_case(rng: Random, kernel: str, pool: Callable[[Ints, Geometry], Ints]) -> Case:
    image = random_image(rng, int(rng.integers(1, 8)))
    g = random_geometry(rng, image.shape[1], image.shape[2], (1,))
    low, high = limits(rng)
    expected = np.clip(pool(image, g), low, high).astype(np.int8)
    params = spatial_params(image, g, image.shape[3], [1, 0, 0, low, high])
    return Case(kernel, params, [image.astype(np.int8)], expected)


def average_pool_case(rng: Random) -> Case:
    return pool_case(rng, "average_pool", reference.average_pool)


def max_pool_case(rng: Random) -> Case:
    return pool_case(rng, "max_pool", reference.max_pool)


def fully_connected_case(rng: Random) -> Case:
    batch, n_in, n_out = int(rng.integers(1, 4)), int(rng.integers(1, 70)), int(rng.integers(1, 20))
    vectors, weights, channels = int8s(rng, batch, n_in), int8s(rng, n_out, n_in), random_channels(rng, n_out)
    (zero, out_zero), (low, high) = zeros(rng), limits(rng)
    sums = (vectors - zero) @ weights.T + channels[:, 0]
    return Case(
        "fully_connected",
        [batch, n_in, n_out, out_zero, low, high],
        [vectors.astype(np.int8)],
        reference.requantize_once(sums, channels[:, 1], channels[:, 2], out_zero, low, high).astype(np.int8),
        pack_fully_connected(weights.astype(np.int8)),
        folded(channels, weights.sum(axis=1), zero),
    )


def fully_connected_f64_case(rng: Random) -> Case:
    case = fully_connected_case(rng)
    n_in, n_out, out_zero, low, high = case.params[1:]
    scales = rng.choice([0.5, 0.125, 0.0078125, 0.01, 3e9, 1e-12], n_out) * rng.choice([1.0, rng.uniform(0.5, 1.0)])
    bias = case.channels[:, 0].copy()
    weights = case.weights.reshape(-1, n_in, 4).transpose(0, 2, 1).reshape(-1, n_in)[:n_out].astype(np.int64)
    sums = case.inputs[0].astype(np.int64) @ weights.T + bias
    scaled = np.clip((sums * scales), -(2.0**40), 2.0**40)
    expected = np.clip(reference.round_away(scaled) + out_zero, low, high).astype(np.int8)
    return replace(
        case, kernel="fully_connected_f64", inputs=[case.inputs[0], scales], channels=bias, expected=expected
    )


def add_numbers(rng: Random) -> list[int]:
    """The parameters of an addition but its size. One operand's scale is half or less than that of the other; the
    sum's shift makes up for the 2^20 of the operands."""
    shifts = [-1, int(rng.choice([-1, -1, -2, -5, -31]))]
    rng.shuffle(shifts)
    a, b, total = map(int, rng.integers(2**30, 2**31, 3))
    zero, out_zero = zeros(rng)
    operands = [zero, a, shifts[0], int(rng.integers(-128, 128)), b, shifts[1]]
    return [*operands, out_zero, total, int(rng.integers(-20, -16)), *limits(rng)]


def add_expected(a: Ints, b: Ints, numbers: Sequence[int]) -> npt.NDArray[np.int8]:
    sums = sum(
        reference.scale((q - zero) * 2**20, np.int64(multiplier), np.int64(shift))
        for q, (zero, multiplier, shift) in ((a, numbers[0:3]), (b, numbers[3:6]))
    )
    zero, multiplier, shift, low, high = numbers[6:]
    sums = np.asarray(sums)
    return reference.requantize(sums, np.int64(multiplier), np.int64(shift), zero, low, high).astype(np.int8)


def add_case(rng: Random) -> Case:
    size = int(rng.integers(1, 300))
    a, b, numbers = int8s(rng, size), int8s(rng, size), add_numbers(rng)
    return Case("add", [size, *numbers], [a.astype(np.int8), b.astype(np.int8)], add_expected(a, b, numbers))


def add_broadcast_case(rng: Random) -> Case:
    dims = rng.integers(1, 5, 4)
    shapes = [np.where(rng.random(4) < 0.4, 1, dims) for _ in range(2)]
    dims = np.maximum(*shapes)
    a, b, numbers = int8s(rng, *shapes[0]), int8s(rng, *shapes[1]), add_numbers(rng)
    strides = [[0 if n == 1 else s for n, s in zip(x.shape, x.astype(np.int8).strides, strict=True)] for x in (a, b)]
    params = [0, *numbers, *map(int, dims), *strides[0], *strides[1]]
    return Case("add_broadcast", params, [a.astype(np.int8), b.astype(np.int8)], add_expected(a, b, numbers))


def softmax_case(rng: Random) -> Case:
    batch, depth = int(rng.integers(1, 4)), pick(rng, 1, 2, 3, 10, 12, 40, 300, 600)
    x = int8s(rng, batch, depth) // pick(rng, 1, 1, 8)
    real = float(rng.choice([0.0001, 0.01, 0.05, 0.2, 1.0, 7.0, 30.0])) * float(rng.uniform(0.5, 1.0)) * 2**26
    real = min(real, 2**31 - 1.0)
    shift = int(np.frexp(real)[1])
    multiplier = min(round(real / 2**shift * 2**31), 2**31 - 1)
    diff_min = -int(31 * 2**26 // 2**shift)
    expected = np.array([reference.softmax(v, multiplier, shift, diff_min) for v in x], np.int8)
    return Case("softmax", [batch, depth, multiplier, shift, diff_min], [x.astype(np.int8)], expected)


def bits(x: np.float32) -> int:
    return int(x.view(np.int32))


def quantize_case(rng: Random) -> Case:
    step, zero = np.float32(rng.choice([0.5, 1.0, 0.0078125, rng.uniform(1e-6, 10.0)])), int(rng.integers(-128, 128))
    below_half = np.nextafter(np.float32(0.5), np.float32(0)) * step
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-42, below_half, -below_half]
    halves = (rng.integers(-300, 300, 60) + 0.5) * step
    x = np.concatenate([special, halves, rng.normal(0, 80, 60) * step]).astype(np.float32)
    expected = reference.quantize(x, step, zero).astype(np.int8)
    return Case("quantize", [x.size, bits(step), zero], [x], expected)


def dequantize_case(rng: Random) -> Case:
    step, zero = np.float32(rng.uniform(1e-6, 10.0)), int(rng.integers(-128, 128))
    q = np.arange(-128, 128)
    return Case("dequantize", [q.size, bits(step), zero], [q.astype(np.int8)], (q - zero).astype(np.float32) * step)


def requantize_case(rng: Random, kernel: str, before: type, after: type) -> Case:
    source, target = np.iinfo(before), np.iinfo(after)
    multiplier = pick(rng, 2**30, int(rng.integers(2**30, 2**31)))
    shift = int(rng.choice([-31, -8, -2, -1, 0, 1, 1, 3, 21, 30]))
    zero, out_zero = int(rng.integers(source.min, source.max + 1)), int(rng.integers(target.min, target.max + 1))
    q = np.arange(source.min, source.max + 1)
    numbers = np.int64(multiplier), np.int64(shift), out_zero, int(target.min), int(target.max)
    expected: npt.NDArray[Any] = reference.requantize(q - zero, *numbers).astype(after)
    return Case(kernel, [q.size, zero, out_zero, multiplier, shift], [q.astype(before)], expected)


def requantize_s8_s8_case(rng: Random) -> Case:
    return requantize_case(rng, "requantize_s8_s8", np.int8, np.int8)


def requantize_u8_s8_case(rng: Random) -> Case:
    return requantize_case(rng, "requantize_u8_s8", np.uint8, np.int8)


def requantize_s8_u8_case(rng: Random) -> Case:
    return requantize_case(rng, "requantize_s8_u8", np.int8, np.uint8)


MAKERS: dict[str, Callable[[Random], Case]] = {
    "conv2d": conv_case,
    "conv2d_1x1": conv_1x1_case,
    "depthwise": depthwise_case,
    "depthwise_multiplier": depthwise_multiplier_case,
    "average_pool": average_pool_case,
    "max_pool": max_pool_case,
    "fully_connected": fully_connected_case,
    "fully_connected_f64": fully_connected_f64_case,
    "add": add_case,
    "add_broadcast": add_broadcast_case,
    "softmax": softmax_case,
    "quantize": quantize_case,
    "dequantize": dequantize_case,
    "requantize_s8_s8": requantize_s8_s8_case,
    "requantize_u8_s8": requantize_u8_s8_case,
    "requantize_s8_u8": requantize_s8_u8_case,
}


@pytest.mark.parametrize("kernel", KERNELS)
def test_equals_reference(run: Runner, kernel: str) -> None:
    rng = np.random.default_rng(KERNELS.index(kernel))
    run([MAKERS[kernel](rng) for _ in range(150)])


def test_fully_connected_rounds_halves_away_from_zero(run: Runner) -> None:
    x = np.arange(-128, 128).astype(np.int8)
    params, weights = [256, 1, 1, 0, -128, 127], np.array([1, 0, 0, 0], np.int8)
    expected = (np.sign(x) * ((abs(x.astype(int)) + 1) // 2)).astype(np.int8)
    channels = np.array([[0, 2**30, 0]], np.int32)
    case = Case("fully_connected", params, [x], expected, weights, channels)
    in_double = replace(case, kernel="fully_connected_f64", inputs=[x, np.array([0.5])], channels=channels[:, 0].copy())
    run([case, in_double])


def test_exp_and_reciprocal_in_all_their_bits(run: Runner) -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([-rng.integers(0, 2**31, 3000), -rng.integers(0, 2**27, 3000), -np.arange(128) * 2**24])
    y = rng.integers(0, 2**31, 3000)
    exps = [reference.fixed_exp(int(v)) for v in x]
    reciprocals = [reference.fixed_reciprocal(int(v)) for v in y]
    run(
        [
            Case("exp", [x.size], [x.astype(np.int32)], np.array(exps, np.int32)),
            Case("reciprocal", [y.size], [y.astype(np.int32)], np.array(reciprocals, np.int32)),
        ]
    )


def test_every_kernel_file_is_tested() -> None:
    files = {path.stem for path in (CRT / "kernels").glob("*.c")}
    renamed = {
        **{"depthwise": "depthwise_conv2d", "depthwise_multiplier": "depthwise_conv2d_multiplier"},
        **{"average_pool": "average_pool2d", "max_pool": "max_pool2d"},
        **{"quantize": "quantize_f32_s8", "dequantize": "dequantize_s8_f32"},
    }
    names = [renamed.get(kernel, kernel) for kernel in KERNELS]
    assert files == {name if name.endswith(("8", "32")) else f"{name}_s8" for name in names}


def test_a_difference_is_seen(run: Runner) -> None:
    case = conv_case(np.random.default_rng(0))
    wrong = case.expected.copy()
    wrong.flat[-1] ^= 1
    with pytest.raises(AssertionError, match="whole"):
        run([replace(case, expected=wrong)])


def test_a_stray_read_is_seen(run: Runner) -> None:
    case = fully_connected_case(np.random.default_rng(0))
    with pytest.raises(AssertionError, match="heap-buffer-overflow"):
        run([replace(case, weights=case.weights[:-1])])


def test_pack_conv2d_layout() -> None:
    weights = np.arange(6 * 2 * 1 * 2, dtype=np.int8).reshape(6, 2, 1, 2)
    packed = pack_conv2d(weights).reshape(2, 2, 1, 2, 4)
    np.testing.assert_array_equal(packed[0, 1, 0, 1], weights[:4, 1, 0, 1])
    np.testing.assert_array_equal(packed[1, 0, 0, 1], [*weights[4:, 0, 0, 1], 0, 0])


def test_pack_conv2d_fills_up_each_group() -> None:
    weights = np.arange(1, 7, dtype=np.int8).reshape(6, 1, 1, 1)
    np.testing.assert_array_equal(pack_conv2d(weights, 2), [1, 2, 3, 0, 4, 5, 6, 0])


def test_pack_depthwise_layout() -> None:
    weights = np.arange(2 * 3, dtype=np.int8).reshape(1, 2, 1, 3)
    np.testing.assert_array_equal(pack_depthwise(weights), [0, 1, 2, 0, 3, 4, 5, 0])


def test_pack_depthwise_with_multiplier_keeps_input_channels_apart() -> None:
    weights = np.arange(1, 5, dtype=np.int8).reshape(1, 1, 1, 4)
    np.testing.assert_array_equal(pack_depthwise(weights, 2), [1, 2, 0, 0, 3, 4, 0, 0])


def test_pack_fully_connected_layout() -> None:
    weights = np.arange(5 * 2, dtype=np.int8).reshape(5, 2)
    np.testing.assert_array_equal(
        pack_fully_connected(weights), [0, 2, 4, 6, 1, 3, 5, 7, 8, 0, 0, 0, 9, 0, 0, 0]
    )  # fmt: skip


def indirect_calls(folder: Path, cpu: str, optimisation: str) -> list[str]:
    """Calls through a register in all kernels, as objdump shows them."""
    sources = sorted(str(source) for source in (CRT / "kernels").glob("*.c"))
    flags = [f"-mcpu={cpu}", "-mthumb", "-std=c11", optimisation, "-I", str(CRT / "include")]
    subprocess.run(["arm-none-eabi-gcc", *flags, "-c", *sources], cwd=folder, check=True, timeout=300)
    listing = subprocess.run(["arm-none-eabi-objdump", "-d", *(f"{Path(source).stem}.o" for source in sources)],
                             cwd=folder, check=True, timeout=300, capture_output=True, text=True).stdout
    return re.findall(r".*\tblx\tr.*", listing)


@pytest.mark.parametrize("cpu", ["cortex-m3", "cortex-m4", "cortex-m7", "cortex-m55"])
def test_kernels_call_nothing_through_a_pointer(cpu: str, tmp_path: Path) -> None:
    """Row functions are arguments of loops; the stack's bound stands only if these calls become direct."""
    assert indirect_calls(tmp_path, cpu, "-O2") == []
    assert indirect_calls(tmp_path, cpu, "-O0"), "calls through a pointer would be seen"
