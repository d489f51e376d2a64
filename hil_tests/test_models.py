"""Real models on every emulated board, through the UART: the reference's bits, the report, and the limits kept."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from contract import REPORT, faults
from firmware import STACK_BYTES, Json, flash_and_test, generate, model_file, sections, succeed, symbol
from litert import run

MODELS = (
    "kws_ref_model",
    "vww_96_int8",
    "pretrainedResnet_quant",
    "ad01_int8",
    "str_ww_ref_model",
    "hello_world_int8",
    "digits",
)

COUNTERS = {
    "qemu_mps2_an385": (25_000_000, 40.0),
    "qemu_mps2_an386": (25_000_000, 40.0),
    "qemu_mps2_an500": (25_000_000, 40.0),
    "qemu_mps3_an547": (32_000_000, 31.25),
    "qemu_netduinoplus2": (168_000_000, 1e9 / 168_000_000),
}
"""Ticks a second and instructions a tick."""


class Peer(NamedTuple):
    """Instructions of an inference, arena and whole image in bytes."""

    instructions: int
    arena: int
    flash: int


PEERS = {
    "kws_ref_model": Peer(7_697_920, 22_820, 140_028),
    "vww_96_int8": Peer(24_101_960, 100_708, 419_380),
    "pretrainedResnet_quant": Peer(29_862_680, 54_996, 179_448),
    "ad01_int8": Peer(582_920, 2_580, 309_652),
    "str_ww_ref_model": Peer(2_227_080, 16_596, 157_500),
    "hello_world_int8": Peer(3_520, 772, 35_380),
}
"""TFLite Micro with CMSIS-NN, commit 90b983c2b, same compiler and emulator, on qemu_mps2_an386's machine."""


def combination(name: str, board: str) -> Any:
    """A model on a board. The Netduino differs from an386 in its UART and counter alone: its large models are slow."""
    large = name in ("vww_96_int8", "pretrainedResnet_quant")
    return pytest.param(name, board, marks=[pytest.mark.slow] if large and board == "qemu_netduinoplus2" else [])


@pytest.mark.parametrize(("name", "board"), [combination(name, board) for name in MODELS for board in COUNTERS])
def test_model_on_board(name: str, board: str, tmp_path: Path, record_property: Any) -> None:
    model, folder = model_file(name), tmp_path / "fw"
    plan = generate(model, board, folder)
    report = flash_and_test(folder)
    assert faults(report) == []
    check_vectors(model, folder)
    check_identity(report, name, board, model)
    check_results(report, plan)
    check_memory(report, plan, folder)
    if board == "qemu_mps2_an386" and name in PEERS:
        check_limits(report, PEERS[name])
    record_property("figures", figures(report))


def check_vectors(model: Path, folder: Path) -> None:
    """The project holds 8 different inputs, with the outputs that LiteRT's reference kernels give for them."""
    data = model.read_bytes()
    with np.load(folder / "tests" / "golden.npz") as file:
        inputs = [file[key] for key in file.files if key.startswith("inputs/")]
        outputs = [file[key] for key in file.files if key.startswith("outputs/")]
    assert len({array.tobytes() for array in inputs[0]}) == 8
    for i in range(8):
        expected = run(data, [array[i] for array in inputs])
        assert [array[i].tobytes() for array in outputs] == [array.tobytes() for array in expected]


def check_identity(report: Json, name: str, board: str, model: Path) -> None:
    assert report["project"] == report["model"]["name"] == name.lower()
    assert report["board"] == board
    assert report["model"]["digest"] == f"sha256:{hashlib.sha256(model.read_bytes()).hexdigest()}"
    hz, step = COUNTERS[board]
    assert report["counter"] == {"unit": "instructions", "hz": hz, "step": step}


def check_results(report: Json, plan: Json) -> None:
    step = report["counter"]["step"]
    for i, inference in enumerate(report["inferences"]):
        ticks = inference["ticks"]
        assert ticks > 0
        assert inference == {
            "input": str(i),
            "ticks": ticks,
            "count": round(ticks * step),
            "equal": True,
            "mismatches": 0,
            "max_abs_error": 0,
        }
    assert len(report["inferences"]) == 8
    wanted = [(entry["index"], entry["step"], entry["op"], entry["macs"], 0) for entry in plan["steps"]]
    keys = ("index", "step", "op", "macs", "mismatches")
    assert [tuple(layer[key] for key in keys) for layer in report["layers"]] == wanted
    assert sum(layer["macs"] for layer in report["layers"]) == report["model"]["macs"] == plan["model"]["macs"]
    assert all(layer["count"] >= 0 for layer in report["layers"])
    assert report["link"]["retries"] == 0, "an emulated line loses nothing"
    assert report["passed"] is True


def check_memory(report: Json, plan: Json, folder: Path) -> None:
    """The figures of the report are those of the plan and of the image."""
    memory, elf = report["memory"], folder / "build" / "firmware.elf"
    size = sections(elf)
    assert memory["arena_bytes"] == plan["arena_bytes"] == len(symbol(elf, "arena"))
    assert memory["arena_lower_bound_bytes"] == plan["arena_lower_bound_bytes"] <= memory["arena_bytes"]
    assert memory["flash_bytes"] == (folder / "build" / "firmware.bin").stat().st_size
    assert memory["weights_bytes"] == plan["weights_bytes"]
    assert memory["code_bytes"] == memory["flash_bytes"] - memory["weights_bytes"] > 0
    assert memory["ram_static_bytes"] == size.get(".data", 0) + size[".bss"] - memory["arena_bytes"] >= 0
    assert 0 < memory["stack_used_bytes"] <= memory["stack_bound_bytes"] <= STACK_BYTES


def check_limits(report: Json, peer: Peer) -> None:
    assert max(inference["count"] for inference in report["inferences"]) <= 3 * peer.instructions
    assert report["memory"]["arena_bytes"] <= peer.arena
    assert report["memory"]["flash_bytes"] <= peer.flash


def figures(report: Json) -> list[Any]:
    """One row of the table that the suite ends with."""
    counts = [inference["count"] for inference in report["inferences"]]
    mean, memory = sum(counts) / len(counts), report["memory"]
    keys = ("arena_bytes", "flash_bytes", "ram_static_bytes", "stack_used_bytes", "stack_bound_bytes")
    per_mac = f"{mean / report['model']['macs']:.2f}"
    return [report["model"]["name"], report["board"], round(mean), per_mac, *(memory[key] for key in keys)]


@pytest.mark.parametrize("name", MODELS)
def test_model_is_built_for_a_real_board(name: str, tmp_path: Path) -> None:
    model, folder = model_file(name), tmp_path / "fw"
    plan = generate(model, "nucleo_f446re", folder)
    report = json.loads(succeed("build", folder, "--json", "-"))
    assert report["board"] == "nucleo_f446re"
    check_memory({"memory": {**report["memory"], "stack_used_bytes": 1}}, plan, folder)


def keys_of(contract: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every key in the contract."""
    if isinstance(contract, list):
        return keys_of(contract[0], (*path, 0))
    if not isinstance(contract, dict):
        return []
    return [found for key in contract for found in [(*path, key), *keys_of(contract[key], (*path, key))]]


def test_the_check_of_the_report_misses_no_key(tested_digits: Path) -> None:
    report = json.loads(succeed("test", tested_digits, "--json", "-"))
    assert faults(report) == []
    paths = keys_of(REPORT)
    assert len(paths) == 38
    for path in paths:
        damaged = copy.deepcopy(report)
        parent: Any = damaged
        for key in path[:-1]:
            parent = parent[key]
        name = "report" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
        del parent[path[-1]]
        assert faults(damaged) == [f"{name} is missing"]
        parent[path[-1]] = None
        assert [fault.split(" is ")[0] for fault in faults(damaged)] == [name]
