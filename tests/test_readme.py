"""What the README shows is what comes out."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_excerpt_is_from_the_golden_file() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    golden = (ROOT / "tests/golden/digits/model/digits.c").read_text(encoding="utf-8").splitlines()
    start = readme.index("    /* Memory plan:")
    shown = readme[start : readme.index("\nGenerating again", start)].splitlines()
    excerpt = [line.removeprefix("    ") for line in shown]
    assert len(excerpt) > 10
    assert [line for line in excerpt if line not in ("", "...") and line not in golden] == []


def test_links_lead_to_files() -> None:
    for name in ("README.md", "ARCHITECTURE.md", "benchmarks/README.md", "examples/digits/README.md", "docs/link.md"):
        document = ROOT / name
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{name}: {target}"
