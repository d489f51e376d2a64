"""Where the data files of the package lie: boards.yaml, crt/ and project_templates/."""

from __future__ import annotations

from pathlib import Path

from tinykiln.errors import ToolError

_PLACES = (Path(__file__).parent / "data", Path(__file__).parents[2])


def data_path(name: str) -> Path:
    """The file or folder `name`: of the installed package, or else of the checkout that the package is part of.

    Raises ToolError where it is in neither.
    """
    for place in _PLACES:
        if (place / name).exists():
            return place / name
    raise ToolError(
        f"the installation lacks {name}",
        where=" and ".join(str(place / name) for place in _PLACES),
        hint="install tinykiln again",
    )
