"""Sources -> Project: the firmware repository on disk, and project.json, which makes later verbs need only the folder.

Who owns what: `model/`, `crt/`, tests/golden.npz and project.json are generated anew each time;
every other file comes from the template once and is the user's from then on.
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar, cast, get_args

import numpy as np

from tinykiln import __version__
from tinykiln.boards import Board, board_from_json, board_to_json
from tinykiln.data import data_path
from tinykiln.emit import Sources, quantization_of
from tinykiln.errors import ProjectError
from tinykiln.fields import Json
from tinykiln.graph import DType, Graph
from tinykiln.plan import STACK_BYTES, Plan

T = TypeVar("T")
SCHEMA = 1
LARGEST = 2**62
"""No number in project.json is larger: what is, is damage."""

JSON_NAMES: dict[type, str] = {
    str: "a text", int: "a whole number", float: "a number", list: "a list", dict: "fields by name"
}
GOLDEN = "tests/golden.npz"
"""The inputs with which a project tests itself, and what the reference made of them."""

GENERATED = ("model", "crt", GOLDEN, "project.json")
"""What a regeneration replaces; project.json last, so that a project is never newer than its files."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor of the firmware's API. `scale` and `zero` are those of the only quantisation, or 0."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    scale: float
    zero: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class StepInfo:
    """One step of the schedule: its name, operator, multiplies, and the tensor that it makes."""

    name: str
    op: str
    macs: int
    output: TensorInfo


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The compiled model. `file` is the path of the model file inside the project."""

    name: str
    file: str
    digest: str
    macs: int


@dataclass(frozen=True, slots=True)
class Project:
    """A firmware repository in the folder `path`. Sizes in bytes."""

    path: Path
    name: str
    template: str
    board: Board
    model: ModelInfo
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    steps: tuple[StepInfo, ...]
    arena_bytes: int
    arena_lower_bound_bytes: int
    weights_bytes: int

    @property
    def elf(self) -> Path:
        """What a build makes."""
        return self.path / "build" / "firmware.elf"

    @property
    def golden(self) -> Path:
        """The stored vectors; missing where there was no reference interpreter."""
        return self.path / GOLDEN


def write_project(sources: Sources, template: str, to: Path, extra: Mapping[str, bytes]) -> Project:
    """Writes the repository into the folder `to`, all or nothing.

    `extra` are further generated files (the model file, golden vectors), path -> bytes. Where `to` is
    a project for the same board and template, only the generated parts are replaced and missing files
    of the template added. Raises ProjectError.
    """
    project = _describe(sources.plan, template, to, next(path for path in extra if path.startswith("model/")))
    files = {path: text.encode() for path, text in sources.files.items()} | dict(extra)
    files["project.json"] = (json.dumps(_to_json(project), indent=2) + "\n").encode()
    try:
        _check_target(project)
        # The tree is made beside its place, on the same file system, and then renamed.
        place = Path(os.path.realpath(to))
        base = next(folder for folder in (place, *place.parents) if folder.exists())
        with tempfile.TemporaryDirectory(prefix=".tinykiln.", dir=base, ignore_cleanup_errors=True) as scratch:
            new = Path(scratch, "new")
            _write_tree(project, files, new / place.relative_to(base), Path(scratch, "rendered"))
            _move_into_place(new, base, place.relative_to(base), Path(scratch, "old"))
    except OSError as error:
        raise ProjectError(
            f"cannot write the project: {_reason(error)}",
            where=str(to),
            hint="nothing was changed; free some space or choose another folder",
        ) from error
    return project


def _reason(error: OSError) -> str:
    # cookiecutter raises an OSError of its own from the system's.
    cause = error.__cause__
    return error.strerror or (cause.strerror if isinstance(cause, OSError) else None) or str(error)


def read_project(path: Path) -> Project:
    """The project in the folder `path`. Raises ProjectError, BoardError where project.json is missing or damaged."""
    file = path / "project.json"
    try:
        entry = json.loads(file.read_text(encoding="utf-8"))
        schema = _field(entry, "schema", int)
        if schema == SCHEMA:
            return _from_json(entry, path)
    except OSError as error:
        raise ProjectError(
            f"{path} is no firmware project", where=f"{file}: {error.strerror}", hint="make one: `tinykiln generate`"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ProjectError(
            "project.json is damaged",
            where=f"{file}: {error}",
            hint="take the file from version control, or generate the project into a new folder",
        ) from error
    raise ProjectError(
        f"project.json has schema {schema}, this tinykiln ({__version__}) reads {SCHEMA}",
        where=str(file),
        hint="use the tinykiln that generated the project, or generate it into a new folder",
    )


def _describe(plan: Plan, template: str, to: Path, model_file: str) -> Project:
    graph = plan.graph
    return Project(
        path=to,
        name=graph.name,
        template=template,
        board=plan.board,
        model=ModelInfo(graph.name, model_file, graph.digest, plan.macs),
        inputs=tuple(_tensor_info(graph, port.tensor, port.name) for port in plan.inputs),
        outputs=tuple(_tensor_info(graph, port.tensor, port.name) for port in plan.outputs),
        steps=tuple(
            StepInfo(step.name, step.op, step.kernel.macs, _tensor_info(graph, step.output, step.name))
            for step in plan.steps
        ),
        arena_bytes=plan.arena_bytes,
        arena_lower_bound_bytes=plan.placement.lower_bound,
        weights_bytes=plan.weights_bytes,
    )


def _tensor_info(graph: Graph, index: int, name: str) -> TensorInfo:
    tensor = graph.tensors[index]
    scale, zero = quantization_of(tensor)
    return TensorInfo(name, tensor.dtype, tensor.shape, scale, zero, tensor.nbytes)


def _check_target(project: Project) -> None:
    to = project.path
    if not to.exists() or (to.is_dir() and not any(to.iterdir())):
        return
    if not (to / "project.json").is_file():
        raise ProjectError(
            f"{to} exists and is no firmware project", hint="choose a new folder, or remove this one yourself"
        )
    old = read_project(to)
    if old.board.name == project.board.name and old.board != project.board:
        raise ProjectError(
            f"the board {old.board.name} is described in another way now than when {to} was generated",
            where=f"{to / 'project.json'}, field board",
            hint="generate into a new folder: board/ and CMakeLists.txt became yours here and would not fit it",
        )
    for what, was, now in (
        ("board", old.board.name, project.board.name),
        ("template", old.template, project.template),
        ("model", old.model.name, project.model.name),
    ):
        if was != now:
            raise ProjectError(
                f"{to} was generated for the {what} {was}, not {now}",
                where=str(to / "project.json"),
                hint=f"generate for {now} into a new folder: the files that became yours here would not fit it",
            )


def _write_tree(project: Project, files: Mapping[str, bytes], tree: Path, rendered: Path) -> None:
    """The whole project in the new folder `tree`; `rendered` is a folder of the same file system to work in."""
    tree.parent.mkdir(parents=True, exist_ok=True)
    _render_template(project, rendered).rename(tree)
    for path, data in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(data)


def _render_template(project: Project, to: Path) -> Path:
    """The template's tree in a folder inside `to`, with the one UART driver that the board names."""
    # Imported here: it takes longer than all the rest, and most verbs need no template.
    from cookiecutter.generate import generate_files

    templates = data_path("project_templates")
    known = sorted(path.parent.name for path in templates.glob("*/cookiecutter.json"))
    if project.template not in known:
        raise ProjectError(f"there is no project template '{project.template}'", hint=f"one of: {', '.join(known)}")
    source = templates / project.template
    context = json.loads((source / "cookiecutter.json").read_text(encoding="utf-8")) | _template_values(project)
    tree = Path(generate_files(str(source), {"cookiecutter": context}, output_dir=str(to)))
    for driver in (tree / "drivers").glob("uart_*.c"):
        if driver.stem != f"uart_{project.board.console.driver}":
            driver.unlink()
    return tree


def _template_values(project: Project) -> Json:
    model = asdict(project.model) | {"arena_bytes": project.arena_bytes, "weights_bytes": project.weights_bytes}
    return {
        "project": project.name,
        "generator_version": __version__,
        "model": model,
        "board": board_to_json(project.board),
        "stack_bytes": STACK_BYTES,
    }


def _move_into_place(new: Path, base: Path, project: Path, old: Path) -> None:
    """What is in `new` and not in `base` goes there, and so do the generated parts of the folder `project`.

    What is replaced goes to `old`. All or nothing: an exception leaves `base` as it was.
    """
    generated = [project / name for name in GENERATED]
    missing = list(_missing(new, base, Path(), generated))
    replaced = [path for path in generated if _is_there(base / path)]
    begun: list[Path] = []
    try:
        for path in (*missing, *replaced):
            begun.append(path)
            _rename(base / path, old / path)
            _rename(new / path, base / path)
    except BaseException:
        for path in reversed(begun):
            # Of the last one, any of the two moves may not have been made.
            if path in missing or _is_there(old / path):
                _rename(base / path, new / path)
            _rename(old / path, base / path)
        raise


def _missing(new: Path, base: Path, folder: Path, generated: Sequence[Path]) -> Iterator[Path]:
    """Paths under `folder` that are in `new` and not in `base`; a folder that is missing stands for all in it."""
    for path in sorted(folder / entry.name for entry in (new / folder).iterdir()):
        if not _is_there(base / path):
            yield path
        elif (new / path).is_dir() and path not in generated:
            yield from _missing(new, base, path, generated)


def _rename(path: Path, to: Path) -> None:
    """Renames, if `path` is there."""
    if _is_there(path):
        to.parent.mkdir(parents=True, exist_ok=True)
        path.rename(to)


def _is_there(path: Path) -> bool:
    """True for broken links too."""
    return path.is_symlink() or path.exists()


def _to_json(project: Project) -> Json:
    fields = asdict(project)
    del fields["path"]
    return {"schema": SCHEMA, "tinykiln": __version__, **fields, "board": board_to_json(project.board)}


def _from_json(entry: Json, path: Path) -> Project:
    return Project(
        path=path,
        name=_field(entry, "name", str),
        template=_field(entry, "template", str),
        board=board_from_json(_field(entry, "board", dict), str(path / "project.json")),
        model=_model_from_json(_field(entry, "model", dict)),
        inputs=tuple(map(_tensor_from_json, _field(entry, "inputs", list))),
        outputs=tuple(map(_tensor_from_json, _field(entry, "outputs", list))),
        steps=tuple(map(_step_from_json, _field(entry, "steps", list))),
        arena_bytes=_count(entry, "arena_bytes"),
        arena_lower_bound_bytes=_count(entry, "arena_lower_bound_bytes"),
        weights_bytes=_count(entry, "weights_bytes"),
    )


def _model_from_json(entry: object) -> ModelInfo:
    file = PurePosixPath(_field(entry, "file", str))
    if file.parts[:1] != ("model",) or ".." in file.parts:
        raise ValueError(f"file: expected a path in model/, got {str(file)!r}")
    digest = _field(entry, "digest", str)
    if not re.fullmatch("sha256:[0-9a-f]{64}", digest):
        raise ValueError(f"digest: expected sha256: and 64 hexadecimal digits, got {digest[:80]!r}")
    return ModelInfo(_field(entry, "name", str), str(file), digest, _count(entry, "macs"))


def _step_from_json(entry: object) -> StepInfo:
    output = _tensor_from_json(_field(entry, "output", dict))
    return StepInfo(_field(entry, "name", str), _field(entry, "op", str), _count(entry, "macs"), output)


def _tensor_from_json(entry: object) -> TensorInfo:
    dtype, shape = _field(entry, "dtype", str), tuple(_field(entry, "shape", list))
    if dtype not in get_args(DType):
        raise ValueError(f"dtype: expected one of {', '.join(get_args(DType))}, got {dtype[:80]!r}")
    if not all(type(n) is int and 0 < n <= LARGEST for n in shape):
        raise ValueError(f"shape: expected positive whole numbers, got {str(list(shape))[:80]}")
    nbytes = _count(entry, "nbytes")
    if nbytes != math.prod(shape) * np.dtype(dtype).itemsize:
        raise ValueError(f"nbytes: {nbytes} is not the size of {dtype} {list(shape)}")
    scale = _field(entry, "scale", float)
    if not 0 <= scale < math.inf:
        raise ValueError(f"scale: expected a number from 0 on, got {scale}")
    name, zero = _field(entry, "name", str), _field(entry, "zero", int)
    return TensorInfo(name, cast(DType, dtype), shape, scale, zero, nbytes)


def _count(entry: object, key: str) -> int:
    count = _field(entry, key, int)
    if not 0 <= count <= LARGEST:
        raise ValueError(f"{key}: expected a whole number from 0 to {LARGEST}, got {count}")
    return count


def _field(entry: object, key: str, kind: type[T]) -> T:
    """The entry's value of that key. Raises ValueError where it is missing or of another type."""
    if not isinstance(entry, dict) or key not in entry:
        raise ValueError(f"the field {key} is missing")
    value = entry[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{key}: expected {JSON_NAMES[kind]}, got {str(value)[:80]!r}")
    return value
