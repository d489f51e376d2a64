"""The firmware against its stored test vectors: compared bit for bit on the board.

An emulated board gets a fresh build first, for which the compiler is needed. Where TINYKILN_PORT names the
serial port of a board, the firmware in build/ must have been built and flashed there. Needs the package tinykiln.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What tinykiln says of this firmware."""
    path = tmp_path_factory.mktemp("report") / "report.json"
    port = os.environ.get("TINYKILN_PORT")
    verb = ["test", "--port", port] if port else ["flash-and-test"]
    command = [sys.executable, "-m", "tinykiln", *verb, str(PROJECT), "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert path.exists(), f"tinykiln {verb[0]} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def test_every_inference_gives_the_stored_outputs(report: dict[str, Any]) -> None:
    assert report["inferences"], "no inference was run"
    wrong = [inference for inference in report["inferences"] if not inference["equal"]]
    assert wrong == []
    assert report["passed"]


def test_this_model_on_this_board_was_tested(report: dict[str, Any]) -> None:
    project = json.loads((PROJECT / "project.json").read_text(encoding="utf-8"))
    model = (PROJECT / project["model"]["file"]).read_bytes()
    assert report["board"] == project["board"]["name"]
    assert report["model"]["digest"] == f"sha256:{hashlib.sha256(model).hexdigest()}"


def test_the_stack_has_room(report: dict[str, Any]) -> None:
    assert 0 < report["memory"]["stack_used_bytes"] < {{ cookiecutter.stack_bytes }}
