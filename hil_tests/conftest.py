"""The suite that runs firmware on boards; see README.md."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from firmware import DIGITS, flash_and_test, generate

PROGRAMS = ("cmake", "make", "arm-none-eabi-gcc", "arm-none-eabi-objdump", "qemu-system-arm")
FIGURES = ("model", "board", "instructions", "per MAC", "arena", "flash", "static", "stack", "bound")


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    """The suite shows nothing without these, so it fails."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.fail(f"not installed: {', '.join(missing)}; next: make setup", pytrace=False)


@pytest.fixture(scope="session")
def tested_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits model for the emulated Cortex-M4: generated, built, flashed and tested. Not to be changed."""
    folder = tmp_path_factory.mktemp("digits") / "fw"
    generate(DIGITS, "qemu_mps2_an386", folder)
    assert flash_and_test(folder)["passed"] is True
    return folder


@pytest.fixture
def digits(tested_digits: Path, tmp_path: Path) -> Path:
    """A copy of it, for this test to change."""
    return Path(shutil.copytree(tested_digits, tmp_path / "fw"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures that tests recorded, as a table."""
    found = (dict(report.user_properties) for report in terminalreporter.getreports("passed"))
    rows = sorted(figures["figures"] for figures in found if "figures" in figures)
    if rows:
        terminalreporter.section("figures (instructions: mean of an inference; sizes in bytes)")
        texts = [FIGURES, *([str(cell) for cell in row] for row in rows)]
        widths = [max(len(row[i]) for row in texts) for i in range(len(FIGURES))]
        for row in texts:
            names = [cell.ljust(width) for cell, width in zip(row[:2], widths, strict=False)]
            numbers = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
            terminalreporter.write_line("  ".join([*names, *numbers]))
