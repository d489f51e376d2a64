"""The firmware against its stored test vectors: built, flashed and compared bit for bit.

Needs the package tinykiln, the compiler, and QEMU or the board. TINYKILN_PORT names the board's serial port.
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
    """What `tinykiln flash-and-test` says of this firmware."""
    path = tmp_path_factory.mktemp("report") / "report.json"
    port = ["--port", os.environ["TINYKILN_PORT"]] if "TINYKILN_PORT" in os.environ else []
    command = [sys.executable, "-m", "tinykiln", "flash-and-test", str(PROJECT), "--json", str(path), *port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert path.exists(), f"flash-and-test ended with {done.returncode}\n{done.stdout}{done.stderr}"
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
