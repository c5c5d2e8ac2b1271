"""Check every row; exit code 1 if a line is bad, doubled, contradicted or mixed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from zsad_bench.options import Argument
from zsad_bench.printable import say
from zsad_bench.results.verify import verify


@dataclass(frozen=True, kw_only=True)
class Options:
    folder: Annotated[str, Argument("FOLDER", "a leaderboard, or a folder of row files")]


def run(options: Options) -> int:
    """Prints what is wrong with rows; the exit code is 1 if anything is.

    Raises:
        RowError: no such folder.
    """
    found = verify(options.folder)
    for finding in found.findings:
        say(finding)
    schemas = ", ".join(f"{n} of schema {schema}" for schema, n in sorted(found.schemas.items()))
    verdict = f"{len(found.findings)} findings" if found.findings else "nothing wrong"
    replaced = f"; newer runs replace {found.n_superseded}" if found.n_superseded else ""
    rows = f"{found.n_rows} whole rows in {found.n_files} files ({schemas or 'none'})"
    say(f"{options.folder}: {rows}{replaced}; {verdict}")
    return 1 if found.findings else 0
