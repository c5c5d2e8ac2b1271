"""Write the union of leaderboards of several machines, the same for any order of the folders."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Annotated

from zsad_bench.errors import UsageError
from zsad_bench.options import Argument, Option
from zsad_bench.printable import say
from zsad_bench.results.merge import merge


@dataclass(frozen=True, kw_only=True)
class Options:
    folders: Annotated[tuple[str, ...], Argument("FOLDER", "leaderboards, or folders of row files", repeated=True)]
    out: Annotated[str, Option("FOLDER", "an empty one, or one of them", writes="folder")]


def run(options: Options) -> int:
    """Writes the union of leaderboards, and says what is in it.

    Raises:
        UsageError: fewer than two folders. RowError: one that cannot be read or written.
    """
    if len(options.folders) < 2:
        raise UsageError(f"rows merge: expected two or more folders, found {len(options.folders)}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        merged = merge(options.folders, options.out)
    for warning in caught:
        say(f"zsad-bench: {warning.message}", error=True)
    doubled = f"; {merged.n_doubled} were in both and are kept once" if merged.n_doubled else ""
    say(f"{merged.n_rows} rows{doubled}: {options.out} ({len(merged.files)} files)")
    return 0
