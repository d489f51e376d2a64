"""Options of the tests."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """--update-golden, for tests/test_emit.py."""
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/ anew from what is generated")
