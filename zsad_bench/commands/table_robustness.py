"""What corrupted images and other wordings of the prompts take from each method's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from zsad_bench import registry
from zsad_bench.commands._row_selection import (
    RowsOptions,
    all_facts,
    averaged,
    chosen_rows,
    conditioned,
    suite_with_rows,
)
from zsad_bench.commands._shared import OnlyOptions, SuiteOfRows
from zsad_bench.commands._table_files import say_where, write_table
from zsad_bench.console import Console
from zsad_bench.errors import RowError
from zsad_bench.leaderboard.tables import render, robustness
from zsad_bench.leaderboard.tables.grid import Grid
from zsad_bench.options import Option
from zsad_bench.planning.suite import Suite
from zsad_bench.results import rows as store
from zsad_bench.results.row import Row

SHOWN = ("image_auroc", "pixel_aupro")  # unless --metric names others


@dataclass(frozen=True, kw_only=True)
class Options:
    source: RowsOptions = field(default_factory=RowsOptions)
    suite: SuiteOfRows = None
    only: OnlyOptions = field(default_factory=OnlyOptions)
    out: Annotated[str, Option("FOLDER", "where it goes, in three formats", writes="folder")] = "tables"


def run(options: Options) -> int:
    """Prints the relative change of each line under corruptions and wordings, and writes it to `--out`.

    Raises:
        RowError: rows that cannot be read or should not be mixed, or none with a number without and under a condition.
    """
    console = Console()
    suite = options.suite or suite_with_rows(options.source)
    remarks: list[str] = []
    rows = chosen_rows(options.source, console, suite, remarks=remarks, conditions=True)
    chosen = options.only
    only = {"metric": chosen.metric or ",".join(SHOWN), "prior": chosen.prior, "method": chosen.method}
    grids, records = tables(conditioned(rows, suite, {**only, "target": chosen.dataset}), suite)
    if not records:
        raise RowError(
            "no row under a condition has one of the same run without it beside it; run the recipe to its end"
        )
    render.terminal(grids, console)
    title, command = "Robustness", f"zsad-bench table robustness --suite {suite}"
    write_table(Path(options.out), "robustness", title, grids, records, command, remarks)
    say_where(console, options.out)
    return 0


def tables(rows: Sequence[Row], suite: str) -> tuple[list[Grid], list[dict[str, Any]]]:
    """The tables of these rows: the suite's own datasets as one mean, each other dataset by itself."""
    facts = all_facts()
    sanity = [name for name, cls in registry.classes("methods").items() if cls.is_sanity_check]
    grids: list[Grid] = []
    records: list[dict[str, Any]] = []
    together = averaged(suite)
    within = {target for of in together.values() for target in of}
    means = [(together, "")]
    for target in sorted({row.target for row in rows} - within):
        means.append(({"image": (target,), "pixel": (target,)}, f"{facts.title(target)}, "))
    for targets, of in means:
        made, said = robustness.table(robustness.lines(rows, targets), facts, sanity)
        grids += [Grid(f"{of}{one.title}", one.stub, one.columns, one.lines, one.notes, one.rules) for one in made]
        records += [{"datasets": "+".join(_datasets(rows, targets)), **record} for record in said]
    return grids, records


def show(rows: Sequence[Row], suite: Suite, console: Console) -> None:
    """Prints the tables of these rows, which are of one run of `bench`."""
    kept = [row for row in store.current(rows).rows if row.metric in SHOWN]
    grids, _ = tables(kept, suite.name)
    render.terminal(grids, console)


def _datasets(rows: Sequence[Row], targets: dict[str, Any]) -> list[str]:
    wanted = {target for of in targets.values() for target in of}
    return sorted({row.target for row in rows} & wanted)
