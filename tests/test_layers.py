"""The shape of the source code: who may import whom, and how long a function and a file may be."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "generator" / "tinykiln"

LAYERS = (
    ("errors",),
    ("data", "fields"),
    ("boards",),
    ("graph",),
    ("rules",),
    ("check",),
    ("load", "passes", "kernels", "memory"),
    ("plan",),
    ("emit",),
    ("reference",),
    ("project",),
    ("elf", "stack"),
    ("build",),
    ("flash", "link"),
    ("session",),
    ("compare",),
    ("report",),
    ("arguments",),
    ("cli",),
    ("__main__",),
)
"""A module imports from the layers above its own, and from its own package."""

LONGEST_FUNCTION = 60
LONGEST_FILE, LONGEST_TEST_FILE = 400, 600
FOLDERS = ("generator", "crt", "project_templates", "hil_tests", "tests")
LONGEST_LINE = 120
FOLDERS_OF_LINES = (*FOLDERS, "benchmarks", "examples")
SUFFIXES = {".py", ".c", ".h", ".jinja", ".ld", ".cmake"}


def source_files(*suffixes: str, folders: tuple[str, ...] = FOLDERS) -> list[Path]:
    """All source files of the repository, but no golden files."""
    return sorted(
        path for folder in folders for path in (ROOT / folder).rglob("*")
        if path.suffix in suffixes and path.is_file() and "golden" not in path.parts and "build" not in path.parts
    )


def module_of(path: Path) -> str:
    """tinykiln.load.tflite of generator/tinykiln/load/tflite.py; a package has the name of its folder."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py")}


def imports_of(tree: ast.Module, module: str) -> Iterator[str]:
    """The modules of the package that are imported anywhere in a file, also inside of functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "tinykiln")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            for alias in node.names if node.module and node.module.partition(".")[0] == "tinykiln" else ():
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else str(node.module)


IMPORTS = {name: set(imports_of(ast.parse(path.read_text()), name)) for name, path in MODULES.items()}


def layer_of(module: str) -> int:
    top = module.split(".")[1]
    return next(i for i, layer in enumerate(LAYERS) if top in layer)


def test_every_module_has_one_layer() -> None:
    found = {name.split(".")[1] for name in MODULES if name != "tinykiln"}
    assert sorted(name for layer in LAYERS for name in layer) == sorted(found)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_come_from_the_layers_above(module: str) -> None:
    wrong = [
        other for other in IMPORTS[module] - {"tinykiln"}
        if module == "tinykiln"
        or (other.split(".")[1] != module.split(".")[1] and layer_of(other) >= layer_of(module))
    ]
    assert not wrong


def test_no_import_cycles() -> None:
    # A package's __init__ runs before its modules, but may import them.
    tuple(TopologicalSorter(IMPORTS).static_order())


def test_the_rule_sees_imports() -> None:
    code = (
        "import os\nfrom tinykiln import report, __version__\n"
        "def f():\n    import tinykiln.cli\n    from tinykiln.load import tflite"
    )
    expected = {"tinykiln", "tinykiln.report", "tinykiln.cli", "tinykiln.load.tflite"}
    assert set(imports_of(ast.parse(code), "m")) == expected


@pytest.mark.parametrize("path", source_files(*SUFFIXES), ids=lambda path: str(path.relative_to(ROOT)))
def test_length_of_files_and_functions(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= (LONGEST_TEST_FILE if path.parent.name == "tests" else LONGEST_FILE)
    lengths = {".py": python_functions, ".c": c_functions, ".h": c_functions}.get(path.suffix, lambda _: [])(text)
    assert {name: length for name, length in lengths if length > LONGEST_FUNCTION} == {}


def long_lines(text: str, markdown: bool = False) -> list[str]:
    """Lines above LONGEST_LINE, but no table rows of Markdown."""
    return [line for line in text.splitlines() if len(line) > LONGEST_LINE and not (markdown and line.startswith("|"))]


@pytest.mark.parametrize("path", source_files(*SUFFIXES - {".cmake"}, folders=FOLDERS_OF_LINES),
                         ids=lambda path: str(path.relative_to(ROOT)))
def test_length_of_lines(path: Path) -> None:
    assert long_lines(path.read_text()) == []


@pytest.mark.parametrize("path", [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("*/*.md")),
                                  *sorted((ROOT / "examples").glob("*/*.md"))],
                         ids=lambda path: str(path.relative_to(ROOT)))
def test_length_of_lines_of_markdown(path: Path) -> None:
    assert long_lines(path.read_text(), markdown=True) == []


def test_long_lines_are_seen() -> None:
    long = "| " + "x" * LONGEST_LINE
    assert long_lines(f"a\n{long}") == [long]
    assert long_lines(f"a\n{long}", markdown=True) == []


def python_functions(text: str) -> list[tuple[str, int]]:
    """(name, lines) of every function."""
    nodes = ast.walk(ast.parse(text))
    functions = (node for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return [(node.name, (node.end_lineno or 0) - node.lineno + 1) for node in functions]


def c_functions(text: str) -> list[tuple[str, int]]:
    """(first line, lines) of every function: the house's style has its braces alone in column 0."""
    lines = text.splitlines()
    starts = [i for i, line in enumerate(lines) if line == "{"]
    return [(lines[i - 1], lines[i:].index("}") + 2) for i in starts]


def test_lengths_are_counted() -> None:
    assert python_functions("def f(a,\n      b):\n    def g():\n        pass\n    return a") == [("f", 5), ("g", 2)]
    assert c_functions("int x;\n\nint f(void)\n{\n    {\n    }\n    return 1;\n}\n") == [("int f(void)", 6)]


@pytest.mark.parametrize("path", source_files(".c", ".h"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_brace_of_a_c_function_stands_alone(path: Path) -> None:
    assert re.findall(r"^[a-z].*\) *\{[^}\n]*$", path.read_text(), re.MULTILINE) == []
