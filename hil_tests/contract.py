"""The report of `flash-and-test --json`, schema 1: every key and its type. Keys may be added, none taken away."""

from __future__ import annotations

import re
from typing import Any

INTEGER, NUMBER, TEXT, TRUTH = (int,), (int, float), (str,), (bool,)

REPORT: dict[str, Any] = {
    "schema": 1,
    "project": TEXT,
    "board": TEXT,
    "template": "bare_metal",
    "model": {"name": TEXT, "digest": re.compile("sha256:[0-9a-f]{64}"), "macs": INTEGER},
    "memory": {
        "arena_bytes": INTEGER,
        "arena_lower_bound_bytes": INTEGER,
        "flash_bytes": INTEGER,
        "weights_bytes": INTEGER,
        "code_bytes": INTEGER,
        "ram_static_bytes": INTEGER,
        "stack_bound_bytes": INTEGER,
        "stack_used_bytes": INTEGER,
    },
    "counter": {"unit": re.compile("instructions|cycles"), "hz": INTEGER, "step": NUMBER},
    "inferences": [
        {
            "input": TEXT,
            "ticks": INTEGER,
            "count": INTEGER,
            "equal": TRUTH,
            "mismatches": INTEGER,
            "max_abs_error": NUMBER,
        }
    ],
    "layers": [
        {"index": INTEGER, "step": TEXT, "op": TEXT, "macs": INTEGER, "count": INTEGER, "mismatches": INTEGER}
    ],
    "link": {"retries": INTEGER},
    "passed": TRUTH,
}


def faults(value: Any, contract: Any = REPORT, place: str = "report") -> list[str]:
    """Where `value` is not as in the contract, one line each. Types are exact: True is no integer."""
    if isinstance(contract, dict):
        if type(value) is not dict:
            return [f"{place} is no object"]
        missing = [f"{place}.{key} is missing" for key in contract if key not in value]
        return missing + [
            fault
            for key in contract
            if key in value
            for fault in faults(value[key], contract[key], f"{place}.{key}")
        ]
    if isinstance(contract, list):
        if type(value) is not list or not value:
            return [f"{place} is no list with at least one entry"]
        return [fault for i, entry in enumerate(value) for fault in faults(entry, contract[0], f"{place}[{i}]")]
    return [] if _fits(value, contract) else [f"{place} is {value!r}"]


def _fits(value: Any, contract: Any) -> bool:
    if isinstance(contract, tuple):
        return type(value) in contract
    if isinstance(contract, re.Pattern):
        return type(value) is str and contract.fullmatch(value) is not None
    return type(value) is type(contract) and bool(value == contract)
