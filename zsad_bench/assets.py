"""Where the files live that travel with the package and are edited outside of it.

In a checkout they stand where people look for them (`benchmarks/recipes`, `leaderboards/published`); a wheel carries
copies under `zsad_bench/_data` (see `force-include` in pyproject.toml).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = {"recipes": "benchmarks/recipes", "published": "leaderboards/published"}


def data_folder(name: Literal["recipes", "published"]) -> Path:
    """The folder of recipes or of published numbers: the packaged one, or the checkout's where none is packaged.

    Raises:
        KeyError: another name.
        FileNotFoundError: neither is there, so the installation is damaged.
    """
    folders = (_PACKAGE / "_data" / name, _PACKAGE.parent / _CHECKOUT[name])
    for folder in folders:
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"{name}: expected {folders[0]} or {folders[1]}, found neither; reinstall zsad-bench, or run from its checkout"
    )
