"""Damaged and hostile model files: a ModelError or a Graph that is right, never anything else, and soon."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from litert import run
from real_models import real_model
from tflite_writer import Model, residual_network
from tinykiln.check import check
from tinykiln.errors import ModelError
from tinykiln.graph import Graph, plain_name
from tinykiln.load import load
from tinykiln.load.flatbuffer import DamagedError, Vector, verify
from tinykiln.passes import simplify

SECONDS = 2.0
"""No file takes longer than this to be judged."""
WORDS = (0, 1, 2, 3, 4, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 10**9, 2**31 - 1, 2**31, 2**32 - 1, 2**32 - 4)
"""What targeted mutations write over the 32-bit words of a file."""


def judge(data: bytes, path: Path) -> Graph | None:
    """The Graph of a file's bytes, or None where it is refused. Anything but a ModelError fails the test."""
    path.write_bytes(data)
    start = time.process_time()
    try:
        graph = load(path)
    except ModelError as error:
        assert error.what and error.where
        graph = None
    assert time.process_time() - start < SECONDS
    if graph is not None:
        check(graph)
        simplify(graph)
    return graph


def small_model(kind: str) -> bytes:
    """A model of a few operators, so that most of its bytes are structure."""
    rng = np.random.default_rng(5)
    model = Model()
    if kind == "float":
        x = model.quantize(model.input((2, 6), dtype="float32"), scale=0.05, zero=3)
        y = model.random_fully_connected(rng, x, 3, per_channel=True)
        model.output(model.dequantize(model.random_add(rng, y, model.constant(np.ones(3, np.int8), 0.05))))
    else:
        x = model.quantize(model.input((1, 5, 6, 2), 0.05, 128, "uint8"), scale=0.05)
        y = model.random_depthwise_conv2d(rng, model.random_conv2d(rng, x, 2), dilation=(2, 1), bias=False)
        z = model.average_pool2d(model.max_pool2d(y, (2, 2)), (2, 2), padding="SAME")
        model.output(model.softmax(model.reshape(z, (1, 40), wanted=(1, -1))))
    return model.to_bytes()


def base(name: str) -> bytes:
    if name in ("float", "image"):
        return small_model(name)
    return residual_network() if name == "residual" else real_model(name).read_bytes()


BASES = ("float", "image", "residual", "hello_world_int8", "kws_ref_model")


def mutants(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """Bit flips, byte flips and interesting words at random places."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        changed = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            place = int(rng.integers(0, len(data) - 4))
            choice = int(rng.integers(0, 3))
            if choice == 0:
                changed[place] ^= 1 << int(rng.integers(0, 8))
            elif choice == 1:
                changed[place] = int(rng.integers(0, 256))
            else:
                struct.pack_into("<I", changed, place & ~3, WORDS[int(rng.integers(0, len(WORDS)))])
        yield bytes(changed)


@pytest.mark.parametrize("name", BASES)
def test_truncations(name: str, tmp_path: Path) -> None:
    data = base(name)
    for length in range(0, len(data), max(1, len(data) // 700)):
        assert judge(data[:length], tmp_path / "m.tflite") is None or length > len(data) // 2


@pytest.mark.parametrize("name", BASES)
def test_random_damage(name: str, tmp_path: Path) -> None:
    graphs = [judge(data, tmp_path / "m.tflite") for data in mutants(base(name), 1, 600)]
    assert any(graph is None for graph in graphs)


@pytest.mark.parametrize("name", ["float", "image"])
def test_every_word_replaced(name: str, tmp_path: Path) -> None:
    data = base(name)
    for place in range(0, len(data) - 3, 4):
        for word in WORDS[place // 4 % 4::4]:
            changed = bytearray(data)
            struct.pack_into("<I", changed, place, word)
            judge(bytes(changed), tmp_path / "m.tflite")


# ---- what is accepted is what LiteRT accepts ----


def accepted(tmp_path: Path) -> Iterator[Path]:
    """Damaged models that the loader accepts, as files."""
    for name in ("float", "image", "residual"):
        for index, data in enumerate(mutants(base(name), 2, 400)):
            if judge(data, tmp_path / "m.tflite") is not None:
                path = tmp_path / f"{name}_{index}.tflite"
                path.write_bytes(data)
                yield path


def test_litert_accepts_what_is_accepted(tmp_path: Path) -> None:
    files = list(accepted(tmp_path))
    assert len(files) > 50
    worker = Path(__file__).parent / "litert_worker.py"
    done = subprocess.run([sys.executable, worker, *files], capture_output=True, text=True, timeout=120)
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert done.returncode == 0, results[-1:]
    assert [result for result in results if result[1] not in ("start", None)] == []
    assert len(results) == 2 * len(files)


# ---- files made to hurt ----


def test_a_file_whose_parts_are_all_misaligned_is_refused(tmp_path: Path) -> None:
    data = residual_network()
    shifted = struct.pack("<I", struct.unpack_from("<I", data)[0] + 1) + data[4:8] + b"\0" + data[8:]
    assert judge(shifted, tmp_path / "m.tflite") is None
    with pytest.raises(ValueError, match="not a valid Flatbuffer"):
        run(shifted, [])


@pytest.mark.parametrize(("distance", "count", "reason"), [
    (4, 4, None),
    (5, 0, "a reference leads out of the file"),
    (0, 0, "a reference leads out of the file"),
    (12, 0, "a reference leads out of the file"),
    (4, 5, "a list is longer than the file"),
])
def test_a_vector_must_be_aligned_and_inside(distance: int, count: int, reason: str | None) -> None:
    vtable, table = struct.pack("<HHHH", 6, 8, 4, 0), struct.pack("<iI", 8, distance)
    data = struct.pack("<II", 16, 0) + vtable + table + struct.pack("<II", count, 0)
    if reason is None:
        verify(data, {"T": {0: Vector(1)}}, "T")
        return
    with pytest.raises(DamagedError, match=f"^{reason}$"):
        verify(data, {"T": {0: Vector(1)}}, "T")


def test_shapes_of_a_thousand_million_elements(tmp_path: Path) -> None:
    model = Model()
    model.output(model.quantize(model.input((1000, 1000, 1000)), scale=0.1))
    graph = judge(model.to_bytes(), tmp_path / "m.tflite")
    assert graph is not None and graph.tensors[0].size == 10**9
    model.tensors[0].shape = (2**31 - 1,) * 6
    assert judge(model.to_bytes(), tmp_path / "m.tflite") is None


def test_parts_that_are_shared_a_thousand_times(tmp_path: Path) -> None:
    model = Model()
    x = model.input((1, 4), scale=0.1)
    model.output(model.random_fully_connected(np.random.default_rng(1), x, 2000))
    weights = model.operators[0].inputs[1]
    for _ in range(3000):
        model.tensor((2000, 4), "int8", scales=[0.1], zeros=[0], buffer=weights)
    assert judge(model.to_bytes(), tmp_path / "m.tflite") is None


@pytest.mark.parametrize("count", [5000, 60000])
def test_many_operators(count: int, tmp_path: Path) -> None:
    model = Model()
    x = model.input((1, 4))
    for _ in range(count // 100):
        x = model.quantize(x, scale=0.05)
    model.output(x)
    model.operators *= 100
    assert judge(model.to_bytes(), tmp_path / "m.tflite") is None


def test_no_tensors_at_all(tmp_path: Path) -> None:
    model = Model()
    model.operator("ADD", [-1, -1], [-1], "AddOptions")
    assert judge(model.to_bytes(), tmp_path / "m.tflite") is None
    model.operator("CONV_2D", [], [], "Conv2DOptions")
    assert judge(model.to_bytes(), tmp_path / "m.tflite") is None


# ---- names ----


NAMES = ("*/ int x; /*", "a\"b'c", "line\nbreak\rand\ttab", "back\\slash\\", "??/ ??> trigraphs", "%s%n", "größe 名前",
         "\x1b[31mred", "//", "\0zero", "x" * 5000, "", " ")


@pytest.mark.parametrize("name", NAMES)
def test_names_are_kept_and_can_be_made_plain(name: str, tmp_path: Path) -> None:
    model = Model()
    model.output(model.quantize(model.input((1, 4), name=name or "x"), scale=0.1))
    model.tensors[0].name = name
    graph = judge(model.to_bytes(), tmp_path / "m.tflite")
    assert graph is not None and graph.tensors[0].name == name
    plain = plain_name(name)
    assert len(plain) <= 80 and plain.isascii() and (plain.isprintable() or not plain)
    assert not any(text in plain for text in ("*", "\"", "'", "\\", "?", "%", "\n"))


def test_plain_names_of_ordinary_tensors_are_the_names() -> None:
    assert plain_name("model/conv2d_1/BiasAdd;model:0 [x]") == "model/conv2d_1/BiasAdd;model:0 [x]"
    assert plain_name("a" * 81) == "a" * 77 + "..."
    assert plain_name("*/ \"x\"") == "_/ _x_"


def test_plain_names_compile(tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is not installed")
    lines = [f'/* {plain_name(name)} */\nextern const char *const s{i};\nconst char *const s{i} = "{plain_name(name)}";'
             for i, name in enumerate(NAMES)]
    (tmp_path / "names.c").write_text("\n".join(lines) + "\n")
    done = subprocess.run([compiler, "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only",
                           tmp_path / "names.c"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_names_that_are_not_text_are_refused(tmp_path: Path) -> None:
    model = Model()
    model.output(model.quantize(model.input((1, 4)), scale=0.1))
    model.tensors[0].name = b"\xff\xfe"
    path = tmp_path / "m.tflite"
    path.write_bytes(model.to_bytes())
    with pytest.raises(ModelError, match=r"^m\.tflite is damaged: a name is not UTF-8\n"):
        load(path)


def test_errors_show_hostile_names_plainly(tmp_path: Path) -> None:
    model = Model()
    model.output(model.quantize(model.input((1, 4)), scale=0.1))
    model.operators[0].kind = "TANH"
    model.tensors[1].name = "\x1b[2J*/\n"
    path = tmp_path / "m.tflite"
    path.write_bytes(model.to_bytes())
    with pytest.raises(ModelError) as caught:
        load(path)
    assert "operator 0 TANH, tensor '_[2J_/_' (int8): the operator is not supported" in caught.value.what
