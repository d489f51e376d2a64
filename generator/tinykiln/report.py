"""What the verbs report: values as JSON (schema 1) and as text for people. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

from tinykiln.boards import Board
from tinykiln.build import Image
from tinykiln.compare import LayerResult, Outcome
from tinykiln.fields import Json
from tinykiln.graph import Graph, plain_name
from tinykiln.kernels import VIEWS, lower
from tinykiln.load import SupportedOp
from tinykiln.plan import Plan, short_name
from tinykiln.project import Project

SCHEMA = 1
COLUMNS = 80
"""Width of tables whose last column is a tensor's name, which has no end."""

LONGEST = 1000
"""Characters of a tensor's name in JSON."""

SHORTEST = 14
"""Characters of a name that are shown in any case."""


def test_json(project: Project, image: Image, outcome: Outcome) -> Json:
    """The report of `test` and `flash-and-test`."""
    return {
        "schema": SCHEMA,
        "project": project.name,
        "board": project.board.name,
        "template": project.template,
        "model": _model_json(project),
        "memory": memory_json(project, image) | {"stack_used_bytes": outcome.stack_used},
        "counter": _counter_json(project.board),
        "inferences": [
            {
                "input": result.input,
                "ticks": result.ticks,
                "count": result.count,
                "equal": result.mismatches == 0,
                "mismatches": result.mismatches,
                "max_abs_error": result.max_abs_error,
            }
            for result in outcome.inferences
        ],
        "layers": layers_json(project, outcome.layers),
        "link": {"retries": outcome.retries},
        **({} if outcome.accuracy is None else {"accuracy": outcome.accuracy}),
        "passed": outcome.passed,
    }


def memory_json(project: Project, image: Image) -> Json:
    """Sizes of a built firmware in bytes."""
    return {
        "arena_bytes": project.arena_bytes,
        "arena_lower_bound_bytes": project.arena_lower_bound_bytes,
        "flash_bytes": image.flash_bytes,
        "weights_bytes": project.weights_bytes,
        "code_bytes": image.code_bytes,
        "ram_static_bytes": image.ram_static_bytes,
        "stack_bound_bytes": image.stack_bound_bytes,
    }


def layers_json(project: Project, layers: Sequence[LayerResult]) -> list[Json]:
    """One entry a step, in run order."""
    return [
        {
            "index": i,
            "step": layer.step,
            "op": step.op,
            "macs": step.macs,
            "count": layer.count,
            "mismatches": layer.mismatches,
        }
        for i, (step, layer) in enumerate(zip(project.steps, layers, strict=True))
    ]


def build_json(project: Project, image: Image) -> Json:
    """The report of `build`."""
    return {
        "schema": SCHEMA,
        "project": project.name,
        "board": project.board.name,
        "model": _model_json(project),
        "memory": memory_json(project, image),
        "build_id": image.build_id.hex(),
    }


def profile_json(project: Project, layers: Sequence[LayerResult]) -> Json:
    """The report of `profile`."""
    return {
        "schema": SCHEMA,
        "project": project.name,
        "board": project.board.name,
        "counter": _counter_json(project.board),
        "layers": layers_json(project, layers),
    }


def _model_json(project: Project) -> Json:
    return {"name": project.model.name, "digest": project.model.digest, "macs": project.model.macs}


def _counter_json(board: Board) -> Json:
    return {"unit": board.counter.unit, "hz": board.counter.hz, "step": board.counter.step}


def plan_json(plan: Plan) -> Json:
    """The report of `plan`: steps, and every item of the arena with its offset and lifetime in steps."""
    return {
        "schema": SCHEMA,
        "model": {"name": plan.graph.name, "digest": plan.graph.digest, "macs": plan.macs},
        "board": plan.board.name,
        "arena_bytes": plan.arena_bytes,
        "arena_lower_bound_bytes": plan.placement.lower_bound,
        "proof": plan.placement.proof,
        "weights_bytes": plan.weights_bytes,
        "steps": [
            {"index": step.index, "step": step.name, "op": step.op, "macs": step.kernel.macs,
             "kernel": step.kernel.function}
            for step in plan.steps
        ],
        "items": [
            {"tensor": item.name, "offset": offset, "bytes": item.size, "first": item.first, "last": item.last}
            for item, offset in zip(plan.items, plan.placement.offsets, strict=True)
        ],
    }


def flash_json(project: Project) -> Json:
    """The report of `flash`."""
    return {
        "schema": SCHEMA, "project": project.name, "board": project.board.name, "model": _model_json(project)
    }


def run_json(project: Project, ticks: Sequence[int]) -> Json:
    """The report of `run`; `ticks` are those of each inference."""
    step = project.board.counter.step
    return {
        "schema": SCHEMA,
        "project": project.name,
        "board": project.board.name,
        "counter": _counter_json(project.board),
        "inferences": [{"input": str(i), "ticks": n, "count": round(n * step)} for i, n in enumerate(ticks)],
    }


def graph_json(graph: Graph) -> Json:
    """The report of `inspect`; the graph is one that `check` accepts."""
    operators = [_operator_json(graph, i) for i in range(len(graph.operators))]
    return {
        "schema": SCHEMA,
        "model": {"name": graph.name, "digest": graph.digest, "macs": sum(e["macs"] for e in operators)},
        "weights_bytes": sum(e["weights_bytes"] for e in operators),
        "inputs": [_tensor_json(graph, i) for i in graph.inputs],
        "outputs": [_tensor_json(graph, i) for i in graph.outputs],
        "operators": operators,
    }


def _operator_json(graph: Graph, index: int) -> Json:
    operator = graph.operators[index]
    kernel = None if operator.kind in VIEWS else lower(graph, operator)
    return {
        "index": index,
        "op": operator.kind,
        "macs": kernel.macs if kernel else 0,
        "weights_bytes": sum(constant.data.nbytes for constant in kernel.constants) if kernel else 0,
        "output": _tensor_json(graph, operator.outputs[0]),
    }


def _tensor_json(graph: Graph, index: int) -> Json:
    tensor = graph.tensors[index]
    return {
        "name": plain_name(tensor.name, LONGEST),
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "bytes": tensor.nbytes,
    }


def boards_json(boards: Mapping[str, Board]) -> Json:
    """The report of `boards`."""
    return {
        "schema": SCHEMA,
        "boards": [
            {
                "name": board.name,
                "title": board.title,
                "cpu": board.cpu,
                "flash_bytes": board.region("flash").size,
                "ram_bytes": board.region("ram").size,
                "emulated": board.emulator is not None,
            }
            for board in boards.values()
        ],
    }


def ops_json(ops: Iterable[SupportedOp]) -> Json:
    """The report of `ops`."""
    return {"schema": SCHEMA, "ops": [
        {"op": op.kind, "dtypes": list(op.dtypes), "optional_inputs": op.optional} for op in ops
    ]}


def table(rows: Sequence[Sequence[object]], header: Sequence[str], columns: int | None = None) -> str:
    """Columns as wide as they need to be, numbers to the right. The last is cut to keep lines within `columns`."""
    texts = [[_number(cell) if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    right = [bool(rows) and all(isinstance(row[i], int) for row in rows) for i in range(len(header))]
    widths = [max(len(row[i]) for row in [list(header), *texts]) for i in range(len(header))]
    if columns is not None:
        widths[-1] = max(SHORTEST, columns - sum(widths[:-1]) - 2 * (len(widths) - 1))
    lines = []
    for row in [list(header), *texts]:
        row[-1] = row[-1] if columns is None else short_name(row[-1], widths[-1])
        cells = (cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def boards_text(boards: Mapping[str, Board]) -> str:
    """One line a board; memory in KiB."""
    rows = [
        [e["name"], e["cpu"], e["flash_bytes"] // 1024, e["ram_bytes"] // 1024, e["title"]]
        for e in boards_json(boards)["boards"]
    ]
    return table(rows, ["board", "cpu", "flash KiB", "RAM KiB", ""])


def ops_text(ops: Iterable[SupportedOp]) -> str:
    """One line an operator and combination of dtypes; inputs in brackets may be left out."""
    return table([[op.kind, takes] for op in ops for takes in op.takes], ["operator", "dtypes"])


def graph_text(graph: Graph) -> str:
    """The model as a whole, its largest tensors, and one line an operator."""
    report = graph_json(graph)
    operators, model = report["operators"], report["model"]
    ports = [[way, t["name"], _shape(t), t["bytes"]] for way in ("inputs", "outputs") for t in report[way]]
    rows = [
        [e["index"], e["op"], _shape(e["output"]), e["output"]["bytes"], e["macs"], e["weights_bytes"],
         e["output"]["name"]]
        for e in operators
    ]
    largest = max(operators, key=lambda e: e["output"]["bytes"], default=None)
    return "\n".join([
        model["name"],
        f"digest: {model['digest']}",
        f"can be compiled: {len(operators)} operators, {_number(model['macs'])} MACs, "
        f"{_number(report['weights_bytes'])} B of weights",
        *([f"largest tensor: {_number(largest['output']['bytes'])} B, made by operator {largest['index']}"]
          if largest else []),
        "",
        table([[row[0][:-1], *row[1:]] for row in ports], ["", "name", "type", "bytes"]),
        "",
        table(rows, ["", "operator", "output", "bytes", "MACs", "weights", "tensor"], COLUMNS),
    ])


def _shape(tensor: Json) -> str:
    return f"{tensor['dtype']} {'x'.join(map(str, tensor['shape']))}".strip()


def next_text(project: Project, has_vectors: bool) -> str:
    """What was generated and what to do with it."""
    folder = shlex.quote(str(project.path))
    steps = [f"tinykiln flash-and-test {folder}"]
    if project.board.emulator is None or not has_vectors:
        steps = [f"tinykiln build {folder}"]
    if project.board.emulator is None:
        steps += ["flash build/firmware.elf with the vendor's tool", f"tinykiln test {folder} --port /dev/ttyACM0"]
    return "\n      ".join([f"wrote {project.path}\nnext: {steps[0]}", *steps[1:]])


def memory_text(project: Project, image: Image) -> str:
    """Sizes of a built firmware."""
    bound = "unknown" if image.stack_bound_bytes is None else _number(image.stack_bound_bytes)
    return (
        f"flash {_number(image.flash_bytes)} B (weights {_number(project.weights_bytes)}, "
        f"code {_number(image.code_bytes)})   RAM arena {_number(project.arena_bytes)} B, "
        f"static {_number(image.ram_static_bytes)} B, stack at most {bound} B"
    )


def layers_text(project: Project, layers: Sequence[LayerResult]) -> str:
    """One line a step."""
    unit = project.board.counter.unit
    rows = [
        [e["step"], e["op"], e["macs"], e["count"], f"{e['count'] / e['macs']:.2f}" if e["macs"] else "",
         f"{e['mismatches']} bytes differ" if e["mismatches"] else "equal"]
        for e in layers_json(project, layers)
    ]
    return table(rows, ["step", "operator", "MACs", unit, "per MAC", ""])


def test_text(project: Project, image: Image, outcome: Outcome) -> str:
    """The result of a test in a few lines; the layers where something differs."""
    equal = sum(result.mismatches == 0 for result in outcome.inferences)
    lines = [
        f"{project.name} on {project.board.name}: {equal} of {len(outcome.inferences)} inferences equal the reference",
        memory_text(project, image) + f", used {_number(outcome.stack_used)} B",
    ]
    if outcome.inferences:
        lines.append(_count_text(project, outcome))
    if outcome.accuracy is not None:
        lines.append(f"accuracy {100 * outcome.accuracy:.2f} %")
    if outcome.retries:
        lines.append(f"link: {outcome.retries} request{'' if outcome.retries == 1 else 's'} had to be sent again")
    if not outcome.passed:
        lines.append(layers_text(project, outcome.layers))
    return "\n".join([*lines, "PASSED" if outcome.passed else "FAILED"])


def _count_text(project: Project, outcome: Outcome) -> str:
    counts = [result.count for result in outcome.inferences]
    mean = sum(counts) / len(counts)
    per_mac = f", {mean / project.model.macs:.2f} per MAC" if project.model.macs else ""
    return f"{_number(round(mean))} {project.board.counter.unit} an inference (largest {_number(max(counts))}){per_mac}"


def _number(n: int) -> str:
    return f"{n:,}".replace(",", " ")
