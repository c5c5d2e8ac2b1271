"""List methods, datasets, priors, protocols or backbones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from zsad_bench import registry
from zsad_bench.console import Console, Table
from zsad_bench.options import Argument

What = Literal["methods", "datasets", "priors", "protocols", "backbones"]


@dataclass(frozen=True, kw_only=True)
class Options:
    what: Annotated[What, Argument(help="which list", what="list")]


def run(options: Options) -> int:
    """Prints one line per entry, read without importing it."""
    what = options.what
    table = Table(
        "name", *(["title"] if what in ("methods", "datasets", "protocols") else []), "", box=None, pad_edge=False
    )
    for line in _lines(what):
        table.add_row(*line)
    Console().print(table)
    return 0


def _lines(what: What) -> list[tuple[str, ...]]:
    if what in ("methods", "datasets"):
        return [(entry.name, entry.title, entry.summary) for entry in registry.describe(what)]
    if what == "priors":
        from zsad_bench.data.prior import names

        return list(names().items())
    if what == "protocols":
        from zsad_bench import protocol

        return [(one.name, one.title, one.summary()) for one in map(protocol.find, protocol.names())]
    from zsad_bench.backbones.load import listing

    return list(listing().items())
