"""Quality against the number of anomaly types and of shots."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from zsad_bench import registry
from zsad_bench.commands._row_selection import RowsOptions, all_facts, averaged, suite_with_rows, wanted_rows
from zsad_bench.commands._shared import SuiteOfRows
from zsad_bench.commands._table_files import say_where, write_table
from zsad_bench.console import Console
from zsad_bench.errors import RowError
from zsad_bench.leaderboard.tables import prior_curve, render
from zsad_bench.options import Option


@dataclass(frozen=True, kw_only=True)
class Options:
    source: RowsOptions = field(default_factory=RowsOptions)
    suite: SuiteOfRows = None
    metric: Annotated[str | None, Option("NAME[,NAME…]", "keep only these")] = None
    method: Annotated[str | None, Option("NAME[,NAME…]", "keep only these")] = None
    out: Annotated[str, Option("FOLDER", "where it goes, in three formats", writes="folder")] = "tables"


def run(options: Options) -> int:
    """Prints quality against the number of anomaly types and of shots, and writes it to `--out`.

    Raises:
        RowError: rows that cannot be read or should not be mixed, or no prior with two numbers among them.
    """
    console, facts = Console(), all_facts()
    suite = options.suite or suite_with_rows(options.source)
    remarks: list[str] = []
    only = {"metric": options.metric, "method": options.method}
    rows = wanted_rows(options.source, console, suite, only, remarks)
    curves = prior_curve.curves(rows, averaged(suite))
    if not curves:
        recipe = "prior_curve_demo" if suite == "demo" else "prior_curve"
        raise RowError(
            f"none of {len(rows)} rows of suite {suite} is of a prior with two numbers of types or shots; "
            f"run `zsad-bench sweep {recipe}`"
        )
    sanity = [name for name, cls in registry.classes("methods").items() if cls.is_sanity_check]
    grids, records = prior_curve.table(curves, facts, prior_curve.flats(rows, curves, sanity))
    render.terminal(grids, console)
    title, command = "Quality against the prior", f"zsad-bench table prior_curve --suite {suite}"
    write_table(Path(options.out), "prior_curve", title, grids, records, command, remarks)
    say_where(console, options.out)
    return 0
