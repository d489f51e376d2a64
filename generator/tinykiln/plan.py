"""Graph x Board -> Plan: the steps in run order and where every tensor lies in the arena."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tinykiln.boards import Board
from tinykiln.errors import ModelError, PlanError
from tinykiln.graph import Graph, plain_name
from tinykiln.kernels import VIEWS, Kernel, lower
from tinykiln.memory import Item, Placement, place

STACK_BYTES = 4096
"""The stack that a generated firmware gets; its owner may change it in CMakeLists.txt."""

FIRMWARE_RAM = STACK_BYTES + 256 + 512
"""Bytes of RAM beside the arena: the stack, the guard below it, and what link and start-up keep (304 measured)."""

FIRMWARE_FLASH, KERNEL_FLASH, STEP_FLASH = 5 * 1024, 1024, 100
"""Bytes of flash beside the weights: start-up and link, each kernel, each step's parameters. Measured at -O2 on real
models (benchmarks/), where the sum is 1 to 20 % above what the linker makes."""

BEFORE_FIRST = -1
"""The step at which the model's inputs are written."""

RESERVED_NAMES = frozenset({"init", "run", "model", "steps", "version", "labels", "file", "allow_pickle"})
"""Names that the firmware-facing API, .npz files with inputs, and numpy.savez use themselves."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One operator of the schedule. `name` is <kind>_<index>; `output` is a tensor index."""

    index: int
    name: str
    op: str
    kernel: Kernel
    output: int


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of the model: the tensor and its name in C and in .npz files."""

    name: str
    tensor: int


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Everything the generated code is made from.

    `items` and `placement` are the memory plan; `item_of` maps a tensor index to its item, tensors
    that are views of each other to the same one. Constants have no item.
    """

    graph: Graph
    board: Board
    steps: tuple[Step, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    items: tuple[Item, ...]
    placement: Placement
    item_of: dict[int, int]

    @property
    def arena_bytes(self) -> int:
        """Size of the arena."""
        return self.placement.total

    @property
    def macs(self) -> int:
        """Multiplies of weights in one run."""
        return sum(step.kernel.macs for step in self.steps)

    @property
    def weights_bytes(self) -> int:
        """Bytes of packed weights, biases and scales in flash."""
        return sum(constant.data.nbytes for step in self.steps for constant in step.kernel.constants)

    @property
    def code_bytes(self) -> int:
        """Bytes of flash that the firmware takes beside the weights, as far as is known before it is linked."""
        kernels = {step.kernel.source for step in self.steps}
        return FIRMWARE_FLASH + KERNEL_FLASH * len(kernels) + STEP_FLASH * len(self.steps)

    def offset(self, tensor: int) -> int:
        """Where the tensor of that index starts in the arena, in bytes."""
        return self.placement.offsets[self.item_of[tensor]]

    def users(self, item: int) -> tuple[str, str]:
        """Who writes an item first and who needs it last: step names, or "caller"."""
        names = ["caller", *(step.name for step in self.steps), "caller"]
        return names[self.items[item].first + 1], names[self.items[item].last + 1]

    def __str__(self) -> str:
        """The memory map as text, one line an item in the order of first use."""
        p, ram, flash = self.placement, self.board.region("ram"), self.board.region("flash")
        lines = [
            f"{self.graph.name} on {self.board.name}: {len(self.steps)} steps, {_spaced(self.macs)} MACs",
            f"arena   {_spaced(p.total)} B (lower bound {_spaced(p.lower_bound)} B, {p.proof})"
            f" of {_spaced(ram.size)} B RAM",
            f"weights {_spaced(self.weights_bytes)} B of {_spaced(flash.size)} B flash",
            f"{'offset':>10} {'bytes':>10}  {'from':<12} {'until':<12} tensor",
        ]
        for i, (item, offset) in enumerate(zip(self.items, p.offsets, strict=True)):
            made, needed = self.users(i)
            name = short_name(item.name, 30)
            lines.append(f"{_spaced(offset):>10} {_spaced(item.size):>10}  {made:<12} {needed:<12} {name}")
        return "\n".join(lines)


def short_name(name: str, limit: int) -> str:
    """A tensor's name in at most `limit` characters for a table: of fused operators the last, of a long name both ends.

    Converters join the names of fused operators with ";", that of the tensor first.
    """
    name = name.split(";", 1)[0]
    if len(name) <= limit:
        return name
    head = (limit - 2) // 3
    return f"{name[:head]}..{name[len(name) - (limit - 2 - head):]}"


def _spaced(n: int) -> str:
    return f"{n:,}".replace(",", " ")


def make_plan(graph: Graph, board: Board) -> Plan:
    """Schedules the operators in the order of the graph and places every tensor.

    Raises PlanError where arena or weights cannot fit the board, ModelError where all operators are views.
    """
    steps = _steps(graph)
    if not steps:
        kinds = ", ".join(sorted(VIEWS))
        raise ModelError(f"model '{graph.name}' computes nothing", hint=f"it needs an operator other than {kinds}")
    roots = _roots(graph)
    items = _items(graph, steps, roots)
    index = {root: i for i, root in enumerate(items)}
    taken = {step.name for step in steps} | _names_behind(graph.name, steps)
    inputs = _ports(graph, graph.inputs, "input", taken | {f"output_{i}" for i in range(len(graph.outputs))})
    taken |= {port.name.lower() for port in inputs}
    plan = Plan(
        graph=graph,
        board=board,
        steps=steps,
        inputs=inputs,
        outputs=_ports(graph, graph.outputs, "output", taken),
        items=tuple(items.values()),
        placement=place(tuple(items.values())),
        item_of={tensor: index[root] for tensor, root in roots.items() if root in index},
    )
    _check_fit(plan)
    return plan


def _steps(graph: Graph) -> tuple[Step, ...]:
    steps: list[Step] = []
    for operator in graph.operators:
        if operator.kind not in VIEWS:
            kernel = lower(graph, operator)
            index = len(steps)
            steps.append(Step(index, f"{kernel.kind}_{index}", operator.kind, kernel, operator.outputs[0]))
    return tuple(steps)


def _roots(graph: Graph) -> dict[int, int]:
    """For every tensor the one whose memory it is: itself, or what it is a view of."""
    roots = {i: i for i in range(len(graph.tensors))}
    for operator in graph.operators:
        if operator.kind in VIEWS:
            roots[operator.outputs[0]] = roots[operator.inputs[0]]
    return roots


def _items(graph: Graph, steps: tuple[Step, ...], roots: dict[int, int]) -> dict[int, Item]:
    """The items of the memory plan by root tensor, in the order in which they are first written."""
    first = {roots[i]: BEFORE_FIRST for i in graph.inputs}
    last = dict(first)
    for step in steps:
        first[roots[step.output]] = last[roots[step.output]] = step.index
        for tensor in step.kernel.operands:
            if isinstance(tensor, int):
                last[roots[tensor]] = step.index
    for i in graph.outputs:
        last[roots[i]] = len(steps)
    return {
        root: Item(plain_name(graph.tensors[root].name), graph.tensors[root].nbytes, first[root], last[root])
        for root in first
    }


def _ports(graph: Graph, tensors: tuple[int, ...], direction: str, taken: set[str]) -> tuple[Port, ...]:
    """Names as in the model where they can stand in C beside those `taken`, else input_0, input_1, ..."""
    numbered = [f"{direction}_{i}" for i in range(len(tensors))]
    names = []
    for i, tensor in enumerate(tensors):
        name = graph.tensors[tensor].name
        usable = re.fullmatch(r"[A-Za-z_]\w{0,80}", name, re.ASCII) and name.lower() not in taken | RESERVED_NAMES
        names.append(name if usable else numbered[i])
    if len({name.lower() for name in names}) < len(names):
        names = numbered
    return tuple(Port(name, tensor) for name, tensor in zip(names, tensors, strict=True))


def _names_behind(model: str, steps: tuple[Step, ...]) -> set[str]:
    """Names of ports whose accessor, <model>_<name>, would be a constant of a step."""
    constants = (f"{step.name}_{constant.suffix}" for step in steps for constant in step.kernel.constants)
    return {name.removeprefix(f"{model}_") for name in constants if name.startswith(f"{model}_")}


def _check_fit(plan: Plan) -> None:
    for what, needed, region in (
        ("RAM", plan.arena_bytes + FIRMWARE_RAM, plan.board.region("ram")),
        ("flash", plan.weights_bytes + plan.code_bytes, plan.board.region("flash")),
    ):
        if needed > region.size:
            raise PlanError(
                f"{plan.graph.name} needs {_kib(needed)} of {what}, {plan.board.name} has {_kib(region.size)}",
                where=f"arena {plan.arena_bytes} B, weights {plan.weights_bytes} B, "
                "the rest is the firmware with its stack",
                hint="choose a larger board (`tinykiln boards`) or a smaller model",
            )


def _kib(size: int) -> str:
    return f"{size / 1024:.1f} KiB" if size >= 10 * 1024 else f"{size} B"
