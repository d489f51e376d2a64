"""Test vectors: the same on every machine, stored in the same bytes, and refused with a reason."""

from __future__ import annotations

import builtins
import hashlib
import io
import random
import zipfile
from pathlib import Path
from typing import Any

import litert
import numpy as np
import pytest
from real_models import ROOT
from tflite_writer import Model
from tinykiln.boards import find_board
from tinykiln.errors import ModelError, ToolError, VectorError
from tinykiln.graph import Array
from tinykiln.load import load, tflite
from tinykiln.plan import Plan, make_plan
from tinykiln.project import TensorInfo
from tinykiln.reference import (
    Arrays,
    Vectors,
    _check_version,
    random_inputs,
    read_inputs,
    read_labels,
    run_reference,
    vectors_from_npz,
    vectors_to_npz,
)

BOARD = find_board("qemu_mps2_an386")
DIGITS = ROOT / "examples" / "digits" / "digits.tflite"
IMAGE = TensorInfo("image", "int8", (1, 2, 2), 0.5, 0, 4)
GAIN = TensorInfo("gain", "float32", (1,), 0.0, 0, 4)
LABELLED = {"image": np.zeros((3, 4), np.int8)}


def plan_of(data: bytes, digest: str = "sha256:0") -> Plan:
    return make_plan(tflite.load(data, "net", digest, Path("net.tflite")), BOARD)


def mixed() -> Model:
    """int8, uint8 and two float32 inputs, one of them quantised first; the output of an operator in the middle too."""
    model = Model()
    a = model.input((1, 300), name="a")
    b = model.input((1, 300), zero=100, dtype="uint8", name="b")
    c = model.input((1, 300), dtype="float32", name="c")
    model.input((1, 300), dtype="float32", name="d")
    quantised = model.quantize(c, scale=0.5, zero=-28)
    total = model.add(a, model.quantize(b, scale=0.05), scale=0.1)
    model.output(model.add(total, quantised, scale=0.7))
    model.output(model.reshape(total, (300,)))
    return model


def kinds(arrays: Arrays) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (str(array.dtype), array.shape) for name, array in arrays.items()}


def digest_of(arrays: Arrays) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays.values())).hexdigest()[:16]


# ---- random inputs ----


def test_random_inputs_are_the_same_everywhere() -> None:
    inputs = random_inputs(make_plan(load(DIGITS), BOARD), 8)
    assert kinds(inputs) == {"image": ("int8", (8, 1, 8, 8, 1))}
    assert digest_of(inputs) == "920c54be61ead07c"


def test_random_inputs_depend_on_the_model_and_the_input_alone() -> None:
    plan = plan_of(mixed().to_bytes())
    inputs = random_inputs(plan, 2)
    assert digest_of(inputs) == digest_of(random_inputs(plan, 2)) == "be935b663e4ce762"
    assert digest_of(random_inputs(plan_of(mixed().to_bytes(), "sha256:1"), 2)) != digest_of(inputs)
    assert inputs["a"].tobytes() != inputs["b"].tobytes()


def test_random_inputs_take_every_value() -> None:
    inputs = random_inputs(plan_of(mixed().to_bytes()), 40)
    dtypes = {"a": "int8", "b": "uint8", "c": "float32", "d": "float32"}
    assert kinds(inputs) == {name: (dtype, (40, 1, 300)) for name, dtype in dtypes.items()}
    assert set(np.unique(inputs["a"])) == set(range(-128, 128))
    assert set(np.unique(inputs["b"])) == set(range(256))
    # c is quantised: real = 0.5 * (q + 28), q from -128 to 127.
    assert -50 <= inputs["c"].min() < -49.9 and 77.4 < inputs["c"].max() <= 77.5
    assert -1 <= inputs["d"].min() < -0.999 and 0.999 < inputs["d"].max() <= 1


# ---- the reference interpreter ----


def test_reference_is_what_litert_makes_of_every_input() -> None:
    data = mixed().to_bytes()
    plan = plan_of(data)
    inputs = random_inputs(plan, 3)
    vectors = run_reference(data, plan, inputs)
    assert vectors.count == 3
    assert list(kinds(vectors.outputs).values()) == [("int8", (3, 1, 300)), ("int8", (3, 300))]
    for i in range(3):
        expected = litert.run(data, [inputs[port.name][i] for port in plan.inputs])
        for port, array in zip(plan.outputs, expected, strict=True):
            assert np.array_equal(vectors.outputs[port.name][i], array)
    assert list(vectors.layers) == [step.name for step in plan.steps]
    assert np.array_equal(vectors.layers["add_3"], vectors.outputs[plan.outputs[0].name][0])


def test_litert_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def blocked(name: str, *more: Any, **named: Any) -> Any:
        if name.startswith("ai_edge_litert"):
            raise ImportError("No module named 'ai_edge_litert'")
        return real(name, *more, **named)

    plan = make_plan(load(DIGITS), BOARD)
    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(ToolError) as caught:
        run_reference(DIGITS.read_bytes(), plan, random_inputs(plan, 1))
    assert str(caught.value) == (
        "the reference interpreter (LiteRT) is not installed\n"
        "  where: No module named 'ai_edge_litert'\n"
        "  next:  pip install 'tinykiln[verify]' (Linux or macOS, x86-64 or Arm64)"
    )


def test_litert_refuses_the_model() -> None:
    plan = make_plan(load(DIGITS), BOARD)
    with pytest.raises(ModelError) as caught:
        run_reference(b"no model", plan, random_inputs(plan, 1))
    assert caught.value.what == "the reference interpreter (LiteRT) refuses the model"
    assert caught.value.hint == "convert the model again; the file must be one that LiteRT runs"
    assert "Flatbuffer" in caught.value.where


# ---- files ----


def some_vectors() -> Vectors:
    return Vectors(
        {"image": np.arange(8, dtype=np.int8).reshape(2, 1, 2, 2), "gain": np.array([[0.5], [np.nan]], np.float32)},
        {"scores": np.ones((2, 1, 3), np.uint8)},
        {"fc_0": np.zeros((1, 3), np.int8)})


def test_npz_comes_back_as_it_went(tmp_path: Path) -> None:
    data = vectors_to_npz(some_vectors())
    (tmp_path / "golden.npz").write_bytes(data)
    vectors = vectors_from_npz(tmp_path / "golden.npz")
    for group in ("inputs", "outputs", "layers"):
        got, expected = getattr(vectors, group), getattr(some_vectors(), group)
        assert kinds(got) == kinds(expected)
        assert [array.tobytes() for array in got.values()] == [array.tobytes() for array in expected.values()]
    assert vectors_to_npz(vectors) == data


def test_npz_holds_no_time() -> None:
    with zipfile.ZipFile(io.BytesIO(vectors_to_npz(some_vectors()))) as file:
        assert {info.date_time for info in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert file.namelist() == ["inputs/image.npy", "inputs/gain.npy", "outputs/scores.npy", "layers/fc_0.npy"]


def test_no_golden_vectors(tmp_path: Path) -> None:
    file = tmp_path / "v.npz"
    np.savez(file, image=np.zeros(3))
    with pytest.raises(VectorError) as caught:
        vectors_from_npz(file)
    assert str(caught.value) == (
        f"the file holds no golden vectors\n  where: {file}\n  next:  generate the project again with LiteRT installed")


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_npz_is_refused_or_read(compressed: bool, tmp_path: Path) -> None:
    buffer, file = io.BytesIO(), tmp_path / "v.npz"
    (np.savez_compressed if compressed else np.savez)(buffer, image=np.arange(200, dtype=np.int8))
    data, refused = buffer.getvalue(), 0
    for seed in range(400):
        rng = random.Random(seed)
        damaged = bytearray(data[:rng.randrange(len(data))] if seed % 3 == 0 else data)
        for _ in range(rng.randint(1, 3) if damaged else 0):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        file.write_bytes(damaged)
        try:
            read_inputs(file, [])
        except VectorError as error:
            assert str(file) in str(error)
            refused += 1
    assert refused > 200


def write(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_read_inputs(tmp_path: Path) -> None:
    images, gains = np.arange(12, dtype=np.int8).reshape(3, 1, 2, 2), np.ones((3, 1), np.float32)
    file = write(tmp_path / "in.npz", gain=gains, image=images, other=np.zeros(7))
    found = read_inputs(file, [IMAGE, GAIN])
    assert list(found) == ["image", "gain"]
    assert np.array_equal(found["image"], images) and np.array_equal(found["gain"], gains)


HINT = "  next:  values are quantised as the model's header says: q = real / scale + zero"


@pytest.mark.parametrize(("arrays", "message"), [
    ({}, "no array 'image' for the model's input\n  where: FILE has nothing\n"
         "  next:  numpy.savez(file, image=array of shape (N, 1, 2, 2), dtype int8)"),
    ({"x": np.zeros(1), "Image": np.zeros(1)},
     "no array 'image' for the model's input\n  where: FILE has Image, x\n"
     "  next:  numpy.savez(file, image=array of shape (N, 1, 2, 2), dtype int8)"),
    ({"image": np.zeros((3, 1, 2, 2), np.float32)},
     f"array 'image': expected int8 of shape (N, 1, 2, 2), got float32 of shape (3, 1, 2, 2)\n  where: FILE\n{HINT}"),
    ({"image": np.zeros((3, 2, 2), np.int8)},
     "array 'image': expected int8 of shape (N, 1, 2, 2), got int8 of shape (3, 2, 2)\n  where: FILE\n"
     "  next:  the model's batch dimension is missing: image[:, None]"),
    ({"image": np.zeros((), np.int8)},
     f"array 'image': expected int8 of shape (N, 1, 2, 2), got int8 of shape ()\n  where: FILE\n{HINT}"),
    ({"image": np.zeros((3, 1, 2, 2), np.int8), "gain": np.zeros((2, 1), np.float32)},
     "expected the same number of vectors, at least one, in every array, got {'image': 3, 'gain': 2}\n  where: FILE"),
    ({"image": np.zeros((0, 1, 2, 2), np.int8), "gain": np.zeros((0, 1), np.float32)},
     "expected the same number of vectors, at least one, in every array, got {'image': 0, 'gain': 0}\n  where: FILE"),
])
def test_refused_inputs(arrays: dict[str, Array], message: str, tmp_path: Path) -> None:
    file = write(tmp_path / "in.npz", **arrays)
    with pytest.raises(VectorError) as caught:
        read_inputs(file, [IMAGE, GAIN])
    assert str(caught.value) == message.replace("FILE", str(file))


def test_files_that_are_no_npz(tmp_path: Path) -> None:
    file, hint = tmp_path / "in.npz", "numpy.savez writes such a file"
    with pytest.raises(VectorError) as caught:
        read_inputs(file, [IMAGE])
    assert str(caught.value) == f"cannot read vectors: No such file or directory\n  where: {file}"
    pickled, single, archive = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.savez(pickled, image=np.array([{}], dtype=object))
    np.save(single, np.zeros(3))
    for data in (b"", b"text", pickled.getvalue(), single.getvalue()):
        file.write_bytes(data)
        with pytest.raises(VectorError) as caught:
            read_inputs(file, [IMAGE])
        assert str(caught.value) == f"in.npz is no .npz file, or a damaged one\n  where: {file}\n  next:  {hint}"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("image", "text")
    file.write_bytes(archive.getvalue())
    with pytest.raises(VectorError) as caught:
        read_inputs(file, [IMAGE])
    assert str(caught.value) == f"'image' is no array\n  where: {file}\n  next:  numpy.savez writes arrays"


def test_labels(tmp_path: Path) -> None:
    file = tmp_path / "in.npz"
    assert read_labels(write(file, image=LABELLED["image"]), LABELLED) is None
    labels = read_labels(write(file, labels=np.array([1, 2, 9])), LABELLED)
    assert labels is not None and labels.tolist() == [1, 2, 9]


@pytest.mark.parametrize(("labels", "got"), [
    (np.array([1, 2]), "int64 of shape (2)"),
    (np.array([1.0, 2.0, 3.0]), "float64 of shape (3)"),
    (np.zeros((3, 10), np.int8), "int8 of shape (3, 10)"),
])
def test_refused_labels(labels: Array, got: str, tmp_path: Path) -> None:
    file = write(tmp_path / "in.npz", labels=labels)
    with pytest.raises(VectorError) as caught:
        read_labels(file, LABELLED)
    assert str(caught.value) == f"array 'labels': expected 3 integers, got {got}\n  where: {file}"


def test_an_old_litert_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinykiln.reference.metadata.version", lambda name: "1.2.0")
    with pytest.raises(ToolError) as caught:
        _check_version()
    assert str(caught.value) == (
        "the reference interpreter (LiteRT) is too old: expected 1.3 or newer, got 1.2.0\n"
        "  next:  pip install --upgrade ai-edge-litert"
    )
