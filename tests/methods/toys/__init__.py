"""Seven methods of another package, each of which needs one thing that the interface promises.

They are plug-ins: the fixture `toys` installs them, and nothing in zsad_bench knows their names. Each says out loud
when a promise is not kept (AssertionError), and keeps a diary where a test has to see what happened.
"""

from __future__ import annotations

import importlib
from pathlib import Path

NAMES = sorted(file.stem for file in Path(__file__).parent.glob("toy_*.py"))
ENTRY_POINTS = {name: f"{__name__}.{name}" for name in NAMES}
WITHOUT_TEXT = ["toy_memory", "toy_no_text", "toy_second_network", "toy_transductive"]


def load(name: str) -> type:
    """The class of a toy, without asking the registry."""
    module = importlib.import_module(ENTRY_POINTS[name])
    (cls,) = [c for c in vars(module).values() if isinstance(c, type) and "title" in vars(c)]
    return cls


def forget() -> None:
    """Empties all diaries."""
    for name in NAMES:
        getattr(importlib.import_module(ENTRY_POINTS[name]), "DIARY", []).clear()
