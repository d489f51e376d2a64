"""The generated C: equal to the golden files, the same everywhere, and compiling whatever the model holds.

`pytest tests/test_emit.py --update-golden` (make golden) writes tests/golden/ anew; read the diff. The model
tests/golden/residual.tflite is `tflite_writer.residual_network()`, kept as a file so that the golden files depend on
the generator alone.
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from real_models import ROOT, real_model
from tflite_writer import Model
from tinykiln import __version__
from tinykiln.boards import find_board
from tinykiln.data import data_path
from tinykiln.emit import Sources, c_value, emit, parameter_line
from tinykiln.kernels import Ref, Row
from tinykiln.load import load, tflite
from tinykiln.passes import simplify
from tinykiln.plan import make_plan

GOLDEN = Path(__file__).parent / "golden"
MODELS = {"digits": ROOT / "examples" / "digits" / "digits.tflite", "residual": GOLDEN / "residual.tflite"}
BOARD = find_board("qemu_mps2_an386")
WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wtrigraphs", "-Wcomment",
            "-Woverlength-strings", "-Werror"]


def sources_of(file: Path) -> Sources:
    return emit(make_plan(simplify(load(file)), BOARD), file.name)


def model_files(sources: Sources) -> dict[str, str]:
    """The files under model/, and the list of the others."""
    files = {path: text for path, text in sources.files.items() if path.startswith("model/")}
    listing = sorted(path for path in sources.files if not path.startswith("model/"))
    return files | {"files.txt": "\n".join(listing) + "\n"}


def compile_c(sources: Sources, folder: Path, *options: str, compiler: str = "gcc") -> str:
    """Compiles the model's C file; returns what the compiler says, "" where it is content."""
    for path, text in sources.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    name = sources.plan.graph.name
    done = subprocess.run(
        [compiler, *WARNINGS, *options, "-I", "model", "-I", "crt/include", "-c", f"model/{name}.c", "-o", "model.o"],
        cwd=folder, capture_output=True, text=True)
    assert bool(done.returncode) == bool(done.stderr)
    return done.stderr


def sources_of_model(model: Model, file: str = "net.tflite") -> Sources:
    graph = tflite.load(model.to_bytes(), "net", "sha256:" + "0" * 64, Path(file))
    return emit(make_plan(simplify(graph), BOARD), file)


# ---- golden files ----


@pytest.mark.parametrize("name", MODELS)
def test_golden(name: str, request: pytest.FixtureRequest) -> None:
    files = model_files(sources_of(MODELS[name]))
    folder = GOLDEN / name
    if request.config.getoption("--update-golden"):
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        for path in old_files(folder) - files.keys():
            (folder / path).unlink()
    assert old_files(folder) == files.keys()
    changed = "".join(difference(folder / path, text) for path, text in sorted(files.items()))
    assert not changed, f"\n{changed}\nif this is meant: make golden"


def old_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def difference(golden: Path, text: str) -> str:
    old, new = golden.read_text().splitlines(True), text.splitlines(True)
    return "".join(difflib.unified_diff(old, new, f"golden/{golden.name}", f"generated/{golden.name}", n=1))


# ---- the same everywhere ----


def test_same_bytes_in_every_process_and_folder(tmp_path: Path) -> None:
    script = "import sys; from test_emit import *; print(sorted(sources_of(Path(sys.argv[1])).files.items()), end='')"
    outputs = []
    for seed, folder in (("1", tmp_path / "a"), ("2", tmp_path / "b" / "c")):
        folder.mkdir(parents=True)
        (folder / "residual.tflite").write_bytes(MODELS["residual"].read_bytes())
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parent)}
        done = subprocess.run([sys.executable, "-c", script, str(folder / "residual.tflite")], cwd=folder,
                              env=environment, capture_output=True, text=True, check=True)
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert str(tmp_path) not in outputs[0]
    assert outputs[0] == repr(sorted(sources_of(MODELS["residual"]).files.items()))


def test_runtime_files_are_copied_unchanged_and_complete() -> None:
    files = sources_of(MODELS["residual"]).files
    runtime = {path: text for path, text in files.items() if path.startswith("crt/")}
    assert all((data_path("crt") / path.removeprefix("crt/")).read_text() == text for path, text in runtime.items())
    included = {name for text in files.values() for name in re.findall(r'#include "(crt/.+?)"', text)}
    assert {f"crt/include/{name}" for name in included} == {path for path in runtime if path.endswith(".h")}


# ---- it compiles ----


@pytest.mark.parametrize("compiler", ["gcc", "arm-none-eabi-gcc"])
@pytest.mark.parametrize("name", MODELS)
def test_golden_models_compile(name: str, compiler: str, tmp_path: Path) -> None:
    assert compile_c(sources_of(MODELS[name]), tmp_path, compiler=compiler) == ""


@pytest.mark.parametrize("name", ["kws_ref_model", "str_ww_ref_model", "hello_world_int8"])
def test_real_models_compile_in_lines_of_120_columns(name: str, tmp_path: Path) -> None:
    sources = sources_of(real_model(name))
    assert compile_c(sources, tmp_path) == ""
    for path, text in model_files(sources).items():
        assert all(len(line) <= 120 and line == line.rstrip() for line in text.splitlines()), path
        assert "\n\n\n" not in text and text.endswith("\n") and not text.endswith("\n\n")


HOSTILE = ["*/ int x; /*", '"; int y; "', "a\nb", "a\\", "??/", "??=define X", "/* //", "ä\U0001f525", "%s%n",
           "x" * 10_000, "\x00\x1b[31m", "__DATE__", "int", "arena", "step", "inputs", "memset", "NULL", "INT32_MAX",
           "crt_tensor"]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_compile(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    model = Model()
    x = model.input((1, 4, 4, 1), name=name)
    y = model.random_conv2d(rng, x, 2)
    model.tensors[y].name = name
    z = model.output(model.softmax(y))
    model.tensors[z].name = name
    sources = sources_of_model(model, f"{name}.tflite")
    assert compile_c(sources, tmp_path, "-trigraphs") == ""
    assert all(text.isascii() for path, text in sources.files.items() if path.startswith("model/"))


STEMS = ["t", "board", "step", "arena", "conv_0", "main", "crt_link", "1", "x" * 200, "Ä", "stdio"]


@pytest.mark.parametrize("stem", STEMS, ids=range(len(STEMS)))
def test_hostile_file_names_compile(stem: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    model = Model()
    model.output(model.random_conv2d(rng, model.input((1, 4, 4, 1), name="weights"), 2))
    model.tensors[model.outputs[0]].name = "channels"
    path = tmp_path / f"{stem}.tflite"
    path.write_bytes(model.to_bytes())
    assert compile_c(sources_of(path), tmp_path) == ""


def test_another_version_of_the_runtime_is_refused(tmp_path: Path) -> None:
    sources = sources_of(MODELS["residual"])
    header = "crt/include/crt/runtime.h"
    text = re.sub(r"(#define CRT_VERSION) \w+", r"\1 0x7f0000", sources.files[header])
    assert text != sources.files[header]
    errors = compile_c(Sources(sources.plan, {**sources.files, header: text}), tmp_path)
    assert (f'#error "residual was compiled by tinykiln {__version__}, '
            'crt/ is of another version: generate both again"') in errors


def test_version_of_the_package_is_that_of_the_runtime() -> None:
    text = (data_path("crt") / "include/crt/runtime.h").read_text()
    major, minor, patch = (int(part) for part in __version__.split("."))
    assert f"#define CRT_VERSION 0x{major << 16 | minor << 8 | patch:06x}\n" in text


# ---- numbers and lines ----


@pytest.mark.parametrize(("value", "text"), [
    (5, "5"), (-128, "-128"), (2**31 - 1, "2147483647"), (-(2**31), "INT32_MIN"), (-(2**31) + 1, "-2147483647"),
    (1.0, "1.0f"), (0.0, "0.0f"), (1e-40, "1e-40f"), (1e10, "1e+10f"), (0.1, "0.1f"),
    (0.003921568859368563, "0.003921569f"), (3.4e38, "3.4e+38f"), (16777217.0, "1.6777216e+07f"),
    ((1, -2), "{1, -2}"), ((("h", 1), ("w", 2)), "{.h = 1, .w = 2}"), (Ref("bias"), "fc_3_bias"),
])
def test_numbers(value: int | float, text: str) -> None:
    assert c_value(value, "fc_3") == text


def test_every_number_compiles_to_itself(tmp_path: Path) -> None:
    floats = [1.0, 0.0, 1e-40, 1e10, 0.1, 3.4e38, 16777217.0, 1.17549435e-38, 5.9604645e-08]
    integers = [-(2**31), 2**31 - 1, -1, 0]
    doubles = [0.1, 1e-310, 1.5, 2.0**-1074, 1.7e308]
    checks = [f"{c_value(value)} == (float){value!r}" for value in floats]
    checks += [f"{c_value(value)} == {value}ll" for value in integers]
    checks += [f"{value.hex()} == {value!r}" for value in doubles]
    body = "".join(f"    if (!({check}))\n        return {i + 1};\n" for i, check in enumerate(checks))
    (tmp_path / "n.c").write_text(f"#include <stdint.h>\n\nint main(void)\n{{\n{body}    return 0;\n}}\n")
    subprocess.run(["gcc", *WARNINGS, "n.c", "-o", "n"], cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "n"]).returncode == 0


def test_extreme_constants_compile(tmp_path: Path) -> None:
    model = Model()
    x = model.quantize(model.input((1, 4), dtype="float32", name="real"), scale=1e-30, zero=127)
    weights, bias = np.zeros((2, 4), np.int8), np.array([-(2**30), 2**30], np.int32)
    y = model.fully_connected(x, weights, bias, weight_scales=[1e-3], scale=1e-25, zero=-128)
    model.output(model.dequantize(y))
    sources = sources_of_model(model)
    assert "1e-30f" in sources.files["model/net.c"]
    assert "1073741824" in sources.files["model/net_weights.h"]
    assert compile_c(sources, tmp_path) == ""


def test_long_parameter_lines_go_on_below_the_first_value() -> None:
    row: Row = (("window", tuple((name, (100, 100)) for name in ("kernel", "stride", "dilation", "pad"))), ("n", 1))
    assert parameter_line(row, "s") == (
        ".window = {.kernel = {100, 100}, .stride = {100, 100}, .dilation = {100, 100},\n"
        "           .pad = {100, 100}}, .n = 1,")


# ---- what the files say ----


def test_header_states_the_contract_of_every_port() -> None:
    model = Model()
    real = model.input((1, 2, 3), dtype="float32", name="real")
    raw = model.input((6,), scale=0.25, zero=7, dtype="uint8", name="raw")
    model.output(model.dequantize(model.quantize(raw, scale=0.5)))
    model.output(model.quantize(real, scale=0.5, zero=-3))
    header = sources_of_model(model).files["model/net.h"]
    assert header[header.index("/* real:"):header.index("/* The same")] == (
        "/* real: float32[1][2][3] */\n"
        "#define NET_REAL_SIZE   6\n"
        "\n"
        "/* raw: uint8[6], real = 0.25 * (q - 7) */\n"
        "#define NET_RAW_SIZE   6\n"
        "#define NET_RAW_SCALE  0.25f\n"
        "#define NET_RAW_ZERO   7\n"
        "\n"
        "/* t3: float32[6] */\n"
        "#define NET_T3_SIZE   6\n"
        "\n"
        "/* t4: int8[1][2][3], real = 0.5 * (q + 3) */\n"
        "#define NET_T4_SIZE   6\n"
        "#define NET_T4_SCALE  0.5f\n"
        "#define NET_T4_ZERO   (-3)\n"
        "\n"
        "void net_init(void);   /* once, before the first run; again, to forget everything */\n"
        "void net_run(void);\n"
        "\n"
        "float *net_real(void);\n"
        "uint8_t *net_raw(void);\n"
        "const float *net_t3(void);\n"
        "const int8_t *net_t4(void);\n"
        "\n"
    )


def test_board_gets_the_kernels_of_its_instruction_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crt = tmp_path / "crt"
    for path in ("src/runtime.c", "include/crt/runtime.h", "kernels/softmax_s8.c", "kernels/armv7em_dsp/softmax_s8.c"):
        (crt / path).parent.mkdir(parents=True, exist_ok=True)
        (crt / path).write_text(f"{path}\n")
    monkeypatch.setattr("tinykiln.emit.data_path", lambda name: tmp_path / name)
    model = Model()
    model.output(model.softmax(model.input((1, 4))))
    graph = tflite.load(model.to_bytes(), "net", "", Path("net.tflite"))
    chosen = {name: emit(make_plan(graph, find_board(name)), "n").files["crt/kernels/softmax_s8.c"].strip()
              for name in ("qemu_mps2_an385", "qemu_mps2_an386", "qemu_mps3_an547")}
    assert chosen == {
        "qemu_mps2_an385": "kernels/softmax_s8.c",
        "qemu_mps2_an386": "kernels/armv7em_dsp/softmax_s8.c",
        "qemu_mps3_an547": "kernels/armv7em_dsp/softmax_s8.c",
    }


def test_headers_can_be_included_from_cpp(tmp_path: Path) -> None:
    compile_c(sources_of(ROOT / "examples/digits/digits.tflite"), tmp_path)
    (tmp_path / "user.cpp").write_text(
        '#include "digits.h"\n#include "crt/link.h"\nint main() { digits_run(); return digits_scores()[0]; }\n')
    done = subprocess.run(["arm-none-eabi-g++", "-Wall", "-Wextra", "-Werror", "-I", "model", "-I", "crt/include", "-c",
                           "user.cpp", "-o", "user.o"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == ""
    symbols = subprocess.run(["arm-none-eabi-nm", "user.o"], cwd=tmp_path, capture_output=True, text=True).stdout
    assert "U digits_run\n" in symbols
