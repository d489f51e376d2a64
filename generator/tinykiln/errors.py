"""Everything that TinyKiln raises on purpose.

    TinyKilnError
      ModelError      the model file is damaged or holds something that cannot be compiled
      BoardError      boards.yaml, or the board that was asked for
      PlanError       the model does not fit the board
      ProjectError    the project folder: not empty, not a project, made for another board
      ToolError       a program or package that is not installed
      BuildError      the compiler or cmake failed
      VectorError     test vectors or inputs of the wrong name, shape or dtype
      DeviceError     the port, the link, or what the device answered

A message has up to three parts: what happened, where, and what to do next.
"""

from __future__ import annotations


class TinyKilnError(Exception):
    """Base of all errors; `str()` is the whole message, ready to be shown to a user."""

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what, self.where, self.hint = what, where, hint
        lines = [what]
        if where:
            lines.append(f"  where: {where}")
        if hint:
            lines.append(f"  next:  {hint}")
        super().__init__("\n".join(lines))


class ModelError(TinyKilnError):
    """The model file is damaged or holds something that cannot be compiled."""


class BoardError(TinyKilnError):
    """A board file is wrong, or the board is not in it."""


class PlanError(TinyKilnError):
    """The model does not fit the board."""


class ProjectError(TinyKilnError):
    """The project folder cannot be written, or is not what a verb needs."""


class ToolError(TinyKilnError):
    """A program or package that a verb needs is not installed."""


class BuildError(TinyKilnError):
    """The compiler or cmake failed."""


class VectorError(TinyKilnError):
    """Test vectors or inputs have the wrong name, shape or dtype."""


class DeviceError(TinyKilnError):
    """The port, the link, or what the device answered."""
