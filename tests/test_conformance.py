"""The generated C against LiteRT's reference kernels, bit for bit, on this machine with ASan and UBSan.

Whole models are read from TINYKILN_MODELS, see real_models.py. The others are in conformance_models.py; those of one
family become one executable.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance_models import FAMILIES, Case
from host_model import Job, build_host, compile_model, plan_model, run_host, run_host_steps
from real_models import ROOT, real_model
from tflite_writer import Model
from tinykiln.data import data_path
from tinykiln.emit import Sources
from tinykiln.errors import ModelError
from tinykiln.graph import Array
from tinykiln.kernels import KERNELS, VIEWS
from tinykiln.load import supported_ops
from tinykiln.plan import Plan
from tinykiln.reference import Arrays, Vectors, random_inputs, run_reference

REAL_MODELS = ("kws_ref_model", "vww_96_int8", "pretrainedResnet_quant", "ad01_int8", "str_ww_ref_model",
               "hello_world_int8")
DIGITS = ROOT / "examples" / "digits"


@dataclass(frozen=True)
class Compiled:
    """A model, its plan and its C."""

    case: Case
    plan: Plan
    sources: Sources


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conformance")


@pytest.mark.parametrize("name", REAL_MODELS)
def test_real_model(name: str, work: Path) -> None:
    data = real_model(name).read_bytes()
    assert_conforms(Case(name, name, data), work, 200)


def test_digits_example(work: Path) -> None:
    with np.load(DIGITS / "test.npz") as arrays:
        images = arrays["image"]
    case = Case("digits", "digits", (DIGITS / "digits.tflite").read_bytes())
    assert len(images) == 450
    assert_conforms(case, work, 200)
    assert_conforms(case, work, inputs={"image": images})


def assert_conforms(case: Case, work: Path, count: int = 0, inputs: Arrays | None = None) -> None:
    """Equal outputs for all inputs, and equal outputs of every step for the first three."""
    model = compiled(case, work)
    job = Job(model.plan, inputs or random_inputs(model.plan, count))
    executable = build_host([model.sources], work / case.name)
    vectors = run_reference(case.data, model.plan, job.inputs)
    assert differences(run_host(executable, [job])[0], vectors.outputs) == {}
    first = Job(model.plan, {name: array[:3] for name, array in job.inputs.items()})
    assert differences(run_host_steps(executable, [first])[0], layers(case, first)) == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_small_models(family: str, work: Path) -> None:
    models = [compiled(case, work) for case in FAMILIES[family]()]
    jobs = [Job(model.plan, some_inputs(model.plan)) for model in models]
    executable = build_host([model.sources for model in models], work / family)
    outputs, steps = run_host(executable, jobs), run_host_steps(executable, jobs)
    wrong = []
    for model, job, made, made_steps in zip(models, jobs, outputs, steps, strict=True):
        found = differences(made, reference(model, job).outputs) | differences(made_steps, layers(model.case, job))
        if found:
            wrong.append(f"{model.case.name} ({model.case.text}): {found}")
    assert not wrong, f"{len(wrong)} of {len(models)} models differ\n" + "\n".join(wrong)


def compiled(case: Case, work: Path) -> Compiled:
    return Compiled(case, *compile_model(written(case, work)))


def written(case: Case, work: Path) -> Path:
    work.mkdir(parents=True, exist_ok=True)
    path = work / f"{case.name}.tflite"
    path.write_bytes(case.data)
    return path


def reference(model: Compiled, job: Job) -> Vectors:
    return run_reference(model.case.data, model.plan, job.inputs)


def layers(case: Case, job: Job) -> Arrays:
    """The reference's output of every step for every input."""
    each = [run_reference(case.data, job.plan, {name: array[i:i + 1] for name, array in job.inputs.items()}).layers
            for i in range(job.count)]
    return {step.name: np.stack([vector[step.name] for vector in each]) for step in job.plan.steps}


def some_inputs(plan: Plan) -> Arrays:
    """Random values, one end of the range everywhere, the other, and both mixed."""
    drawn = random_inputs(plan, 4)
    return {port.name: np.concatenate([drawn[port.name], _ends(plan, port.name, port.tensor)]) for port in plan.inputs}


def _ends(plan: Plan, name: str, index: int) -> Array:
    """(3, *tensor shape); for floats, values half-way between two quantised ones and beyond their range."""
    tensor = plan.graph.tensors[index]
    rng = np.random.default_rng(tensor.size)
    if tensor.dtype == "float32":
        scales = [y.quantization.scales[0] for y in plan.graph.tensors if y.quantization and y.dtype == "int8"]
        halves = rng.integers(-300, 300, (3, *tensor.shape)) + 0.5
        return (halves * scales[0]).astype(np.float32)
    limits = np.iinfo(tensor.dtype)
    shape = tensor.shape
    ends = [np.full(shape, limits.min), np.full(shape, limits.max), rng.choice([limits.min, limits.max], shape)]
    return np.stack(ends).astype(tensor.dtype)


def differences(made: Arrays, expected: Arrays) -> dict[str, str]:
    """For every array that is not the same to the byte, how many elements differ and the first of them."""
    assert made.keys() == expected.keys()
    found = {}
    for name, array in made.items():
        other = expected[name].reshape(array.shape)
        if array.dtype != other.dtype or array.tobytes() != other.tobytes():
            found[name] = _first_difference(array, other)
    return found


def _first_difference(made: Array, expected: Array) -> str:
    places: list[Any] = np.argwhere(made != expected).tolist()
    if not places:
        return f"{made.dtype}, {expected.dtype}"
    at = tuple(places[0])
    return f"{len(places)} of {made.size} elements, first at {at}: {made[at]}, expected {expected[at]}"


def test_every_operator_has_a_kernel_and_every_kernel_an_operator() -> None:
    assert {op.kind for op in supported_ops()} == set(KERNELS) | VIEWS
    assert not set(KERNELS) & VIEWS


def test_model_of_views_alone_is_refused(work: Path) -> None:
    model = Model()
    model.output(model.reshape(model.input((1, 4, 6)), (4, 6)))
    with pytest.raises(ModelError) as caught:
        compiled(Case("views", "a reshape of the input", model.to_bytes()), work)
    assert str(caught.value) == "model 'views' computes nothing\n  next:  it needs an operator other than RESHAPE"


def test_every_kernel_file_is_compared(tmp_path: Path) -> None:
    files = [files for family in FAMILIES for files in kernel_files(family, tmp_path)]
    assert set().union(*files) == {file.name for file in (data_path("crt") / "kernels").glob("*.c")}


def test_fully_connected_is_compared_in_fixed_point_and_in_float64(tmp_path: Path) -> None:
    files = kernel_files("fully_connected_ties", tmp_path)
    assert files.count({"fully_connected_s8.c"}) >= 10
    assert files.count({"fully_connected_f64_s8.c"}) >= 10


def kernel_files(family: str, work: Path) -> list[set[str]]:
    """The files under crt/kernels that each model of the family needs."""
    plans = [plan_model(written(case, work)) for case in FAMILIES[family]()]
    return [{step.kernel.source for step in plan.steps} for plan in plans]
