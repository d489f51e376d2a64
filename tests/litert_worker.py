"""Gives model files to LiteRT's reference interpreter, which damaged ones may crash: run in a process of its own.

    python litert_worker.py FILE...

Prints one JSON line a file: [name, "start"] before it, then [name, null] where LiteRT accepted the model and ran it,
or [name, message] where it refused.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from litert import random_inputs, run


def main() -> None:
    """Try every file of the command line, in order."""
    for name in sys.argv[1:]:
        print(json.dumps([name, "start"]), flush=True)
        data = Path(name).read_bytes()
        try:
            run(data, random_inputs(data))
            message = None
        except (RuntimeError, ValueError) as error:
            message = str(error)
        print(json.dumps([name, message]), flush=True)


if __name__ == "__main__":
    main()
