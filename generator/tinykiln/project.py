"""Sources -> Project: the firmware repository on disk, and project.json, which makes later verbs need only the folder.

Who owns what: `model/`, `crt/`, tests/golden.npz and project.json are generated anew each time;
every other file comes from the template once and is the user's from then on.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinykiln import __version__
from tinykiln.boards import Board, board_from_json, board_to_json
from tinykiln.data import data_path
from tinykiln.emit import Sources, quantization_of
from tinykiln.errors import ProjectError
from tinykiln.graph import DType, Graph
from tinykiln.plan import Plan

SCHEMA = 1
GENERATED = ("model", "crt", "tests/golden.npz", "project.json")
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


def write_project(sources: Sources, template: str, to: Path, extra: Mapping[str, bytes]) -> Project:
    """Writes the repository into the folder `to`, all or nothing.

    `extra` are further generated files (the model file, golden vectors), path -> bytes. Where `to` is
    a project for the same board and template, only the generated parts are replaced and missing files
    of the template added. Raises ProjectError.
    """
    project = _describe(sources.plan, template, to, next(path for path in extra if path.startswith("model/")))
    _check_target(project)
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{to.name}.", dir=to.parent) as scratch:
            tree = _render_template(project, Path(scratch))
            files = {path: text.encode() for path, text in sources.files.items()} | dict(extra)
            files["project.json"] = (json.dumps(_to_json(project), indent=2) + "\n").encode()
            for path, data in files.items():
                (tree / path).parent.mkdir(parents=True, exist_ok=True)
                (tree / path).write_bytes(data)
            _move_into_place(tree, to, Path(scratch))
    except OSError as error:
        raise ProjectError(
            f"cannot write the project: {error.strerror or error}",
            where=str(error.filename or to),
            hint="nothing was changed; free some space or choose another folder",
        ) from error
    return project


def read_project(path: Path) -> Project:
    """The project in the folder `path`. Raises ProjectError where project.json is missing or damaged."""
    file = path / "project.json"
    try:
        return _from_json(json.loads(file.read_text()), path)
    except OSError as error:
        raise ProjectError(
            f"{path} is no firmware project", where=f"{file}: {error.strerror}", hint="make one: `tinykiln generate`"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProjectError(
            "project.json is damaged",
            where=f"{file}: {error!r}",
            hint="generate the project again into the same folder, or take the file from version control",
        ) from error


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


def _render_template(project: Project, scratch: Path) -> Path:
    """The template's tree in `scratch`, with the one UART driver that the board names."""
    # Imported here: it takes longer than all the rest, and most verbs need no template.
    from cookiecutter.generate import generate_files

    source = data_path("project_templates") / project.template
    if not source.is_dir():
        known = ", ".join(sorted(path.name for path in source.parent.iterdir()))
        raise ProjectError(f"there is no project template '{project.template}'", hint=f"one of: {known}")
    context = json.loads((source / "cookiecutter.json").read_text()) | _template_values(project)
    tree = Path(generate_files(str(source), {"cookiecutter": context}, output_dir=str(scratch / "new")))
    for driver in (tree / "drivers").glob("uart_*.c"):
        if driver.stem != f"uart_{project.board.console.driver}":
            driver.unlink()
    return tree


def _template_values(project: Project) -> dict[str, Any]:
    model = asdict(project.model) | {"arena_bytes": project.arena_bytes, "weights_bytes": project.weights_bytes}
    return {
        "project": project.name,
        "generator_version": __version__,
        "model": model,
        "board": board_to_json(project.board),
    }


def _move_into_place(tree: Path, to: Path, scratch: Path) -> None:
    """`tree` becomes `to`; in an existing project its generated parts do, and files that are missing there."""
    if not (to / "project.json").exists():
        if to.exists():
            to.rmdir()
        tree.rename(to)
        return
    for path in sorted(tree.rglob("*")):
        relative = path.relative_to(tree)
        if path.is_file() and not (to / relative).exists() and not _is_generated(relative):
            (to / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to / relative)
    done: list[str] = []
    try:
        for name in GENERATED:
            _swap(to / name, tree / name, scratch / "old" / name)
            done.append(name)
    except BaseException:
        for name in reversed(done):
            _swap(to / name, scratch / "old" / name, scratch / "failed" / name)
        raise


def _is_generated(relative: Path) -> bool:
    return any(relative == Path(name) or Path(name) in relative.parents for name in GENERATED)


def _swap(target: Path, new: Path, old: Path) -> None:
    """`new` takes the place of `target`, which goes to `old`; either may be missing."""
    old.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        target.replace(old)
    if new.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        new.replace(target)


def _to_json(project: Project) -> dict[str, Any]:
    fields = asdict(project)
    del fields["path"]
    return {"schema": SCHEMA, "tinykiln": __version__, **fields, "board": board_to_json(project.board)}


def _from_json(entry: dict[str, Any], path: Path) -> Project:
    if entry["schema"] != SCHEMA:
        raise ValueError(f"schema {entry['schema']}, this tinykiln reads {SCHEMA}")
    return Project(
        path=path,
        name=str(entry["name"]),
        template=str(entry["template"]),
        board=board_from_json(entry["board"], str(path / "project.json")),
        model=ModelInfo(**entry["model"]),
        inputs=tuple(_tensor_from_json(tensor) for tensor in entry["inputs"]),
        outputs=tuple(_tensor_from_json(tensor) for tensor in entry["outputs"]),
        steps=tuple(StepInfo(**{**step, "output": _tensor_from_json(step["output"])}) for step in entry["steps"]),
        arena_bytes=int(entry["arena_bytes"]),
        arena_lower_bound_bytes=int(entry["arena_lower_bound_bytes"]),
        weights_bytes=int(entry["weights_bytes"]),
    )


def _tensor_from_json(entry: dict[str, Any]) -> TensorInfo:
    return TensorInfo(**{**entry, "shape": tuple(entry["shape"])})
