"""What the reports say in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from link_device import BUILD_ID, project
from tinykiln.build import Image
from tinykiln.compare import InferenceResult, Outcome
from tinykiln.report import test_text as text_of_test

IMAGE = Image(Path("firmware.elf"), BUILD_ID, 4096, 4096, 64, 512)
INFERENCE = InferenceResult(input="0", ticks=1200, count=1200, mismatches=0, max_abs_error=0.0)


@pytest.mark.parametrize(("retries", "lines"), [
    (0, []),
    (1, ["link: 1 request had to be sent again"]),
    (2, ["link: 2 requests had to be sent again"]),
])
def test_a_test_in_words(retries: int, lines: list[str]) -> None:
    outcome = Outcome(inferences=(INFERENCE,), layers=(), stack_used=321, retries=retries)
    assert text_of_test(project(), IMAGE, outcome).splitlines() == [
        "tiny on test_board: 1 of 1 inferences equal the reference",
        "flash 4 096 B (weights 0, code 4 096)   RAM arena 1 232 B, static 64 B, stack at most 512 B, used 321 B",
        "1 200 cycles an inference (largest 1 200), 2.00 per MAC",
        *lines,
        "PASSED",
    ]
