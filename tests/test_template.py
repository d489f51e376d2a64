"""The bare-metal template: rendered and built for every board, with a model made by hand."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.generate import generate_context, generate_files
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from tinykiln.boards import Board, board_to_json, read_boards
from tinykiln.data import data_path

TEMPLATE = data_path("project_templates") / "bare_metal"
BOARDS = read_boards()
FLAGS = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror", "-O2")

MODEL_H = """
#include "crt/runtime.h"
extern const struct crt_model adder_model;
void adder_init(void);
void adder_run(void);
"""

MODEL_C = """
#include "adder.h"
static _Alignas(16) int8_t arena[64];
static const int32_t shape[] = {4};
static const struct crt_tensor input = {"x", arena, 4, CRT_INT8, 1, shape, 1.0f, 0};
static const struct crt_tensor output = {"y", arena + 32, 4, CRT_INT8, 1, shape, 1.0f, 0};
static const struct crt_step steps[] = {{"add_0", arena + 16, 4}, {"add_1", arena + 32, 4}};
static void step(unsigned index)
{
    for (unsigned i = 0; i < 4u; i++)
        arena[16u * (index + 1u) + i] = (int8_t)(arena[16u * index + i] + 1);
}
void adder_init(void)
{
}
void adder_run(void)
{
    step(0);
    step(1);
}
const struct crt_model adder_model = {
    .name = "adder", .digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000",
    .arena_size = sizeof arena, .inputs = &input, .outputs = &output, .steps = steps,
    .n_inputs = 1, .n_outputs = 1, .n_steps = 2, .init = adder_init, .run = adder_run, .step = step,
};
"""


def render(board: Board, folder: Path) -> Path:
    """The firmware repository of `board` in `folder`, as the generator would complete it."""
    model = {"name": "adder", "digest": "sha256:" + 64 * "0", "macs": 8, "arena_bytes": 64, "weights_bytes": 0}
    variables = {"project": "fw", "generator_version": "1.2.3", "model": model, "board": board_to_json(board)}
    context = generate_context(str(TEMPLATE / "cookiecutter.json"), extra_context=variables)
    project = Path(generate_files(str(TEMPLATE), context=context, output_dir=str(folder)))
    (project / "model").mkdir()
    (project / "model" / "adder.h").write_text(MODEL_H, encoding="utf-8")
    (project / "model" / "adder.c").write_text(MODEL_C, encoding="utf-8")
    shutil.copytree(data_path("crt") / "include", project / "crt" / "include")
    shutil.copytree(data_path("crt") / "src", project / "crt" / "src")
    return project


def run(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)


def build(project: Path) -> Path:
    """The project's own command, as its README says it; the ELF."""
    assert shutil.which("arm-none-eabi-gcc"), "arm-none-eabi-gcc is missing: run `make setup`"
    for command in (("cmake", "--preset", "default"), ("cmake", "--build", "--preset", "default")):
        done = run(project, *command)
        assert done.returncode == 0, done.stdout + done.stderr
    return project / "build" / "firmware.elf"


Built = Callable[[str], Path]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A function that gives the built project of a board; each is built once."""
    projects: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in projects:
            projects[name] = render(BOARDS[name], tmp_path_factory.mktemp(name))
            build(projects[name])
        return projects[name]

    return get


def section(elf: Path, name: str) -> Any:
    with elf.open("rb") as file:
        found = ELFFile(file).get_section_by_name(name)
        assert found is not None, name
        return {"at": found["sh_addr"], "size": found["sh_size"], "data": found.data()}


def symbol(elf: Path, name: str) -> int:
    with elf.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        (found,) = table.get_symbol_by_name(name) or []
        return int(found["st_value"])


@pytest.mark.parametrize("name", BOARDS)
def test_the_image_starts_at_the_boards_flash(built: Built, name: str) -> None:
    elf, board = built(name) / "build" / "firmware.elf", BOARDS[name]
    text = section(elf, ".text")
    stack, reset = (int.from_bytes(text["data"][i : i + 4], "little") for i in (0, 4))
    assert text["at"] == board.region("flash").origin
    assert stack == symbol(elf, "__stack_top") == board.region("ram").origin + 256 + 4096
    assert reset == symbol(elf, "Reset_Handler") and reset & 1
    assert (elf.parent / "firmware.bin").read_bytes()[: text["size"]] == text["data"]


@pytest.mark.parametrize("name", BOARDS)
def test_an_empty_firmware_is_small(built: Built, name: str) -> None:
    elf = built(name) / "build" / "firmware.elf"
    assert (elf.parent / "firmware.bin").stat().st_size < 6 * 1024
    assert section(elf, ".bss")["size"] < 1024


@pytest.mark.parametrize("name", BOARDS)
def test_only_one_driver_is_compiled_with_every_flag(built: Built, name: str) -> None:
    commands = (built(name) / "build" / "compile_commands.json").read_text(encoding="utf-8")
    drivers = {path.name for path in (built(name) / "drivers").glob("uart_*.c") if path.name in commands}
    assert drivers == {f"uart_{BOARDS[name].console.driver}.c"}
    for line in commands.splitlines():
        if '"command"' in line:
            assert [flag for flag in FLAGS if f" {flag} " not in line] == []


def test_the_build_id_is_where_the_firmware_reads_it(built: Built) -> None:
    elf = built("qemu_mps2_an386") / "build" / "firmware.elf"
    note = section(elf, ".note.gnu.build-id")
    assert symbol(elf, "__build_id_note") == note["at"]
    assert note["data"][:16] == bytes.fromhex("04000000 14000000 03000000 474e5500")
    assert len(note["data"]) == 16 + 20


def test_the_same_sources_make_the_same_image_in_any_folder(built: Built, tmp_path: Path) -> None:
    here = built("qemu_mps2_an386")
    there = shutil.copytree(here, tmp_path / "elsewhere", ignore=shutil.ignore_patterns("build"))
    assert build(there).read_bytes() == (here / "build" / "firmware.elf").read_bytes()


def test_a_missing_compiler_is_told(tmp_path: Path) -> None:
    project = render(BOARDS["qemu_mps2_an385"], tmp_path)
    done = run(
        project,
        "cmake",
        "--preset",
        "default",
        "-DARM_GCC=ARM_GCC-NOTFOUND",
        "-DCMAKE_PROGRAM_PATH=",
        "-DCMAKE_FIND_USE_SYSTEM_ENVIRONMENT_PATH=OFF",
        "-DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF",
    )
    assert done.returncode != 0
    assert "apt install gcc-arm-none-eabi libnewlib-arm-none-eabi" in done.stderr


def test_the_workflow_runs_qemu_only_where_there_is_an_emulator(tmp_path: Path) -> None:
    emulated = render(BOARDS["qemu_mps2_an386"], tmp_path / "a") / ".github" / "workflows" / "firmware.yml"
    real = render(BOARDS["nucleo_f446re"], tmp_path / "b") / ".github" / "workflows" / "firmware.yml"
    assert "qemu-system-arm" in emulated.read_text(encoding="utf-8")
    assert "          TINYKILN: ${{ vars.TINYKILN || 'tinykiln==1.2.3' }}\n" in emulated.read_text(encoding="utf-8")
    assert "qemu" not in real.read_text(encoding="utf-8").lower()


def test_the_readme_says_how_each_board_is_flashed_and_tested(tmp_path: Path) -> None:
    emulated = (render(BOARDS["qemu_mps2_an386"], tmp_path / "a") / "README.md").read_text(encoding="utf-8")
    real = (render(BOARDS["nucleo_f446re"], tmp_path / "b") / "README.md").read_text(encoding="utf-8")
    assert "repository variable `TINYKILN`" in emulated and "repository variable" not in real
    assert "`tinykiln flash-and-test . --json -`" in emulated
    assert "tinykiln flash" not in real
    assert "test what runs there: `tinykiln test . --port /dev/ttyACM0`" in real


@pytest.mark.parametrize("name", BOARDS)
def test_nothing_of_the_template_is_left(built: Built, name: str) -> None:
    for path in built(name).rglob("*"):
        if path.is_file() and not {"build", "model", "crt"} & set(path.relative_to(built(name)).parts):
            text = path.read_text(encoding="utf-8").replace("${{ vars.", "")
            assert not any(mark in text for mark in ("{{", "{%", "cookiecutter")), path
