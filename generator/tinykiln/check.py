"""What a Graph must fulfil, so that every later stage can rely on it; rules/ says what each operator must."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tinykiln.errors import ModelError
from tinykiln.graph import ABSENT, Graph, Operator, Tensor, plain_name
from tinykiln.rules import OPERATORS, Node, Rule, Signature, activation_faults, tensor_faults


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a model cannot be compiled: where in the model, why, and what is supported instead."""

    where: str
    reason: str
    hint: str = ""


def check(graph: Graph) -> None:
    """Raise ModelError with every reason why later stages could not compile `graph` correctly."""
    problems = graph_problems(graph)
    if problems:
        raise model_error(f"model {graph.name!r} cannot be compiled", problems)


def graph_problems(graph: Graph) -> list[Problem]:
    """All reasons at once; empty where the graph is right. Cost is linear in its constants."""
    problems = list(_interface_problems(graph))
    if not problems:
        problems += _order_problems(graph)
    if not problems:
        for index, operator in enumerate(graph.operators):
            problems += operator_problems(index, operator, graph.tensors)
    return problems


def operator_problems(index: int, operator: Operator, tensors: Sequence[Tensor]) -> list[Problem]:
    """What is wrong with one operator whose tensor indices are in range, and with its tensors."""
    rule = OPERATORS.get(operator.kind)
    node = Node(operator, tuple(None if i == ABSENT else tensors[i] for i in operator.inputs),
                tensors[operator.outputs[0]])
    if rule is None:
        return [problem(index, operator.kind, node.output, "the operator is not supported", supported_kinds())]
    mismatch = _signature_problem(index, node, rule)
    if mismatch:
        return [mismatch]
    used = (*(tensor for tensor in node.inputs if tensor is not None), node.output)
    faults = [(tensor, reason) for tensor in used for reason in tensor_faults(tensor)]
    return [problem(index, operator.kind, tensor, reason) for tensor, reason in faults or list(rule.faults(node))]


def problem(index: int, kind: str, tensor: Tensor, reason: str, hint: str = "") -> Problem:
    """A problem of operator `index` that shows in `tensor`."""
    return Problem(f"operator {index} {kind}, tensor '{plain_name(tensor.name)}' ({tensor.dtype})", reason, hint)


def model_error(what: str, problems: Sequence[Problem], where: str = "") -> ModelError:
    """One error that lists all problems, a line each."""
    lines = [f"    {p.where}: {p.reason}" if p.where else f"    {p.reason}" for p in problems]
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    hints = dict.fromkeys(p.hint for p in problems if p.hint)
    return ModelError("\n".join([f"{what}: {count}", *lines]), where=where, hint="; ".join(hints))


def supported_kinds() -> str:
    """The hint that names every operator."""
    return f"supported operators are {', '.join(OPERATORS)}"


def _interface_problems(graph: Graph) -> Iterator[Problem]:
    for what, indices in (("input", graph.inputs), ("output", graph.outputs)):
        if not indices:
            yield Problem("", f"the model has no {what}s")
        outside = [i for i in indices if not 0 <= i < len(graph.tensors)]
        if outside:
            yield Problem("", f"{what} tensor {outside[0]} does not exist: there are {len(graph.tensors)} tensors")
            continue
        for tensor in (graph.tensors[i] for i in indices):
            if tensor.data is not None:
                yield Problem(f"{what} '{plain_name(tensor.name)}' ({tensor.dtype})", "is a constant")
        if len(set(indices)) < len(indices):
            yield Problem("", f"a tensor is listed twice among the {what}s")
        names = Counter(graph.tensors[i].name for i in set(indices))
        for name in (name for name, count in names.items() if name and count > 1):
            yield Problem("", f"several {what}s are named '{plain_name(name)}'", f"give every {what} a name of its own")
    for i in set(graph.inputs) & set(graph.outputs):
        yield Problem("", f"tensor {i} is an input and an output", "an output must be made by an operator")
    yield from _input_problems(graph)


def _input_problems(graph: Graph) -> Iterator[Problem]:
    for tensor in (graph.tensors[i] for i in graph.inputs if 0 <= i < len(graph.tensors)):
        where = f"input '{plain_name(tensor.name)}' ({tensor.dtype})"
        if tensor.dtype not in ("int8", "uint8", "float32"):
            yield Problem(where, "inputs of this dtype are not supported", "supported inputs are int8, uint8, float32")
        else:
            yield from (Problem(where, reason) for reason in (*tensor_faults(tensor), *activation_faults(tensor)))


def _order_problems(graph: Graph) -> Iterator[Problem]:
    made = set(graph.inputs)
    for index, operator in enumerate(graph.operators):
        where = f"operator {index} {operator.kind}"
        outside = [i for i in (*operator.inputs, *operator.outputs)
                   if not 0 <= i < len(graph.tensors) and not (i == ABSENT and i in operator.inputs)]
        if outside or len(operator.outputs) != 1 or operator.outputs[0] == ABSENT:
            yield Problem(where, f"refers to tensor {outside[0]}, which does not exist" if outside
                          else f"has {len(operator.outputs)} outputs instead of 1")
            return
        for i in operator.inputs:
            if i != ABSENT and i not in made and graph.tensors[i].data is None:
                yield Problem(where, f"reads tensor '{plain_name(graph.tensors[i].name)}' before anything makes it")
        output = operator.outputs[0]
        if graph.tensors[output].data is not None:
            yield Problem(where, f"writes to the constant '{plain_name(graph.tensors[output].name)}'")
        if output in made:
            yield Problem(where, f"makes tensor '{plain_name(graph.tensors[output].name)}', which is there already")
        made.add(output)
    for i in graph.outputs:
        if i not in made:
            yield Problem("", f"no operator makes the output '{plain_name(graph.tensors[i].name)}'")


def _signature_problem(index: int, node: Node, rule: Rule) -> Problem | None:
    kind, most = node.operator.kind, len(rule.signatures[0].inputs)
    inputs = node.inputs + (None,) * (most - len(node.inputs))
    absent = inputs[:most - rule.optional].count(None)
    if absent and rule.missing:
        return problem(index, kind, node.output, rule.missing, f"{kind} takes {', or '.join(rule.takes())}")
    if len(inputs) > most or absent or not isinstance(node.operator.options, rule.options):
        return problem(index, kind, node.output, f"has {len(node.inputs) - node.inputs.count(None)} inputs; "
                       f"{most - rule.optional}{f' or {most}' if rule.optional else ''} are supported")
    for signature in rule.signatures:
        if _matches(signature, inputs, node.output):
            return None
    dtypes = ", ".join("none" if tensor is None else tensor.dtype for tensor in node.inputs)
    hint = f"{kind} takes {', or '.join(rule.takes())}"
    if node.output.dtype == "float32" and kind != "DEQUANTIZE":
        hint = "convert the model with full integer quantisation (int8 weights and activations)"
    return problem(index, kind, node.output, f"{dtypes} -> {node.output.dtype} is not supported", hint)


def _matches(signature: Signature, inputs: Sequence[Tensor | None], output: Tensor) -> bool:
    return output.dtype == signature.output and all(
        tensor is None or tensor.dtype == dtype for tensor, dtype in zip(inputs, signature.inputs, strict=True))
