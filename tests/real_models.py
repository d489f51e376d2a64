"""Where tests find real models: a folder of .tflite files that is not part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(os.environ.get("TINYKILN_MODELS", ROOT.parent / "shared" / "models"))


def real_model(name: str) -> Path:
    """The file of that name anywhere under TINYKILN_MODELS; the test is skipped where it is not."""
    found = sorted(FOLDER.glob(f"**/{name}.tflite"))
    if not found:
        pytest.skip(f"{name}.tflite is not under TINYKILN_MODELS ({FOLDER})")
    return found[0]
