"""Any table of rows: what its lines and columns are is chosen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from zsad_bench.commands._row_selection import RowsOptions
from zsad_bench.commands._shared import OnlyOptions, SuiteOfRows
from zsad_bench.options import Option


@dataclass(frozen=True, kw_only=True)
class Options:
    source: RowsOptions = field(default_factory=RowsOptions)
    suite: SuiteOfRows = None
    rows: Annotated[str, Option("AXIS[,AXIS…]", "dataset, method, prior, metric, seed, …")] = "dataset"
    cols: Annotated[str, Option("AXIS[,AXIS…]", "as --rows")] = "method"
    only: OnlyOptions = field(default_factory=OnlyOptions)
    out: Annotated[str | None, Option("FOLDER", "write it there too, in three formats", writes="folder")] = None


def run(options: Options) -> int:
    """Prints it, and writes it where that is asked for."""
    from zsad_bench.commands._table_papers import pivot

    pivot(options)
    return 0
