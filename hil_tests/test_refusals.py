"""What must not pass, on an emulated board: the wrong firmware, other vectors, missing tools, wrong sources."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from firmware import DIGITS, emulators, flash_and_test, generate, succeed, tinykiln
from tflite_writer import residual_network
from tinykiln.elf import read_build_id
from tinykiln.graph import Array
from tinykiln.project import read_project
from tinykiln.reference import Vectors, vectors_from_npz, vectors_to_npz

AGAIN = "build and flash the project: tinykiln flash-and-test"


def refused(*arguments: object, env: dict[str, str] | None = None) -> str:
    """The error of a verb that must end with exit status 1, with the number of the TCP port taken out."""
    done = tinykiln(*arguments, env=env)
    assert done.returncode == 1
    assert "PASSED" not in done.stdout + done.stderr
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:N", done.stderr)


def where(folder: Path) -> str:
    return f"port socket://127.0.0.1:N, log {folder}/build/qemu.log"


def another_main(folder: Path) -> None:
    """Changes the user's source so that the image is another one."""
    main = folder / "src" / "main.c"
    text = main.read_text().replace("for (;;)", 'board_write((const uint8_t *)"hello\\n", 6);\n    for (;;)')
    main.write_text(text)


# ---- The wrong firmware ----


def test_another_build_is_flashed(digits: Path) -> None:
    flashed = read_build_id(digits / "build" / "firmware.elf").hex()
    another_main(digits)
    succeed("build", digits)
    built = read_build_id(digits / "build" / "firmware.elf").hex()
    error = f"error: the device runs another build: expected {built}, got {flashed}\n"
    for verb in (["test"], ["profile"], ["run", "--inputs", DIGITS.parent / "test.npz", "--outputs", digits / "o.npz"]):
        assert refused(verb[0], digits, *verb[1:]) == error + f"  where: {where(digits)}\n  next:  {AGAIN}\n"
    assert not (digits / "o.npz").exists()
    succeed("flash", digits)
    done = tinykiln("test", digits)
    assert (done.returncode, done.stderr) == (0, "hello\n"), "what the firmware prints goes to stderr"
    assert done.stdout.endswith("\nPASSED\n")


def test_another_model_is_flashed(digits: Path, tmp_path: Path) -> None:
    model = tmp_path / "other.tflite"
    model.write_bytes(residual_network())
    other = tmp_path / "other"
    generate(model, "qemu_mps2_an386", other)
    succeed("build", other)
    shutil.copy(other / "build" / "firmware.elf", digits / "build" / "flashed.elf")
    here, there = (read_project(folder).model.digest for folder in (digits, other))
    assert refused("test", digits) == (
        f"error: the device runs another model: expected {here}, got {there}\n"
        f"  where: {where(digits)}\n  next:  {AGAIN}\n"
    )


def test_another_board_is_on_the_port(digits: Path, tmp_path: Path) -> None:
    """Firmware for a Cortex-M3 runs on the M4 as well, and says what it was built for."""
    other = tmp_path / "other"
    generate(DIGITS, "qemu_mps2_an385", other)
    succeed("build", other)
    shutil.copy(other / "build" / "firmware.elf", digits / "build" / "flashed.elf")
    assert refused("test", digits) == (
        "error: this is another board: expected qemu_mps2_an386, got qemu_mps2_an385\n"
        f"  where: {where(digits)}\n  next:  choose the board's port: --port\n"
    )


def test_nothing_is_flashed(digits: Path) -> None:
    flashed = digits / "build" / "flashed.elf"
    flashed.unlink()
    assert refused("test", digits) == (
        f"error: nothing is flashed on the emulated board\n  where: {flashed}\n  next:  flash it: tinykiln flash\n"
    )


def test_what_is_flashed_is_no_firmware(digits: Path) -> None:
    """The emulator ends, or starts on garbage: an error and no emulator that stays."""
    (digits / "build" / "flashed.elf").write_bytes(b"\x7fELF and nothing else")
    error = refused("test", digits)
    assert error.startswith("error: ")
    assert "Traceback" not in error
    assert f"log {digits}/build/qemu.log" in error
    assert emulators(digits) == []


# ---- Vectors ----


def change(folder: Path, how: Callable[[Vectors], Vectors]) -> None:
    golden = folder / "tests" / "golden.npz"
    golden.write_bytes(vectors_to_npz(how(vectors_from_npz(golden))))


def flipped(arrays: dict[str, Array], name: str, byte: int, bit: int) -> dict[str, Array]:
    array = arrays[name].copy()
    array.view(np.uint8).reshape(-1)[byte] ^= 1 << bit
    return {**arrays, name: array}


def test_one_bit_of_an_expected_output(digits: Path) -> None:
    """The last byte of the last output, its lowest bit."""
    change(digits, lambda v: Vectors(v.inputs, flipped(dict(v.outputs), "scores", 79, 0), v.layers))
    done = tinykiln("test", digits, "--json", digits / "report.json")
    assert done.returncode == 1
    assert done.stdout.startswith("digits on qemu_mps2_an386: 7 of 8 inferences equal the reference\n")
    assert table(done.stdout) == [("conv_0", "equal"), ("dwconv_1", "equal"), ("conv_2", "equal"), ("add_3", "equal"),
                                  ("maxpool_4", "equal"), ("conv_5", "equal"), ("avgpool_6", "equal"),
                                  ("fc_7", "equal"), ("softmax_8", "equal")]
    assert done.stdout.endswith("\nFAILED\n")
    report = json.loads((digits / "report.json").read_text())
    assert [entry["mismatches"] for entry in report["inferences"]] == [0] * 7 + [1]
    assert [entry["equal"] for entry in report["inferences"]] == [True] * 7 + [False]
    assert report["inferences"][7]["max_abs_error"] == 1
    assert report["passed"] is False


def test_one_bit_of_an_expected_layer(digits: Path) -> None:
    change(digits, lambda v: Vectors(v.inputs, v.outputs, flipped(dict(v.layers), "add_3", 1023, 7)))
    done = tinykiln("test", digits, "--json", digits / "report.json")
    assert done.returncode == 1
    assert done.stdout.startswith("digits on qemu_mps2_an386: 8 of 8 inferences equal the reference\n")
    assert [row for row in table(done.stdout) if row[1] != "equal"] == [("add_3", "1 bytes differ")]
    assert done.stdout.endswith("\nFAILED\n")
    report = json.loads((digits / "report.json").read_text())
    assert [entry["mismatches"] for entry in report["layers"]] == [0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert report["passed"] is False


def table(text: str) -> list[tuple[str, str]]:
    """Step and verdict of every row of the table of layers."""
    rows = re.findall(r"^([a-z]+_\d+) .*?(equal|not compared|\d+ bytes differ)$", text, re.MULTILINE)
    return [(step, verdict) for step, verdict in rows]


def test_one_bit_of_an_input_shows_the_first_layer_that_differs(digits: Path) -> None:
    change(digits, lambda v: Vectors(flipped(dict(v.inputs), "image", 27, 6), v.outputs, v.layers))
    done = tinykiln("test", digits)
    assert done.returncode == 1
    step, verdict = table(done.stdout)[0]
    assert step == "conv_0"
    assert verdict.endswith("bytes differ")
    assert done.stdout.endswith("\nFAILED\n")


def test_no_vectors_is_no_success(digits: Path) -> None:
    change(digits, lambda v: Vectors({"image": v.inputs["image"][:0]}, {"scores": v.outputs["scores"][:0]}, v.layers))
    for verb in ("test", "flash-and-test", "profile"):
        assert refused(verb, digits, "--json", digits / "report.json") == (
            "error: there are no vectors, so nothing would be tested\n  next:  generate the project again\n"
        )
    assert not (digits / "report.json").exists()


def test_fewer_outputs_than_inputs(digits: Path) -> None:
    change(digits, lambda v: Vectors(v.inputs, {"scores": v.outputs["scores"][:7]}, v.layers))
    assert refused("test", digits) == (
        "error: the vectors do not fit the model's output 'scores'\n"
        "  where: expected int8 of shape (8, 1, 10), got int8 of shape (7, 1, 10)\n"
        "  next:  generate the project again\n"
    )


def test_vectors_are_missing(digits: Path) -> None:
    golden = digits / "tests" / "golden.npz"
    golden.unlink()
    assert refused("flash-and-test", digits) == (
        f"error: the project has no golden vectors\n  where: {golden}\n"
        "  next:  generate it again where LiteRT is installed: pip install 'tinykiln[verify]'\n"
    )


# ---- Tools and sources ----


def only(folder: Path, *programs: str) -> dict[str, str]:
    """An environment in which these programs alone are installed."""
    folder.mkdir()
    for name in programs:
        program = shutil.which(name)
        assert program, name
        (folder / name).symlink_to(program)
    return {"PATH": str(folder)}


def test_the_emulator_is_missing(digits: Path, tmp_path: Path) -> None:
    error = "error: qemu-system-arm is not installed\n  next:  apt-get install qemu-system-arm\n"
    assert refused("test", digits, env=only(tmp_path / "bin", "arm-none-eabi-objdump")) == error


def test_the_compiler_is_missing(digits: Path, tmp_path: Path) -> None:
    assert refused("flash-and-test", digits, env=only(tmp_path / "bin", "cmake", "make", "qemu-system-arm")) == (
        "error: arm-none-eabi-gcc is not installed\n"
        "  next:  on Debian and Ubuntu: apt install gcc-arm-none-eabi libnewlib-arm-none-eabi\n"
    )


def test_objdump_is_missing(digits: Path, tmp_path: Path) -> None:
    """The bound of the stack comes from it; `profile` goes without."""
    env = only(tmp_path / "bin", "qemu-system-arm")
    assert refused("test", digits, env=env) == (
        "error: arm-none-eabi-objdump is not installed\n"
        "  next:  on Debian and Ubuntu: apt install binutils-arm-none-eabi\n"
    )
    assert tinykiln("profile", digits, env=env).returncode == 0


def test_a_source_that_does_not_compile(digits: Path) -> None:
    main = digits / "src" / "main.c"
    mine = main.read_text()
    main.write_text(mine + "\nint broken(void) { return undeclared; }\n")
    line = main.read_text().splitlines().index("int broken(void) { return undeclared; }") + 1
    error = refused("flash-and-test", digits, "--json", digits / "report.json")
    lines = error.splitlines()
    assert re.fullmatch(r"error: `cmake --build --preset default[^`]*` failed with exit status 2", lines[0])
    assert any(re.search(rf"src/main\.c:{line}:\d+: error: .undeclared. undeclared", text) for text in lines), error
    assert lines[-2] == f"  where: {digits}, the whole log: {digits}/build/build.log"
    assert lines[-1].startswith("  next:  mend the first error in the log")
    assert f"main.c:{line}:" in (digits / "build" / "build.log").read_text()
    assert not (digits / "report.json").exists()
    main.write_text(mine)
    assert flash_and_test(digits)["passed"] is True


def test_a_warning_in_the_users_source_is_an_error(digits: Path) -> None:
    with (digits / "src" / "main.c").open("a") as file:
        file.write("\nint8_t narrow(int wide);\nint8_t narrow(int wide) { return wide; }\n")
    assert "[-Werror=conversion]" in refused("build", digits)


def test_an_environment_for_make_does_not_reach_the_build(digits: Path) -> None:
    """As when a makefile calls tinykiln."""
    shutil.rmtree(digits / "build")
    done = tinykiln("build", digits, env={"MAKEFLAGS": "n", "MAKELEVEL": "1"})
    assert done.returncode == 0, done.stderr
    assert (digits / "build" / "firmware.elf").is_file()
