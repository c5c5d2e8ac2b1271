"""The difference of two methods on the same images, with its interval."""

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
    method: Annotated[str | None, Option("NAME,NAME", "the two")] = None
    metric: Annotated[str | None, Option("NAME", "of images; default: image_auroc")] = None
    prior: Annotated[str | None, Option("NAME", "of the rows, where a method has several")] = None
    dataset: Annotated[str | None, Option("NAME[,NAME…]", "keep only these")] = None


def run(options: Options) -> int:
    """Prints it."""
    from zsad_bench.commands._table_papers import compare

    compare(options)
    return 0
