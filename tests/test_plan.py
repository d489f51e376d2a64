"""Plans: steps, lifetimes, views, names, sizes, refusals; every plan is replayed operator by operator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_models import real_model
from replay import replay_plan
from tflite_writer import Model, residual_network
from tinykiln.boards import Board, Region, find_board
from tinykiln.errors import ModelError, PlanError
from tinykiln.load import tflite
from tinykiln.memory import Item
from tinykiln.plan import Plan, make_plan

BOARD = find_board("qemu_netduinoplus2")
DIGEST = "sha256:" + "0" * 64


def plan_of(data: bytes | Model, board: Board = BOARD, name: str = "net") -> Plan:
    raw = data if isinstance(data, bytes) else data.to_bytes()
    return make_plan(tflite.load(raw, name, DIGEST, Path(f"{name}.tflite")), board)


def with_memory(flash: int, ram: int) -> Board:
    return replace(BOARD, memory=(Region("flash", 0, flash), Region("ram", 0x20000000, ram)))


def lifetimes(plan: Plan) -> list[tuple[str, int, int]]:
    return [(item.name, item.first, item.last) for item in plan.items]


def ports(plan: Plan) -> tuple[list[str], list[str]]:
    return [port.name for port in plan.inputs], [port.name for port in plan.outputs]


def named(*names: str, outputs: tuple[str, ...] = ("y",)) -> Model:
    """A model that adds its inputs, and gives each of the sums as an output."""
    model = Model()
    x = [model.input((1, 4), name=name) for name in names]
    for i, output in enumerate(outputs):
        y = model.add(x[0], x[-1], scale=0.1 + i)
        model.tensors[y].name = output
        model.output(y)
    return model


# ---- steps and lifetimes ----


def test_steps_are_named_by_kind_and_index_and_views_are_none() -> None:
    plan = plan_of(residual_network())
    assert [step.name for step in plan.steps] == [
        "conv_0", "dwconv_1", "conv_2", "add_3", "dwconv_4", "maxpool_5", "avgpool_6", "fc_7", "softmax_8"]
    assert [step.index for step in plan.steps] == list(range(9))
    assert [step.op for step in plan.steps[4:6]] == ["DEPTHWISE_CONV_2D", "MAX_POOL_2D"]
    assert len(plan.graph.operators) == 10


def test_memory_map() -> None:
    plan = plan_of(residual_network(), name="residual")
    lines = str(plan).splitlines()
    assert lines.pop(2) == f"weights {plan.weights_bytes:,} B of 1 048 576 B flash".replace(",", " ")
    assert "\n".join(lines) == (
        "residual on qemu_netduinoplus2: 9 steps, 6 272 MACs\n"
        "arena   384 B (lower bound 384 B, bound reached) of 131 072 B RAM\n"
        "    offset      bytes  from         until        tensor\n"
        "       128        192  caller       conv_0       image\n"
        "         0        128  conv_0       add_3        t3\n"
        "       128        128  dwconv_1     conv_2       t6\n"
        "       256        128  conv_2       add_3        t9\n"
        "       128        128  add_3        dwconv_4     t10\n"
        "         0         64  dwconv_4     maxpool_5    t13\n"
        "        64         64  maxpool_5    avgpool_6    t14\n"
        "         0         16  avgpool_6    fc_7         t15\n"
        "        16          4  fc_7         softmax_8    t20\n"
        "         0          4  softmax_8    caller       scores")


def test_lifetimes_of_inputs_outputs_and_what_is_between() -> None:
    plan = plan_of(residual_network())
    assert lifetimes(plan)[:3] == [("image", -1, 0), ("t3", 0, 3), ("t6", 1, 2)]
    assert lifetimes(plan)[-1] == ("scores", 8, 9)


def test_weights_and_macs_are_summed() -> None:
    plan = plan_of(residual_network())
    assert plan.macs == 4 * 4 * 8 * 27 + 4 * 4 * 8 * 9 + 4 * 4 * 8 * 8 + 2 * 2 * 16 * 9 + 16 * 4
    assert plan.weights_bytes == sum(c.data.nbytes for step in plan.steps for c in step.kernel.constants) > 1000


def test_chain_of_views_is_one_item_that_lives_as_long_as_the_last() -> None:
    model = Model()
    y = model.softmax(model.input((1, 16)))
    flat = model.reshape(model.reshape(model.reshape(y, (1, 4, 4, 1)), (4, 4)), (16, 1))
    other = model.softmax(model.softmax(y))
    model.output(other)
    model.output(model.softmax(flat))
    plan = plan_of(model)
    assert lifetimes(plan) == [("t0", -1, 0), ("t1", 0, 3), ("t8", 1, 2), ("t9", 2, 4), ("t10", 3, 4)]
    assert plan.item_of[y] == plan.item_of[flat] == 1
    assert plan.offset(y) == plan.offset(flat)
    assert replay_plan(plan, plan.placement.offsets) == []


def test_view_of_an_input() -> None:
    model = Model()
    x = model.input((1, 4, 4, 1))
    flat = model.reshape(x, (1, 16))
    model.output(model.softmax(model.softmax(flat)))
    plan = plan_of(model)
    assert lifetimes(plan) == [("t0", -1, 0), ("t3", 0, 1), ("t4", 1, 2)]
    assert plan.item_of[x] == plan.item_of[flat] == 0


def test_output_that_is_a_view() -> None:
    model = Model()
    y = model.softmax(model.input((1, 16)))
    view = model.output(model.reshape(y, (4, 4)))
    model.output(model.softmax(model.softmax(y)))
    plan = plan_of(model)
    assert lifetimes(plan) == [("t0", -1, 0), ("t1", 0, 3), ("t4", 1, 2), ("t5", 2, 3)]
    assert [port.tensor for port in plan.outputs] == [view, model.outputs[1]]
    assert plan.offset(view) == plan.offset(y)


def test_output_that_is_a_view_of_an_input() -> None:
    model = Model()
    x = model.input((1, 16))
    view = model.output(model.reshape(x, (4, 4)))
    model.output(model.softmax(model.softmax(x)))
    plan = plan_of(model)
    assert lifetimes(plan)[0] == ("t0", -1, 2)
    assert plan.offset(view) == plan.offset(x)
    assert replay_plan(plan, plan.placement.offsets) == []


def test_output_that_other_steps_read_lives_to_the_end() -> None:
    model = Model()
    y = model.output(model.softmax(model.input((1, 8))))
    model.output(model.softmax(model.softmax(model.softmax(y))))
    plan = plan_of(model)
    assert lifetimes(plan)[1] == ("t1", 0, 4)
    assert replay_plan(plan, plan.placement.offsets) == []


def test_several_inputs_one_of_them_unused() -> None:
    model = Model()
    a, _, c = model.input((1, 8)), model.input((1, 100)), model.input((1, 8))
    model.output(model.add(model.softmax(a), c, scale=0.1))
    plan = plan_of(model)
    assert lifetimes(plan) == [("t0", -1, 0), ("t1", -1, -1), ("t2", -1, 1), ("t3", 0, 1), ("t4", 1, 2)]
    assert replay_plan(plan, plan.placement.offsets) == []


def test_offsets_are_aligned_for_float_inputs() -> None:
    model = Model()
    odd = model.input((1, 5), name="odd")
    real = model.input((1, 5), dtype="float32", name="real")
    model.output(model.add(odd, model.quantize(real, scale=0.1), scale=0.1))
    plan = plan_of(model)
    assert plan.offset(real) % 4 == 0
    assert plan.items[1] == Item("real", 20, -1, 0)


def test_hostile_names_are_made_plain() -> None:
    plan = plan_of(named("a*/\n\"b", outputs=("%s??/",)))
    assert [item.name for item in plan.items] == ["a_/__b", "_s__/"]
    assert ports(plan) == (["input_0"], ["output_0"])


# ---- names ----


@pytest.mark.parametrize(("inputs", "outputs", "expected"), [
    (("image", "Mask_2"), ("scores",), (["image", "Mask_2"], ["scores"])),
    (("image", "no name"), ("scores",), (["image", "input_1"], ["scores"])),
    (("input_1", "no name"), ("scores",), (["input_0", "input_1"], ["scores"])),
    (("x",), ("serving:0",), (["x"], ["output_0"])),
    (("2x",), ("_Y",), (["input_0"], ["_Y"])),
    (("bild_ä",), ("",), (["input_0"], ["output_0"])),
    (("a" * 81,), ("a" * 82,), (["a" * 81], ["output_0"])),
    (("image", "IMAGE"), ("y",), (["input_0", "input_1"], ["y"])),
    (("image",), ("Image",), (["image"], ["output_0"])),
    (("x",), ("add_0",), (["x"], ["output_0"])),
    (("ADD_0",), ("y",), (["input_0"], ["y"])),
    (("add_1",), ("y",), (["add_1"], ["y"])),
    (("output_0",), ("no name",), (["input_0"], ["output_0"])),
    (("x",), ("input_0",), (["x"], ["input_0"])),
    (("no name",), ("input_0",), (["input_0"], ["output_0"])),
    (("Init",), ("run",), (["input_0"], ["output_0"])),
    (("model",), ("steps",), (["input_0"], ["output_0"])),
    (("labels",), ("file",), (["input_0"], ["output_0"])),
    (("int",), ("while",), (["int"], ["while"])),
])
def test_names_of_ports(inputs: tuple[str, ...], outputs: tuple[str, ...],
                        expected: tuple[list[str], list[str]]) -> None:
    assert ports(plan_of(named(*inputs, outputs=outputs))) == expected


def test_accessor_and_constant_of_a_step_have_different_names() -> None:
    model = Model()
    model.output(model.random_fully_connected(np.random.default_rng(1), model.input((1, 4), name="weights"), 3))
    assert ports(plan_of(model, name="fc_0"))[0] == ["input_0"]
    assert ports(plan_of(model, name="fc_1"))[0] == ["weights"]


# ---- refusals ----


def test_too_little_ram() -> None:
    assert plan_of(residual_network(), with_memory(1 << 20, 384 + 4864)).arena_bytes == 384
    with pytest.raises(PlanError) as caught:
        plan_of(residual_network(), with_memory(1 << 20, 384 + 4863))
    plan = plan_of(residual_network())
    assert str(caught.value) == (
        "net needs 5248 B of RAM, qemu_netduinoplus2 has 5247 B\n"
        f"  where: arena 384 B, weights {plan.weights_bytes} B, the rest is the firmware with its stack\n"
        "  next:  choose a larger board (`tinykiln boards`) or a smaller model"
    )


def test_too_little_flash() -> None:
    model = Model()
    weights = np.ones((4, 20_000), np.int8)
    x = model.input((1, 20_000), zero=0)
    model.output(model.fully_connected(x, weights, None, weight_scales=[0.1], scale=0.5))
    with pytest.raises(PlanError) as caught:
        plan_of(model, with_memory(64 * 1024, 64 * 1024))
    plan = plan_of(model)
    assert str(caught.value) == (
        "net needs 84.3 KiB of flash, qemu_netduinoplus2 has 64.0 KiB\n"
        f"  where: arena 20004 B, weights {plan.weights_bytes} B, the rest is the firmware with its stack\n"
        "  next:  choose a larger board (`tinykiln boards`) or a smaller model"
    )


def test_views_alone_are_refused() -> None:
    model = Model()
    model.output(model.reshape(model.input((1, 4)), (4, 1)))
    with pytest.raises(ModelError) as caught:
        plan_of(model)
    assert str(caught.value) == "model 'net' computes nothing\n  next:  it needs an operator other than RESHAPE"


# ---- real models, and random ones ----


@pytest.mark.parametrize(("name", "arena", "macs"), [
    ("kws_ref_model", 16_000, 2_656_768),
    ("vww_96_int8", 55_296, 7_489_664),
    ("pretrainedResnet_quant", 49_152, 12_501_632),
    ("ad01_int8", 768, 264_192),
    ("str_ww_ref_model", 6_656, 826_368),
    ("hello_world_int8", 32, 288),
])
def test_real_models(name: str, arena: int, macs: int) -> None:
    plan = plan_of(real_model(name).read_bytes(), find_board("qemu_mps2_an386"))
    assert (plan.arena_bytes, plan.macs) == (arena, macs)
    assert (plan.placement.lower_bound, plan.placement.proof) == (arena, "bound reached")
    assert replay_plan(plan, plan.placement.offsets) == []


@st.composite
def random_graphs(draw: st.DrawFn) -> Model:
    """Adds, softmaxes and reshapes of 24 elements in any wiring, several inputs and outputs."""
    model = Model()
    shapes = [(1, 24), (2, 12), (24, 1)]
    made = [model.input((1, 24)) for _ in range(draw(st.integers(1, 3)))]
    for kind in draw(st.lists(st.sampled_from(["add", "add", "softmax", "reshape"]), min_size=1, max_size=14)):
        a, b = draw(st.sampled_from(made)), draw(st.sampled_from(made))
        if kind == "add" and model.shape(a) == model.shape(b):
            made.append(model.add(a, b, scale=0.1))
        elif kind == "reshape":
            made.append(model.reshape(a, draw(st.sampled_from(shapes))))
        else:
            made.append(model.softmax(a))
    results = [i for i in made if i not in model.inputs]
    for i in draw(st.lists(st.sampled_from(results), min_size=1, max_size=3, unique=True)):
        model.output(i)
    model.output(model.softmax(model.add(made[0], made[0], scale=0.1)))
    return model


@given(random_graphs())
@settings(deadline=None, max_examples=100)
def test_random_graphs_are_replayed(model: Model) -> None:
    plan = plan_of(model)
    assert replay_plan(plan, plan.placement.offsets) == []
    assert plan.arena_bytes >= plan.placement.lower_bound
    assert str(plan) == str(plan_of(model))


@pytest.mark.parametrize("name", ["residual", "kws_ref_model"])
def test_replay_sees_every_item_that_is_moved_onto_another(name: str) -> None:
    plan = plan_of(residual_network() if name == "residual" else real_model(name).read_bytes())
    offsets = plan.placement.offsets
    moves = [
        (i, offsets[j])
        for i, item in enumerate(plan.items)
        for j, other in enumerate(plan.items)
        if i != j and item.first <= other.last and other.first <= item.last
    ]
    assert len(moves) >= 2 * len(plan.items) - 2
    for i, offset in moves:
        assert replay_plan(plan, (*offsets[:i], offset, *offsets[i + 1:])) != []


def test_replay_sees_an_item_outside_of_the_arena() -> None:
    plan = plan_of(residual_network())
    assert plan.items[2].name == "t6"
    assert replay_plan(plan, (*plan.placement.offsets[:2], 260, *plan.placement.offsets[3:])) != []
