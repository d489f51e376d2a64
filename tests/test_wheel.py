"""The wheel: what is in it, that the source distribution makes the same one, and that it works without the checkout."""

from __future__ import annotations

import ast
import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CACHES = {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"}
Files = dict[str, bytes]


def run(*command: object, cwd: Path) -> str:
    """What the command prints on stdout; it must not fail. PYTHONPATH would show it the checkout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def distribution(source: Path, kind: str, to: Path) -> Path:
    """A wheel or sdist of the tree `source`, with the build backend that is installed: no network is needed."""
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", to, cwd=source)
    (made,) = to.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return distribution(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return distribution(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))


def files_of(wheel: Path) -> Files:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def files_under(folder: Path, prefix: str) -> Files:
    """The checkout's files of a folder as they should be in the wheel."""
    return {
        f"{prefix}/{path.relative_to(folder)}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not CACHES & set(path.parts)
    }


def test_the_wheel_holds_package_runtime_templates_and_boards(wheel: Path) -> None:
    expected = (
        files_under(ROOT / "generator" / "tinykiln", "tinykiln")
        | files_under(ROOT / "crt", "tinykiln/data/crt")
        | files_under(ROOT / "project_templates", "tinykiln/data/project_templates")
        | {"tinykiln/data/boards.yaml": (ROOT / "boards.yaml").read_bytes()}
    )
    info = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"
    found = files_of(wheel)
    assert {name: data for name, data in found.items() if not name.startswith(info)} == expected
    assert sorted(name for name in found if name.startswith(info)) == [
        f"{info}/METADATA", f"{info}/RECORD", f"{info}/WHEEL", f"{info}/entry_points.txt", f"{info}/licenses/LICENSE"
    ]
    assert found[f"{info}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert b"Apache License" in found[f"{info}/licenses/LICENSE"]


IMPORT_NAMES = {
    "ai-edge-litert": "ai_edge_litert",
    "pyelftools": "elftools",
    "pyserial": "serial",
    "pyyaml": "yaml",
}
"""Distributions whose modules have another name."""


def third_party_imports() -> set[str]:
    """Top-level modules that the package imports anywhere, also inside of functions, and that Python does not bring."""
    found: set[str] = set()
    for path in (ROOT / "generator" / "tinykiln").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module).partition(".")[0])
    return found - sys.stdlib_module_names - {"tinykiln"}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported(wheel: Path) -> None:
    (metadata,) = [data for name, data in files_of(wheel).items() if name.endswith("/METADATA")]
    required = email.message_from_bytes(metadata).get_all("Requires-Dist") or []
    declared = {re.split(r"[^\w-]", line)[0].lower() for line in required if "extra == 'test'" not in line}
    assert {IMPORT_NAMES.get(name, name) for name in declared} == third_party_imports()


@pytest.mark.parametrize("name", [
    "tinykiln/py.typed",
    "tinykiln/templates/model.c.jinja",
    "tinykiln/data/boards.yaml",
    "tinykiln/data/crt/include/crt/runtime.h",
    "tinykiln/data/crt/kernels/conv2d_s8.c",
    "tinykiln/data/project_templates/bare_metal/cookiecutter.json",
    "tinykiln/data/project_templates/bare_metal/{{cookiecutter.project}}/.gitignore",
    "tinykiln/data/project_templates/bare_metal/{{cookiecutter.project}}/.github/workflows/firmware.yml",
])
def test_the_wheel_holds_what_is_easily_forgotten(wheel: Path, name: str) -> None:
    assert name in files_of(wheel)


def test_nothing_of_this_machine_is_in_the_distributions(wheel: Path, sdist: Path) -> None:
    for name, data in files_of(wheel).items():
        assert str(ROOT).encode() not in data, name
    with tarfile.open(sdist) as archive:
        names = {member.name.split("/", 1)[1] for member in archive.getmembers()}
    top = {name.split("/")[0] for name in names}
    assert top == {
        "generator", "crt", "project_templates", "boards.yaml", "LICENSE", "README.md", "pyproject.toml", "PKG-INFO",
        ".gitignore",
    }
    assert [name for name in names if CACHES & set(name.split("/"))] == []


def test_the_source_distribution_makes_the_same_wheel(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(sdist, tmp_path / "source")
    (source,) = (tmp_path / "source").iterdir()
    assert files_of(distribution(source, "wheel", tmp_path / "wheel")) == files_of(wheel)


@pytest.fixture
def clean(tmp_path: Path, wheel: Path) -> Path:
    """A virtual environment with the wheel. It sees the packages of this one, but not what .pth files add to it."""
    folder = tmp_path / "environment"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--no-index", wheel, cwd=tmp_path)
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    seen = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(packages) / "dependencies.pth").write_text("".join(f"{path}\n" for path in sorted(seen)))
    return folder


def test_the_wheel_works_without_the_checkout(clean: Path, tmp_path: Path) -> None:
    python, tinykiln = clean / "bin" / "python", clean / "bin" / "tinykiln"
    model = shutil.copy(ROOT / "examples" / "digits" / "digits.tflite", tmp_path)
    code = "import sys, tinykiln.data as d; print(d.__file__, d.data_path('crt'), *sys.path, sep='\\n')"
    said = run(python, "-c", code, cwd=tmp_path)
    module, crt, *paths = said.splitlines()
    assert Path(module).is_relative_to(clean)
    assert Path(crt).is_relative_to(clean)
    assert [path for path in paths if path in (str(ROOT), str(ROOT / "generator"))] == []
    run(tinykiln, "generate", model, "--board", "qemu_mps2_an386", "-o", "fw", "--vectors", "2", cwd=tmp_path)
    assert (tmp_path / "fw" / ".github" / "workflows" / "firmware.yml").is_file()
    result = run(tinykiln, "flash-and-test", "fw", cwd=tmp_path)
    assert "2 of 2 inferences equal the reference" in result
    assert result.splitlines()[-1] == "PASSED"
