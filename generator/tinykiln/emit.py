"""Plan -> Sources: the generated C, and the part of the C runtime that it needs.

The templates in templates/ are the files as they will look; this module only says in tokens what
they hold. The same plan gives the same bytes: no dates, no host paths.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from tinykiln import __version__
from tinykiln.boards import Board
from tinykiln.data import data_path
from tinykiln.graph import Tensor, plain_name
from tinykiln.kernels import Constant, Ref, Row, Value
from tinykiln.plan import Plan, Port, Step

C_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int32": "int32_t", "float32": "float"}
NUMBERS_PER_LINE = {1: 16, 4: 8, 8: 4}
"""By bytes of a number; no line gets longer than 110 columns."""

PARAMETER_COLUMNS = 88
INT32_MIN = -(2**31)


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """Generated files: path relative to the project's root -> text. `plan` is what they were made from."""

    plan: Plan
    files: Mapping[str, str]


def emit(plan: Plan, model_file: str) -> Sources:
    """The model's C files under model/ and its runtime under crt/; `model_file` is named in their headers."""
    files = {path: (data_path("crt") / source).read_text() for path, source in _runtime_files(plan)}
    values = _values(plan, model_file)
    for suffix in (".h", ".c", "_weights.h"):
        template = _environment().get_template(f"model{suffix}.jinja")
        files[f"model/{plan.graph.name}{suffix}"] = template.render(values)
    return Sources(plan, files)


def _runtime_files(plan: Plan) -> Iterator[tuple[str, str]]:
    """(path in the project, path under crt/) of the runtime, the kernels that the plan calls, and their headers."""
    crt = data_path("crt")
    sources = {f"src/{file.name}": f"src/{file.name}" for file in (crt / "src").glob("*.[ch]")}
    for name in {step.kernel.source for step in plan.steps}:
        sources[f"kernels/{name}"] = _kernel_file(crt, plan.board, name)
    pending, headers = [*sources.values()], set[str]()
    while pending:
        included = set(re.findall(r'#include "(crt/\w+\.h)"', (crt / pending.pop()).read_text()))
        pending += [f"include/{header}" for header in included - headers]
        headers |= included
    for header in headers:
        sources[f"include/{header}"] = f"include/{header}"
    for path in sorted(sources):
        yield f"crt/{path}", sources[path]


def _kernel_file(crt: Path, board: Board, source: str) -> str:
    """The board's best variant of a kernel: the one of the first instruction set that has it, or portable C."""
    variants = (f"kernels/{isa}/{source}" for isa in board.isa)
    return next((path for path in variants if (crt / path).exists()), f"kernels/{source}")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"c": c_value, "parameter_line": parameter_line, "thousands": _thousands}
    return environment


def _thousands(n: int) -> str:
    return f"{n:,}".replace(",", " ")


def c_value(value: Value, step: str = "") -> str:
    """A parameter as a C initialiser; a Ref points to the constant `<step>_<suffix>`."""
    if isinstance(value, Ref):
        return f"{step}_{value.constant}"
    if isinstance(value, float):
        return f"{np.float32(value)!s}f"
    if isinstance(value, int):
        return "INT32_MIN" if value == INT32_MIN else str(value)
    fields = (f".{v[0]} = {c_value(v[1])}" if isinstance(v, tuple) else c_value(v) for v in value)
    return "{" + ", ".join(fields) + "}"


def parameter_line(row: Row, step: str) -> str:
    """Parameters as designated initialisers; what is too long for a line goes on below the first value."""
    text = ", ".join(f".{field} = {c_value(value, step)}" for field, value in row) + ","
    indent = " " * (text.find("{") + 1)
    lines = textwrap.wrap(text.replace(" = ", "\xa0=\xa0"), PARAMETER_COLUMNS, subsequent_indent=indent)
    return "\n".join(lines).replace("\xa0", " ")


def _values(plan: Plan, model_file: str) -> dict[str, Any]:
    """What the templates are rendered with."""
    version = [int(part) for part in __version__.split(".")]
    names = _item_names(plan)
    items = [_item_values(plan, i, names[i]) for i in range(len(plan.items))]
    return {
        "name": plan.graph.name,
        "file": plain_name(model_file),
        "digest": plan.graph.digest,
        "version": __version__,
        "crt_version": f"0x{version[0] << 16 | version[1] << 8 | version[2]:06x}",
        "weights_bytes": plan.weights_bytes,
        "arena_bytes": plan.arena_bytes,
        "lower_bound": plan.placement.lower_bound,
        "macs": plan.macs,
        "headers": sorted({step.kernel.header for step in plan.steps}),
        "items": _aligned(items, macro="<", address="<", size=">", made="<", needed="<"),
        "steps": [_step_values(plan, step, names) for step in plan.steps],
        "inputs": [_port_values(plan, port, names, is_output=False) for port in plan.inputs],
        "outputs": [_port_values(plan, port, names, is_output=True) for port in plan.outputs],
        "constants": [_constant_values(step, constant) for step in plan.steps for constant in step.kernel.constants],
    }


def _item_names(plan: Plan) -> list[str]:
    """The C macro of every item: t_ and the model's input or output, else the step that makes it."""
    names = {plan.item_of[step.output]: step.name for step in plan.steps}
    names |= {plan.item_of[port.tensor]: port.name for port in (*plan.outputs, *plan.inputs)}
    return [f"t_{names[i]}" for i in range(len(plan.items))]


def _item_values(plan: Plan, i: int, macro: str) -> dict[str, str]:
    made, needed = plan.users(i)
    address = f"(arena + {plan.placement.offsets[i]:>{len(str(plan.arena_bytes))}})"
    dtype = next(plan.graph.tensors[t].dtype for t, item in plan.item_of.items() if item == i)
    return {
        "macro": macro,
        "address": address if dtype == "int8" else f"(({C_TYPES[dtype]} *)(void *){address})",
        "size": _thousands(plan.items[i].size),
        "made": made,
        "needed": needed,
    }


def _aligned(rows: list[dict[str, str]], **columns: str) -> list[dict[str, str]]:
    """The rows with every named column padded to one width, "<" to the left or ">" to the right."""
    widths = {key: max(len(row[key]) for row in rows) for key in columns}
    return [row | {key: f"{row[key]:{way}{widths[key]}}" for key, way in columns.items()} for row in rows]


def _step_values(plan: Plan, step: Step, names: list[str]) -> dict[str, Any]:
    kernel = step.kernel
    operands = [
        c_value(operand, step.name) if isinstance(operand, Ref) else names[plan.item_of[operand]]
        for operand in kernel.operands
    ]
    output = plan.graph.tensors[step.output]
    macro = names[plan.item_of[step.output]]
    return {
        "name": step.name,
        "params": kernel.params,
        "rows": kernel.rows,
        "macs": kernel.macs,
        "made": f'{step.op} "{plain_name(output.name, 48)}"',
        "note": kernel.note,
        "call": f"{kernel.function}(&{step.name}, {', '.join([*operands, macro])})",
        "output": macro,
        "nbytes": output.nbytes,
    }


def _port_values(plan: Plan, port: Port, names: list[str], *, is_output: bool) -> dict[str, Any]:
    tensor = plan.graph.tensors[port.tensor]
    scale, zero = quantization_of(tensor)
    return {
        "name": port.name,
        "macro": names[plan.item_of[port.tensor]],
        "is_output": is_output,
        "ctype": C_TYPES[tensor.dtype],
        "dtype": f"CRT_{tensor.dtype.upper()}",
        "elements": tensor.size,
        "nbytes": tensor.nbytes,
        "shape": tensor.shape,
        "scale": float(scale),
        "zero": zero,
        "zero_macro": f"({zero})" if zero < 0 else str(zero),
        "comment": _tensor_comment(tensor),
    }


def quantization_of(tensor: Tensor) -> tuple[float, int]:
    """(scale, zero point) of a per-tensor quantised tensor, (0, 0) of any other."""
    if tensor.quantization is None:
        return 0.0, 0
    return tensor.quantization.scales[0], tensor.quantization.zero_points[0]


def _tensor_comment(tensor: Tensor) -> str:
    """The API's contract for one tensor: int8[1][8][8], real = 0.5 * (q + 128)."""
    shape = "".join(f"[{n}]" for n in tensor.shape)
    scale, zero = quantization_of(tensor)
    real = f", real = {np.float32(scale)!s} * (q {'-' if zero > 0 else '+'} {abs(zero)})" if scale else ""
    return f"{tensor.dtype}{shape}{real}"


_BYTE_TEXT = [str(i) for i in range(128)] + [str(i) for i in range(-128, 0)]


def _constant_values(step: Step, constant: Constant) -> dict[str, Any]:
    return {
        "name": f"{step.name}_{constant.suffix}",
        "ctype": constant.ctype,
        "align": "_Alignas(4) " if constant.data.itemsize < 4 else "",
        "length": len(constant.data),
        "layout": constant.layout,
        "body": "\n".join(_array_lines(constant)),
    }


def _array_lines(constant: Constant) -> Iterator[str]:
    if constant.data.ndim == 2:
        for row in constant.data.tolist():
            yield f"    {c_value(tuple(row))},"
        return
    texts = _element_texts(constant)
    length = NUMBERS_PER_LINE[constant.data.itemsize]
    for start in range(0, len(texts), length):
        yield f"    {', '.join(texts[start : start + length])},"


def _element_texts(constant: Constant) -> list[str]:
    if constant.data.dtype == np.int8:
        return [_BYTE_TEXT[byte] for byte in constant.data.tobytes()]
    if constant.data.dtype == np.float64:
        return [value.hex() for value in constant.data.tolist()]
    return [c_value(value) for value in constant.data.tolist()]
