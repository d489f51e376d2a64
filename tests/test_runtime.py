"""crt/src/runtime.c and backend.c do what their headers say."""

from __future__ import annotations

import subprocess

from link_device import c_program


def test_contracts_of_runtime_and_backend() -> None:
    program = c_program("tests/c/test_runtime.c", "crt/src/runtime.c", "crt/src/backend.c")
    done = subprocess.run([program], capture_output=True, text=True, timeout=10)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
