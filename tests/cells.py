"""A demo suite at miniature scale: a random backbone at 32 px and two to four images a category and label."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.miniature import shrink
from zsad_bench.console import Console
from zsad_bench.planning.suite import DEMO
from zsad_bench.runner.run_group import CellGroup


@pytest.fixture(scope="module")  # no wider: other rooms' tests load real backbones
def small(mini) -> Iterator[pytest.MonkeyPatch]:
    """Until the file is done, cells read the miniature and few images."""
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch, mini)
        yield patch


@pytest.fixture(scope="module")
def group_in(small) -> Callable[..., CellGroup]:
    """group_in(folder, **fields): clip, anomalyclip and random, one epoch on demo_limited, tested on demo_textures."""
    suite = replace(DEMO, overrides={"*": {"image_size": 32}})

    def group(folder: Path, **fields) -> CellGroup:
        usual = {
            "suite": suite,
            "methods": ("clip", "anomalyclip", "random"),
            "prior": "limited",
            "targets": ("demo_textures",),
            "seed": 1,
            "epochs": 1,
            "board": folder / "board",
            "runs": folder / "runs",
        }
        return CellGroup(**{**usual, **fields})

    return group


@pytest.fixture
def quiet() -> Console:
    """A console that is no terminal, too narrow for our lines; what it printed is in `quiet.file`."""
    return Console(file=io.StringIO(), width=40, force_terminal=False)
