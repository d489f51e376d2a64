"""The command line: one function a verb, each a few stages in a row.

Exit status 0: done and passed; 1: an error of ours or a failed test; 2: wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinykiln import __version__, report
from tinykiln.boards import find_board, read_boards
from tinykiln.build import Image, build, read_image
from tinykiln.compare import compare, compare_layers
from tinykiln.elf import read_build_id
from tinykiln.emit import emit
from tinykiln.errors import TinyKilnError, ToolError, VectorError
from tinykiln.flash import flash
from tinykiln.graph import Array, Graph
from tinykiln.load import load, supported_ops
from tinykiln.passes import simplify
from tinykiln.plan import Plan, make_plan
from tinykiln.project import Project, read_project, write_project
from tinykiln.reference import (
    Vectors,
    random_inputs,
    read_inputs,
    read_labels,
    run_reference,
    vectors_from_npz,
    vectors_to_npz,
)
from tinykiln.session import Session, connect

INTERRUPTED = 130
GOLDEN = "tests/golden.npz"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status."""
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.verb(arguments))
    except TinyKilnError as error:
        if arguments.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def boards(arguments: argparse.Namespace) -> int:
    """List the boards."""
    known = read_boards(arguments.boards)
    show(arguments, report.boards_json(known), report.boards_text(known))
    return 0


def ops(arguments: argparse.Namespace) -> int:
    """List the operators and dtypes that can be compiled."""
    show(arguments, report.ops_json(supported_ops()), report.ops_text(supported_ops()))
    return 0


def inspect(arguments: argparse.Namespace) -> int:
    """Show what is in a model, and whether it can be compiled."""
    graph = load(arguments.model)
    show(arguments, report.graph_json(graph), report.graph_text(graph))
    return 0


def plan(arguments: argparse.Namespace) -> int:
    """Show the memory map of a model on a board."""
    planned = plan_of(load(arguments.model), arguments)
    show(arguments, report.plan_json(planned), str(planned))
    return 0


def generate(arguments: argparse.Namespace) -> int:
    """Write a firmware repository for a model and a board."""
    model: Path = arguments.model
    planned = plan_of(load(model), arguments)
    data = model.read_bytes()
    extra = {f"model/{planned.graph.name}{model.suffix}": data}
    try:
        extra[GOLDEN] = vectors_to_npz(run_reference(data, planned, random_inputs(planned, arguments.vectors)))
    except ToolError as error:
        print(f"warning: no golden vectors, so the project cannot test itself: {error}", file=sys.stderr)
    project = write_project(emit(planned, model.name), arguments.template, arguments.output, extra)
    text = f"{planned}\n\nwrote {project.path}\nnext: tinykiln flash-and-test {project.path}"
    show(arguments, report.plan_json(planned), text)
    return 0


def build_verb(arguments: argparse.Namespace) -> int:
    """Build the firmware with cmake."""
    project = read_project(arguments.project)
    image = build(project)
    show(arguments, report.build_json(project, image), report.memory_text(project, image))
    return 0


def flash_verb(arguments: argparse.Namespace) -> int:
    """Bring the built firmware into the board's flash."""
    project = read_project(arguments.project)
    flash(project, arguments.port)
    print(f"flashed {project.path} on {project.board.name}")
    return 0


def run(arguments: argparse.Namespace) -> int:
    """Run inferences on the device: inputs from an .npz file, outputs into another."""
    project = read_project(arguments.project)
    inputs = read_inputs(arguments.inputs, project.inputs)
    count = len(next(iter(inputs.values())))
    with open_session(project, arguments) as session:
        session.reset()
        rows = [session.run([inputs[info.name][i] for info in project.inputs]).outputs for i in range(count)]
    outputs = {info.name: np.stack([row[k] for row in rows]) for k, info in enumerate(project.outputs)}
    save_outputs(arguments.outputs, outputs)
    print(f"{count} inferences on {project.board.name}, outputs in {arguments.outputs}")
    return 0


def profile(arguments: argparse.Namespace) -> int:
    """Count every step of one inference on the device."""
    project = read_project(arguments.project)
    with open_session(project, arguments) as session:
        layers = compare_layers(session, vectors_from_npz(project.path / GOLDEN))
    show(arguments, report.profile_json(project, layers), report.layers_text(project, layers))
    return 0


def test(arguments: argparse.Namespace) -> int:
    """Compare what the device infers with the reference, bit for bit."""
    project = read_project(arguments.project)
    vectors, labels = vectors_of(project, arguments)
    return report_test(arguments, project, read_image(project), vectors, labels)


def flash_and_test(arguments: argparse.Namespace) -> int:
    """Build, flash, and compare what the device infers with the reference."""
    project = read_project(arguments.project)
    vectors, labels = vectors_of(project, arguments)
    progress(f"building {project.path}")
    image = build(project)
    progress(f"flashing {project.board.name}")
    flash(project, arguments.port)
    return report_test(arguments, project, image, vectors, labels)


def plan_of(graph: Graph, arguments: argparse.Namespace) -> Plan:
    """The plan of a model for the board that was asked for."""
    return make_plan(simplify(graph), find_board(arguments.board, arguments.boards))


def vectors_of(project: Project, arguments: argparse.Namespace) -> tuple[Vectors, Array | None]:
    """The user's own inputs with what the reference makes of them, or the project's golden vectors; labels if given."""
    if arguments.inputs is None:
        return vectors_from_npz(project.path / GOLDEN), None
    model = project.path / project.model.file
    planned = make_plan(simplify(load(model)), project.board)
    inputs = read_inputs(arguments.inputs, project.inputs)
    progress("running the reference interpreter")
    return run_reference(model.read_bytes(), planned, inputs), read_labels(arguments.inputs, inputs)


def report_test(
    arguments: argparse.Namespace, project: Project, image: Image, vectors: Vectors, labels: Array | None
) -> int:
    """Compares on the device and shows the result."""
    with open_session(project, arguments, image) as session:
        outcome = compare(session, vectors, labels, progress)
    show(arguments, report.test_json(project, image, outcome), report.test_text(project, image, outcome))
    return 0 if outcome.passed else 1


def open_session(project: Project, arguments: argparse.Namespace, image: Image | None = None) -> Session:
    """A session with the device, which must run the image that was built last."""
    build_id = image.build_id if image else read_build_id(project.path / "build" / "firmware.elf")
    return connect(project, build_id, arguments.port, on_text=lambda text: print(text, end="", file=sys.stderr))


def save_outputs(path: Path, outputs: dict[str, Array]) -> None:
    """Writes an .npz file, whole or not at all."""
    fresh = path.with_name(f".{path.name}.new.npz")
    try:
        np.savez(fresh, allow_pickle=False, **outputs)
        fresh.replace(path)
    except OSError as error:
        raise VectorError(f"cannot write the outputs: {error.strerror}", where=str(path)) from error
    finally:
        fresh.unlink(missing_ok=True)


def show(arguments: argparse.Namespace, data: dict[str, Any], text: str) -> None:
    """JSON to the file that --json names (- is stdout), and the text to stdout unless the JSON went there."""
    if arguments.json:
        document = json.dumps(data, indent=2) + "\n"
        if arguments.json == "-":
            sys.stdout.write(document)
            return
        try:
            Path(arguments.json).write_text(document)
        except OSError as error:
            raise ToolError(f"cannot write the report: {error.strerror}", where=arguments.json) from error
    print(text)


def progress(text: str) -> None:
    """One line of progress on stderr, each over the last one, where somebody watches."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="" if text else "\r", file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    top = argparse.ArgumentParser(
        prog="tinykiln", description="Compile a trained network to C, generate firmware, test it on the board."
    )
    top.add_argument("--version", action="version", version=f"tinykiln {__version__}")
    verbs = top.add_subparsers(title="verbs", required=True, metavar="VERB")
    add_verb(verbs, "boards", boards, "boards")
    add_verb(verbs, "ops", ops)
    add_verb(verbs, "inspect", inspect, "model")
    add_verb(verbs, "plan", plan, "model", "board")
    add_verb(verbs, "generate", generate, "model", "board", "output")
    add_verb(verbs, "build", build_verb, "project")
    add_verb(verbs, "flash", flash_verb, "project", "port")
    add_verb(verbs, "run", run, "project", "port", "files")
    add_verb(verbs, "profile", profile, "project", "port")
    add_verb(verbs, "test", test, "project", "port", "inputs")
    add_verb(verbs, "flash-and-test", flash_and_test, "project", "port", "inputs")
    return top


def count(text: str) -> int:
    """A number of vectors, at least 1: a project without any cannot be tested. Raises ValueError, as argparse wants."""
    if int(text) < 1:
        raise ValueError
    return int(text)


OPTIONS: dict[str, tuple[tuple[tuple[str, ...], dict[str, Any]], ...]] = {
    "model": ((("model",), {"type": Path, "help": "model file (.tflite)"}),),
    "project": ((("project",), {"type": Path, "metavar": "DIR", "help": "folder of a generated project"}),),
    "boards": ((("--boards",), {"type": Path, "metavar": "FILE", "help": "boards of your own, as in boards.yaml"}),),
    "board": (
        (("--board",), {"required": True, "help": "name of a board, see `tinykiln boards`"}),
        (("--boards",), {"type": Path, "metavar": "FILE", "help": "boards of your own, as in boards.yaml"}),
    ),
    "output": (
        (("-o", "--output"), {"type": Path, "required": True, "metavar": "DIR", "help": "folder to write"}),
        (("--template",), {"default": "bare_metal", "help": "project template (default: bare_metal)"}),
        (("--vectors",), {"type": count, "default": 8, "metavar": "N", "help": "golden vectors to store (default: 8)"}),
    ),
    "port": ((("--port",), {"help": "serial port: /dev/ttyACM0, socket://host:port, rfc2217://host:port"}),),
    "inputs": ((("--inputs",), {"type": Path, "metavar": "NPZ", "help": "your own inputs instead of golden vectors"}),),
    "files": (
        (("--inputs",), {"type": Path, "required": True, "metavar": "NPZ", "help": "one array per input, (N, ...)"}),
        (("--outputs",), {"type": Path, "required": True, "metavar": "NPZ", "help": "file to write, same form"}),
    ),
}


def add_verb(verbs: Any, name: str, function: Callable[[argparse.Namespace], int], *options: str) -> None:
    """One verb; `options` are keys of OPTIONS."""
    verb = verbs.add_parser(name, help=function.__doc__, description=function.__doc__)
    for flags, settings in (option for key in options for option in OPTIONS[key]):
        verb.add_argument(*flags, **settings)
    verb.add_argument("--json", metavar="FILE", help="write the report as JSON; - is stdout")
    verb.add_argument("--debug", action="store_true", help="show a traceback with errors")
    verb.set_defaults(verb=function)
