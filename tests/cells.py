"""A demo suite at miniature scale: a random backbone at 32 px and two to four images per category and label."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.miniature import shrink
from zsad_bench.console import Console
from zsad_bench.planning.suite import DEMO
from zsad_bench.results.row import Row
from zsad_bench.runner.row_writer import RunRecord
from zsad_bench.runner.run_group import run_group
from zsad_bench.runner.run_spec import RunSpec


@pytest.fixture(scope="module")  # no wider: other rooms' tests load real backbones
def small(mini) -> Iterator[pytest.MonkeyPatch]:
    """Until the file is done, cells read the miniature and few images."""
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch, mini)
        yield patch


@dataclass(frozen=True)
class Group:
    """Runs that share their passes."""

    specs: list[RunSpec]

    @property
    def board(self) -> Path:
        return self.specs[0].board

    @property
    def runs(self) -> Path:
        return self.specs[0].runs


@dataclass(frozen=True)
class Ran:
    """What came of a group."""

    records: list[RunRecord]

    @property
    def rows(self) -> list[Row]:
        return [row for record in self.records for row in record.rows]

    @property
    def run_ids(self) -> list[str]:
        return [record.run_id for record in self.records]


def run(group: Group, console: Console, *args: Any, **options: Any) -> Ran:
    """Runs a group, as `run_group` does."""
    return Ran(run_group(group.specs, console, *args, **options))


@pytest.fixture(scope="module")
def group_in(small) -> Callable[..., Group]:
    """group_in(folder, **fields): clip, anomalyclip and random, one epoch on demo_limited, tested on demo_textures."""
    suite = replace(DEMO, overrides={"*": {"image_size": 32}})

    def group(folder: Path, methods: Sequence[str] = ("clip", "anomalyclip", "random"), **fields: Any) -> Group:
        usual = {
            "suite": suite,
            "prior": "limited",
            "targets": ("demo_textures",),
            "seed": 1,
            "epochs": 1,
            "board": folder / "board",
            "runs": folder / "runs",
        }
        return Group([RunSpec(method=method, **{**usual, **fields}) for method in methods])

    return group


@pytest.fixture
def quiet() -> Console:
    """A console that is no terminal, too narrow for our lines; what it printed is in `quiet.file`."""
    return Console(file=io.StringIO(), width=40, force_terminal=False)
