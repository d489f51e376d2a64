"""The form of the command line: which verb takes which arguments."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from tinykiln import __version__
from tinykiln.link import Timeouts

Verb: TypeAlias = Callable[[argparse.Namespace], int]
MOST_VECTORS = 1000


def vector_count(text: str) -> int:
    """The number of golden vectors: at least one, as a project without any cannot test itself."""
    if not text.isdecimal() or not 1 <= int(text[:10]) <= MOST_VECTORS:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {MOST_VECTORS}, got {text[:20]!r}")
    return int(text)


def seconds(text: str) -> float:
    """A time above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got {text[:20]!r}")
    return value


OWN_INPUTS = (
    "your own inputs instead of golden vectors: one array per input, (N, *shape); an array `labels` of N class indices"
    " gives the accuracy"
)

OPTIONS: dict[str, tuple[tuple[tuple[str, ...], dict[str, Any]], ...]] = {
    "model": ((("model",), {"type": Path, "help": "model file (.tflite)"}),),
    "project": ((("project",), {"type": Path, "metavar": "DIR", "help": "folder of a generated project"}),),
    "boards": ((("--boards",), {"type": Path, "metavar": "FILE", "help": "boards of your own, as in boards.yaml"}),),
    "board": ((("--board",), {"required": True, "help": "name of a board, see `tinykiln boards`"}),),
    "output": (
        (("-o", "--output"), {"type": Path, "required": True, "metavar": "DIR",
                              "help": "folder to write: a new one, or a project of the same model and board"}),
        (("--template",), {"default": "bare_metal", "help": "project template (default: bare_metal)"}),
        (("--vectors",), {"type": vector_count, "default": 8, "metavar": "N",
                          "help": f"golden vectors to store, 1 to {MOST_VECTORS} (default: 8)"}),
    ),
    "port": ((("--port",), {"help": "serial port: /dev/ttyACM0, socket://host:port, rfc2217://host:port; "
                                    "an emulated board needs none"}),),
    "timeout": ((("--timeout",), {"type": seconds, "default": Timeouts().inference, "metavar": "SECONDS",
                                  "help": "how long an inference may take (default: %(default)g)"}),),
    "inputs": ((("--inputs",), {"type": Path, "metavar": "NPZ", "help": OWN_INPUTS}),),
    "files": (
        (("--inputs",), {"type": Path, "required": True, "metavar": "NPZ", "help": "one array per input, (N, *shape)"}),
        (("--outputs",), {"type": Path, "required": True, "metavar": "NPZ", "help": "file to write, same form"}),
    ),
}

VERBS: dict[str, tuple[tuple[str, ...], str]] = {
    "boards": (("boards",), ""),
    "ops": ((), ""),
    "inspect": (("model",), "kws.tflite"),
    "plan": (("model", "board", "boards"), "kws.tflite --board nucleo_f446re"),
    "generate": (("model", "board", "boards", "output"), "kws.tflite --board qemu_mps2_an386 -o fw"),
    "build": (("project",), "fw"),
    "flash": (("project", "port"), "fw"),
    "run": (("project", "port", "timeout", "files"), "fw --inputs in.npz --outputs out.npz"),
    "profile": (("project", "port", "timeout"), "fw"),
    "test": (("project", "port", "timeout", "inputs"), "fw --port /dev/ttyACM0"),
    "flash-and-test": (("project", "port", "timeout", "inputs"), "fw --json report.json"),
}
"""Verb -> keys of OPTIONS, and the arguments of an example."""


def make_parser(functions: Mapping[str, Verb]) -> argparse.ArgumentParser:
    """The parser of all verbs; `functions` has the one that each of them calls. Their docstrings are the help."""
    top = argparse.ArgumentParser(
        prog="tinykiln",
        description="Compile a trained network to C, generate firmware, test it on the board.",
        epilog="`tinykiln VERB --help` shows the arguments of a verb.",
    )
    top.add_argument("--version", action="version", version=f"tinykiln {__version__}")
    verbs = top.add_subparsers(title="verbs", required=True, metavar="VERB")
    for name, (options, example) in VERBS.items():
        text = functions[name].__doc__
        verb = verbs.add_parser(
            name, help=text, description=text, epilog=f"example: tinykiln {name} {example}".strip(), allow_abbrev=False
        )
        for flags, settings in (option for key in options for option in OPTIONS[key]):
            verb.add_argument(*flags, **settings)
        verb.add_argument("--json", metavar="FILE", help="write the report as JSON; - is stdout")
        verb.add_argument("--debug", action="store_true", help="show a traceback with errors")
        verb.set_defaults(function=functions[name])
    return top
