"""Passes keep every bit of the outputs, and leave a graph that is right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tflite_writer import Model, residual_network
from tinykiln.check import check
from tinykiln.errors import ModelError
from tinykiln.graph import UNUSED, Graph
from tinykiln.load import load
from tinykiln.passes import PASSES, simplify
from tinykiln.passes.drop_unread import drop_unread


def loaded(model: Model, tmp_path: Path) -> Graph:
    path = tmp_path / "m.tflite"
    path.write_bytes(model.to_bytes())
    return load(path)


def forked() -> Model:
    """One operator that is needed, and a chain of two behind it that nobody reads."""
    rng = np.random.default_rng(1)
    model = Model()
    y = model.random_conv2d(rng, model.input((1, 5, 5, 2)), 2)
    model.random_fully_connected(rng, model.random_depthwise_conv2d(rng, y), 3, depth=50)
    model.output(model.max_pool2d(y, (2, 2)))
    return model


def test_unread_chain_is_dropped_with_its_constants(tmp_path: Path) -> None:
    graph = loaded(forked(), tmp_path)
    assert [operator.kind for operator in graph.operators] == [
        "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MAX_POOL_2D"]
    dropped = drop_unread(graph)
    assert dropped.operators == (graph.operators[0], graph.operators[3])
    assert [tensor is UNUSED for tensor in dropped.tensors] == [False] * 4 + [True] * 6 + [False]
    assert all(new is UNUSED or new is old for new, old in zip(dropped.tensors, graph.tensors, strict=True))
    assert (dropped.inputs, dropped.outputs) == (graph.inputs, graph.outputs)


def test_an_output_in_the_middle_is_kept(tmp_path: Path) -> None:
    model = forked()
    model.output(model.operators[1].outputs[0])
    graph = drop_unread(loaded(model, tmp_path))
    assert [operator.kind for operator in graph.operators] == ["CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D"]


def test_an_input_that_only_dropped_operators_read_stays(tmp_path: Path) -> None:
    model = forked()
    model.quantize(model.input((1, 4)), scale=0.1)
    graph = drop_unread(loaded(model, tmp_path))
    assert len(graph.inputs) == 2 and graph.tensors[graph.inputs[1]].shape == (1, 4)


def test_nothing_to_drop_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(residual_network())
    graph = load(path)
    simple = simplify(graph)
    assert (simple.operators, simple.tensors) == (graph.operators, graph.tensors)


def test_simplify_applies_the_passes_and_checks_after_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(PASSES) == [drop_unread]
    graph = loaded(forked(), tmp_path)
    assert simplify(graph).operators == drop_unread(graph).operators
    monkeypatch.setattr("tinykiln.passes.PASSES", (lambda g: replace(g, operators=g.operators[1:]),))
    with pytest.raises(ModelError) as caught:
        simplify(graph)
    assert caught.value.what.splitlines() == [
        "model 'm' cannot be compiled: 2 problems",
        "    operator 0 DEPTHWISE_CONV_2D: reads tensor 't3' before anything makes it",
        "    operator 2 MAX_POOL_2D: reads tensor 't3' before anything makes it",
    ]


def test_loaded_graphs_pass_the_check(tmp_path: Path) -> None:
    check(loaded(forked(), tmp_path))
