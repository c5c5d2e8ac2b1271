"""What rows say about DIVE's claim, question by question."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from zsad_bench.commands._row_selection import RowsOptions
from zsad_bench.commands._shared import SuiteOfRows
from zsad_bench.options import Option


@dataclass(frozen=True, kw_only=True)
class Options:
    source: RowsOptions = field(default_factory=RowsOptions)
    suite: SuiteOfRows = None
    prior: Annotated[str | None, Option("NAME[,NAME…]", "keep only these")] = None
    out: Annotated[str, Option("FOLDER", "where it goes, in three formats", writes="folder")] = "tables"


def run(options: Options) -> int:
    """Prints and writes it."""
    from zsad_bench.commands._table_statistics import claims

    claims(options)
    return 0
