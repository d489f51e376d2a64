"""Building projects with cmake and the cross compiler, and what is said where that fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from firmware_projects import model_file, write
from tinykiln.build import TOOLS, Image, build, read_image
from tinykiln.build import _missing_memory as missing_memory
from tinykiln.errors import BuildError, TinyKilnError, ToolError
from tinykiln.project import Project, read_project


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was built where it lies; never changed."""
    folder = tmp_path_factory.mktemp("built")
    build(write(model_file(folder), folder / "fw"))
    return folder / "fw"


@pytest.fixture
def fw(built: Path, tmp_path: Path) -> Path:
    """A fresh copy of the project, not built."""
    shutil.copytree(built, tmp_path / "fw", ignore=shutil.ignore_patterns("build"))
    return tmp_path / "fw"


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(TinyKilnError) as caught:
        action()
    return str(caught.value)


def image_bytes(folder: Path) -> bytes:
    return (folder / "build" / "firmware.bin").read_bytes()


# ---- Tools ----

PACKAGES = {
    "cmake": "cmake",
    "make": "make",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "arm-none-eabi-objdump": "binutils-arm-none-eabi",
}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with links to the tools, which is all of PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(str(shutil.which(tool)))
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.mark.parametrize("tool", PACKAGES)
def test_missing_tool(fw: Path, programs: Path, tool: str) -> None:
    (programs / tool).unlink()
    text = refusal(lambda: build(read_project(fw)))
    assert text == f"{tool} is not installed\n  next:  on Debian and Ubuntu: apt install {PACKAGES[tool]}"
    assert not (fw / "build").exists()


def test_an_image_can_be_read_without_the_compiler(built: Path, programs: Path) -> None:
    for tool in ("cmake", "make", "arm-none-eabi-gcc"):
        (programs / tool).unlink()
    assert read_image(read_project(built)).flash_bytes > 0
    (programs / "arm-none-eabi-objdump").unlink()
    with pytest.raises(ToolError, match="arm-none-eabi-objdump is not installed"):
        read_image(read_project(built))


# ---- Failures ----


def test_compiler_error(fw: Path) -> None:
    with (fw / "src" / "main.c").open("a") as main:
        main.write("int broken(void) { return undeclared; }\n")
    with pytest.raises(BuildError) as caught:
        build(read_project(fw))
    what = caught.value.what.splitlines()
    assert what[0].startswith("`cmake --build --preset default --parallel ")
    assert what[0].endswith("` failed with exit status 2")
    assert 2 <= len(what) <= 16
    assert any("src/main.c" in line and "'undeclared' undeclared" in line for line in what)
    log = fw / "build" / "build.log"
    assert caught.value.where == f"{fw}, the whole log: {log}"
    assert caught.value.hint == "mend the first error in the log; model/ and crt/ can be generated again at any time"
    assert "'undeclared' undeclared" in log.read_text()


def test_cmake_error(fw: Path) -> None:
    (fw / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.21)\nproject(small LANGUAGES C)\nnonsense()\n")
    text = refusal(lambda: build(read_project(fw)))
    assert text.startswith("`cmake --preset default` failed with exit status 1\n    ")
    assert 'Unknown CMake command "nonsense"' in text


@pytest.mark.parametrize(("region", "code"), [
    ("ram", "extern unsigned char much[SIZE];\nunsigned char much[SIZE];\n"),
    ("flash", "extern const unsigned char much[SIZE];\nconst unsigned char much[SIZE] = {1};\n"),
])
def test_the_memory_is_too_small(fw: Path, region: str, code: str) -> None:
    project = read_project(fw)
    size = project.board.region(region).size
    main = fw / "src" / "main.c"
    text = f"#define SIZE {size}u\n{code}" + main.read_text()
    use = "    (void)*(const volatile unsigned char *)much;\n"
    main.write_text(text.replace("int main(void)\n{\n", f"int main(void)\n{{\n{use}", 1))
    with pytest.raises(BuildError) as caught:
        build(project)
    what = caught.value.what.splitlines()
    (said,) = {line.split("overflowed by ")[1] for line in what if f"region `{region}' overflowed by" in line}
    count = f"{int(said.split()[0]):,}".replace(",", " ")
    assert what[0] == f"the image needs {count} bytes more of {region} than qemu_mps2_an386 has"
    assert what[1].startswith("    `cmake --build --preset default --parallel ")
    assert caught.value.hint == (
        "take a smaller model or a board with more memory; `tinykiln plan` shows what the model needs, "
        "build/firmware.map what else there is, and CMakeLists.txt has STACK_BYTES"
    )


def test_what_the_linker_says_of_memory() -> None:
    line = "ld: region `{}' overflowed by {} bytes"
    log = "\n".join([line.format("ram", 2556), line.format("flash", 1234567), line.format("ram", 2556)])
    assert missing_memory(log, "small_board") == [
        "the image needs 2 556 bytes more of ram than small_board has",
        "the image needs 1 234 567 bytes more of flash than small_board has",
    ]
    assert missing_memory("src/main.c:3: error: region is undeclared", "small_board") == []


def test_the_build_folder_cannot_be_written(fw: Path) -> None:
    (fw / "build").write_text("a file")
    assert refusal(lambda: build(read_project(fw))) == (
        f"cannot write the build folder: File exists\n  where: {fw}/build"
    )


def test_read_only_project(fw: Path) -> None:
    command = [sys.executable, "-m", "tinykiln", "build", str(fw)]
    if os.geteuid() == 0:  # root may write everywhere, unless that right is taken away
        if not shutil.which("setpriv"):
            pytest.skip("run as root, and setpriv (util-linux) is not installed")
        command = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *command]
    fw.chmod(0o555)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    fw.chmod(0o755)
    assert (done.returncode, done.stdout, done.stderr) == (
        1, "", f"error: cannot write the build folder: Permission denied\n  where: {fw}/build\n"
    )


def test_not_built(fw: Path) -> None:
    assert refusal(lambda: read_image(read_project(fw))) == (
        f"the firmware is not built\n  where: {fw}/build/firmware.elf\n  next:  tinykiln build {fw}"
    )


@pytest.mark.parametrize("size", [0, 3, 40, 1000, 20_000, -1000])
def test_damaged_image(built: Path, fw: Path, size: int) -> None:
    (fw / "build").mkdir()
    (fw / "build" / "firmware.elf").write_bytes((built / "build" / "firmware.elf").read_bytes()[:size])
    with pytest.raises(BuildError) as caught:
        read_image(read_project(fw))
    assert caught.value.where == f"{fw}/build/firmware.elf"


# ---- What comes out ----


def sections(image: Image) -> dict[str, int]:
    with image.elf.open("rb") as file:
        return {section.name: section["sh_size"] for section in ELFFile(file).iter_sections()}


def test_sizes(built: Path) -> None:
    project = read_project(built)
    image, size = read_image(project), sections(read_image(project))
    assert image.flash_bytes == len(image_bytes(built)) == (built / "build" / "firmware.bin").stat().st_size
    assert image.code_bytes == image.flash_bytes - project.weights_bytes
    assert image.ram_static_bytes + project.arena_bytes == size[".data"] + size[".bss"]
    assert 0 < image.ram_static_bytes < 1000
    assert image.stack_bound_bytes is not None
    assert 100 < image.stack_bound_bytes < 4096


def test_build_id(built: Path) -> None:
    image = read_image(read_project(built))
    notes = subprocess.run(["arm-none-eabi-readelf", "-n", str(image.elf)], capture_output=True, text=True, check=True)
    assert f"Build ID: {image.build_id.hex()}\n" in notes.stdout
    assert image.build_id in image_bytes(built)


def test_building_again_changes_nothing(fw: Path) -> None:
    def made() -> dict[str, int]:
        paths = [*(fw / "build").glob("firmware.*"), *(fw / "build").rglob("*.obj")]
        return {str(path): path.stat().st_mtime_ns for path in paths}

    first, before = build(read_project(fw)), made()
    assert len(before) > 10
    assert build(read_project(fw)) == first
    assert made() == before


def test_a_changed_source_changes_the_image(fw: Path) -> None:
    first = build(read_project(fw))
    main = fw / "src" / "main.c"
    main.write_text(main.read_text().replace("int main(void)\n{", "extern volatile int one;\nvolatile int one = 1;\n"
                                                                "int main(void)\n{\n    one = 2;", 1))
    second = build(read_project(fw))
    assert second.build_id != first.build_id
    assert second.ram_static_bytes - first.ram_static_bytes in (4, 8)
    assert second.flash_bytes > first.flash_bytes


def test_the_same_sources_make_the_same_image_in_any_folder(built: Path, tmp_path: Path) -> None:
    other = tmp_path / "another folder ä"
    shutil.copytree(built, other, ignore=shutil.ignore_patterns("build"))
    image = build(read_project(other))
    assert image_bytes(other) == image_bytes(built)
    assert image.build_id == read_image(read_project(built)).build_id


def test_a_relative_path(fw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fw)
    assert build(read_project(Path())).elf == Path("build/firmware.elf")


@pytest.mark.parametrize("keep", [True, False], ids=["copied", "moved"])
def test_a_project_that_was_built_elsewhere(fw: Path, tmp_path: Path, keep: bool) -> None:
    build(read_project(fw))
    before = image_bytes(fw)
    other = shutil.copytree(fw, tmp_path / "other") if keep else fw.rename(tmp_path / "other")
    build(read_project(other))
    assert image_bytes(other) == before
    header = other / "board" / "board.h"
    header.write_text(header.read_text() + "#error from the new place\n")
    assert "from the new place" in refusal(lambda: build(read_project(other)))


def test_a_regenerated_project_is_built_anew(fw: Path, tmp_path: Path) -> None:
    first = build(read_project(fw))
    (fw / "model" / "more.c").write_text('#error "not of this model"\n')
    second = build(write(model_file(tmp_path, seed=4), fw))
    assert second.build_id != first.build_id


@pytest.mark.parametrize("variables", [
    {"CFLAGS": "-march=native --no-such-option", "LDFLAGS": "-Wl,-z,relro", "CPPFLAGS": "-DX", "CC": "clang"},
    {"CPATH": "/usr/include", "C_INCLUDE_PATH": "/usr/include", "LIBRARY_PATH": "/usr/lib"},
    {"MAKEFLAGS": "-n", "MAKELEVEL": "1", "CMAKE_GENERATOR": "Ninja", "CMAKE_BUILD_TYPE": "Debug"},
], ids=["flags", "paths", "make"])
def test_the_environment_does_not_matter(
    built: Path, fw: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    build(read_project(fw))
    assert image_bytes(fw) == image_bytes(built)


def test_within_make(built: Path, fw: Path, tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(f"all:\n\t+{sys.executable} -m tinykiln build fw\n")
    done = subprocess.run(["make", "-j3", "-k"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert image_bytes(fw) == image_bytes(built)
    assert "jobserver" not in (fw / "build" / "build.log").read_text()


def test_other_weights_count_as_code(built: Path) -> None:
    project: Project = read_project(built)
    image = read_image(replace(project, weights_bytes=project.weights_bytes - 8, arena_bytes=project.arena_bytes - 4))
    known = read_image(project)
    assert (image.code_bytes, image.ram_static_bytes) == (known.code_bytes + 8, known.ram_static_bytes + 4)
