"""A generated project stands on its own: its own tests, a build with cmake alone, another place, the user's inputs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract import faults
from firmware import DIGITS, flash_and_test, generate, model_file, succeed, tinykiln
from litert import random_inputs, run
from tflite_writer import Model, residual_network
from tinykiln.elf import read_build_id
from tinykiln.project import read_project

TOOLCHAIN = ("cmake", "make", "arm-none-eabi-gcc", "arm-none-eabi-ar", "arm-none-eabi-ranlib", "arm-none-eabi-objcopy")
NO_PORT = {name: value for name, value in os.environ.items() if name != "TINYKILN_PORT"}


def own_tests(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder / "tests")]
    env = NO_PORT | environment
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=env)


def test_the_projects_own_tests_pass(digits: Path) -> None:
    done = own_tests(digits)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^3 passed in ", done.stdout, re.MULTILINE)


def test_the_projects_own_tests_fail_where_the_firmware_is_wrong(digits: Path) -> None:
    """The zero point of the first convolution's output is off by one."""
    model = digits / "model" / "digits.c"
    text = model.read_text()
    damaged = re.sub(r"\.out_zero = (-?\d+)", lambda match: f".out_zero = {int(match[1]) + 1}", text, count=1)
    assert damaged != text
    model.write_text(damaged)
    done = own_tests(digits)
    assert done.returncode == 1
    assert "FAILED tests/test_firmware.py::test_every_inference_gives_the_stored_outputs" in done.stdout


def test_the_projects_own_tests_take_the_port_from_the_environment(digits: Path) -> None:
    done = own_tests(digits, TINYKILN_PORT="/dev/no-such-port")
    assert done.returncode == 1
    assert "/dev/no-such-port" in done.stdout


@pytest.mark.parametrize("board", ["qemu_mps2_an386", "nucleo_f446re"])
def test_cmake_alone_builds_the_same_image(board: str, tmp_path: Path) -> None:
    """No Python, and nothing of tinykiln but the folder: the same bytes, in a place of another name."""
    here, there = tmp_path / "fw", tmp_path / "a place with spaces" / "copy"
    generate(DIGITS, board, here)
    shutil.copytree(here, there)
    succeed("build", here)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in TOOLCHAIN:
        program = shutil.which(name)
        assert program, name
        (tools / name).symlink_to(program)
    for command in (["cmake", "--preset", "default"], ["cmake", "--build", "--preset", "default"]):
        env = {"PATH": str(tools), "HOME": str(tmp_path)}
        done = subprocess.run(command, cwd=there, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    for name in ("firmware.bin", "firmware.hex"):
        assert (there / "build" / name).read_bytes() == (here / "build" / name).read_bytes()
    assert read_build_id(there / "build" / "firmware.elf") == read_build_id(here / "build" / "firmware.elf")


def test_a_project_that_was_moved(digits: Path, tmp_path: Path) -> None:
    """After it was built, too; and by a relative path."""
    moved = digits.rename(tmp_path / "moved")
    assert flash_and_test(moved)["passed"] is True
    again = moved.rename(tmp_path / "again")
    assert faults(flash_and_test(Path(os.path.relpath(again)))) == []
    assert f"{moved}/" not in (again / "build" / "CMakeCache.txt").read_text()


def test_generating_again_keeps_the_users_files(digits: Path) -> None:
    main = digits / "src" / "main.c"
    main.write_text(main.read_text().replace("/* Set up your own devices here. */", "/* Mine. */"))
    before = main.read_bytes()
    (digits / "model" / "digits.c").write_text("damaged")
    generate(DIGITS, "qemu_mps2_an386", digits)
    assert main.read_bytes() == before
    assert flash_and_test(digits)["passed"] is True


@pytest.mark.parametrize("name", ["hello_world_int8", "kws_ref_model", "residual"])
def test_the_users_inputs_give_what_the_reference_gives(name: str, tmp_path: Path) -> None:
    model, folder = tmp_path / "residual.tflite", tmp_path / "fw"
    model.write_bytes(residual_network())
    if name != "residual":
        model = model_file(name)
    generate(model, "qemu_mps2_an386", folder)
    succeed("build", folder)
    succeed("flash", folder)
    data = model.read_bytes()
    inputs = [random_inputs(data, seed) for seed in range(5)]
    expected = [run(data, arrays) for arrays in inputs]
    check_run(folder, inputs, expected)


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    """By their names, in another order than the model's, beside an array that is none of them."""
    data = two_by_two()
    model, folder = tmp_path / "two.tflite", tmp_path / "fw"
    model.write_bytes(data)
    generate(model, "qemu_mps2_an386", folder)
    report = flash_and_test(folder)
    assert faults(report) == []
    inputs = [random_inputs(data, seed) for seed in range(3)]
    check_run(folder, inputs, [run(data, arrays) for arrays in inputs])


def two_by_two() -> bytes:
    """Two inputs, two outputs: the first is quantised anew, and the sum of both."""
    model = Model()
    left = model.input((1, 3, 5), scale=0.05, zero=3, name="left")
    right = model.input((1, 3, 5), scale=0.02, zero=-7, name="right")
    model.output(model.quantize(left, scale=0.1, zero=0))
    model.output(model.add(left, right, scale=0.07, zero=1))
    return model.to_bytes()


def check_run(folder: Path, inputs: list[list[Any]], expected: list[list[Any]]) -> None:
    project = read_project(folder)
    arrays: dict[str, Any] = {info.name: np.stack([row[k] for row in inputs]) for k, info in enumerate(project.inputs)}
    np.savez(folder / "in.npz", unused=np.zeros(3), **dict(reversed(arrays.items())))
    succeed("run", folder, "--inputs", folder / "in.npz", "--outputs", folder / "out.npz")
    with np.load(folder / "out.npz") as file:
        assert sorted(file.files) == sorted(info.name for info in project.outputs)
        for k, info in enumerate(project.outputs):
            got = file[info.name]
            assert (got.dtype.name, got.shape) == (info.dtype, (len(inputs), *info.shape))
            assert got.tobytes() == b"".join(row[k].tobytes() for row in expected)


@pytest.mark.parametrize(
    ("array", "error"),
    [
        (np.zeros((2, 1, 8, 8, 1), np.uint8), "array 'image': expected int8 of shape (N, 1, 8, 8, 1), got uint8"),
        (np.zeros((2, 8, 8, 2), np.int8), "array 'image': expected int8 of shape (N, 1, 8, 8, 1), got int8"),
        (np.zeros((0, 1, 8, 8, 1), np.int8), "expected the same number of vectors, at least one, in every array"),
    ],
)
def test_inputs_that_do_not_fit(array: Any, error: str, digits: Path) -> None:
    np.savez(digits / "in.npz", image=array)
    for verb in (["run", digits, "--outputs", digits / "out.npz"], ["flash-and-test", digits]):
        done = tinykiln(*verb, "--inputs", digits / "in.npz")
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: {error}")
    assert not (digits / "out.npz").exists()
