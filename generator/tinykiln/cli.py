"""The command line: one function a verb, each a few stages in a row.

Exit status 0: done and passed; 1: an error of ours or a failed test; 2: wrong usage.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinykiln import report
from tinykiln.arguments import Verb, make_parser
from tinykiln.boards import find_board, read_boards
from tinykiln.build import Image, build, read_image
from tinykiln.compare import compare, compare_layers
from tinykiln.elf import read_build_id
from tinykiln.emit import emit
from tinykiln.errors import TinyKilnError, ToolError, VectorError
from tinykiln.fields import Json
from tinykiln.flash import flash
from tinykiln.graph import Array, Graph
from tinykiln.link import Timeouts
from tinykiln.load import load, supported_ops
from tinykiln.passes import simplify
from tinykiln.plan import Plan, make_plan
from tinykiln.project import GOLDEN, Project, read_project, write_project
from tinykiln.reference import (
    Vectors,
    random_inputs,
    read_inputs,
    read_labels,
    run_reference,
    vectors_from_npz,
    vectors_to_npz,
)
from tinykiln.session import Inference, Session, connect

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status."""
    debug = False
    try:
        arguments = parse(argv)
        debug = arguments.debug
        return int(arguments.function(arguments))
    except KeyboardInterrupt:
        tell("interrupted")
        return INTERRUPTED
    except BrokenPipeOutput:
        return 1
    except Exception as error:
        if debug:
            raise
        tell(f"error: {error if isinstance(error, TinyKilnError) else unforeseen(error)}")
        return 1


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments. Raises SystemExit after wrong usage or --help."""
    try:
        return make_parser(VERBS).parse_args(argv)
    except BrokenPipeError as error:  # of --help, where stdout is not buffered
        drop_stdout()
        raise BrokenPipeOutput from error
    finally:
        write_stdout("")  # --help, which may still be in the buffer


def unforeseen(error: Exception) -> TinyKilnError:
    """What is told of an error that no stage has foreseen."""
    what = str(error) if isinstance(error, OSError) else f"TinyKiln itself failed: {error!r}"
    return TinyKilnError(what, hint="run it again with --debug and report what it prints, if the message does not help")


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
    graph = simplify(load(arguments.model))
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
    extra = {f"model/{planned.graph.name}.tflite": data, **golden_vectors(planned, data, arguments)}
    project = write_project(emit(planned, model.name), arguments.template, arguments.output, extra)
    show(arguments, report.plan_json(planned), f"{planned}\n\n{report.next_text(project, GOLDEN in extra)}")
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
    show(arguments, report.flash_json(project), f"flashed {project.path} on {project.board.name}")
    return 0


def run(arguments: argparse.Namespace) -> int:
    """Run inferences on the device: inputs from an .npz file, outputs into another."""
    project = read_project(arguments.project)
    inputs = read_inputs(arguments.inputs, project.inputs)
    results: list[Inference] = []
    with open_session(project, arguments) as session:
        session.reset()
        for i in range(len(next(iter(inputs.values())))):
            progress(f"inference {i + 1}")
            results.append(session.run([inputs[info.name][i] for info in project.inputs]))
    outputs = {info.name: np.stack([r.outputs[k] for r in results]) for k, info in enumerate(project.outputs)}
    save_outputs(arguments.outputs, outputs)
    text = f"{len(results)} inferences on {project.board.name}, outputs in {arguments.outputs}"
    show(arguments, report.run_json(project, [r.ticks for r in results]), text)
    return 0


def profile(arguments: argparse.Namespace) -> int:
    """Count every step of one inference on the device."""
    project = read_project(arguments.project)
    with open_session(project, arguments) as session:
        layers = compare_layers(session, vectors_from_npz(project.golden))
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


def golden_vectors(planned: Plan, model: bytes, arguments: argparse.Namespace) -> dict[str, bytes]:
    """The file of golden vectors: made anew, or without LiteRT the one that the project has for the same model."""
    progress("running the reference interpreter")
    try:
        inputs = random_inputs(planned, arguments.vectors)
        return {GOLDEN: vectors_to_npz(run_reference(model, planned, inputs))}
    except ToolError as error:
        stored = arguments.output / GOLDEN
        if stored.is_file() and read_project(arguments.output).model.digest == planned.graph.digest:
            tell(f"warning: the golden vectors that are there are kept: {error}")
            return {GOLDEN: stored.read_bytes()}
        tell(f"warning: no golden vectors, so the project cannot test itself: {error}")
        return {}


def vectors_of(project: Project, arguments: argparse.Namespace) -> tuple[Vectors, Array | None]:
    """The user's own inputs with what the reference makes of them, or the project's golden vectors; labels if given."""
    if arguments.inputs is None:
        return vectors_from_npz(project.golden), None
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
    build_id = image.build_id if image else read_build_id(project.elf)
    timeouts = Timeouts(inference=arguments.timeout)
    return connect(project, build_id, arguments.port, lambda text: print(text, end="", file=sys.stderr), timeouts)


def save_outputs(path: Path, outputs: dict[str, Array]) -> None:
    """Writes an .npz file, whole or not at all."""
    buffer, arrays = io.BytesIO(), dict[str, Any](outputs)
    np.savez(buffer, **arrays)
    try:
        write_file(path, buffer.getvalue())
    except OSError as error:
        raise VectorError(f"cannot write the outputs: {error.strerror}", where=str(path)) from error


def show(arguments: argparse.Namespace, data: Json, text: str) -> None:
    """JSON to the file that --json names (- is stdout), and the text to stdout unless the JSON went there."""
    progress("")
    document = json.dumps(data, indent=2) + "\n"
    write_stdout(document if arguments.json == "-" else text + "\n")
    if arguments.json and arguments.json != "-":
        try:
            write_file(Path(arguments.json), document.encode())
        except OSError as error:
            raise ToolError(f"cannot write the report: {error.strerror}", where=arguments.json) from error


def write_file(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all; what is no plain file (a pipe, /dev/stdout) is written to directly."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_bytes(data)
        return
    with tempfile.TemporaryDirectory(prefix=".tinykiln.", dir=path.parent) as scratch:
        fresh = Path(scratch, path.name)
        fresh.write_bytes(data)
        fresh.replace(path)


class BrokenPipeOutput(Exception):
    """Whoever read stdout has gone, as in `tinykiln boards | head -1`: no reason to say anything."""


def write_stdout(text: str) -> None:
    """Writes and flushes. Raises ToolError, and BrokenPipeOutput where nobody reads any more."""
    try:
        print(text, end="", flush=True)
    except OSError as error:
        drop_stdout()
        if isinstance(error, BrokenPipeError):
            raise BrokenPipeOutput from error
        raise ToolError(f"cannot write to stdout: {error.strerror}") from error


def drop_stdout() -> None:
    """What is left in the buffer is flushed once more at exit, and must not fail there."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell(text: str) -> None:
    """A message on stderr, in place of the progress that stands there."""
    progress("")
    print(text, file=sys.stderr)


def progress(text: str) -> None:
    """One line of progress on stderr, each over the last one, where somebody watches."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="" if text else "\r", file=sys.stderr, flush=True)


VERBS: dict[str, Verb] = {
    "boards": boards,
    "ops": ops,
    "inspect": inspect,
    "plan": plan,
    "generate": generate,
    "build": build_verb,
    "flash": flash_verb,
    "run": run,
    "profile": profile,
    "test": test,
    "flash-and-test": flash_and_test,
}
