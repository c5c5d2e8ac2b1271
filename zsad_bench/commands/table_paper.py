"""A table of a paper, as printed and as measured; without a name, the leaderboard of the suite `paper`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from zsad_bench.commands._row_selection import RowsOptions
from zsad_bench.options import Argument, Option


@dataclass(frozen=True, kw_only=True)
class Options:
    name: Annotated[str | None, Argument("TABLE|all", "faprompt_1 … faprompt_5, dive_rich, …")] = None
    source: RowsOptions = field(default_factory=RowsOptions)
    out: Annotated[
        str | None, Option("FOLDER", "default: tables; of the leaderboard: leaderboards", writes="folder")
    ] = None


def run(options: Options) -> int:
    """Prints and writes it, in three formats."""
    from zsad_bench.commands._table_papers import paper
    from zsad_bench.commands.table import regenerate

    if options.name is None:
        regenerate("paper", options.out or "leaderboards")
    else:
        paper(options.name, options.out or "tables", options)
    return 0
