"""`zsad-bench rows`: leaderboards of several machines as one, whether rows can be trusted, and rows as one CSV."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from zsad_bench.atomic import write_whole
from zsad_bench.errors import UsageError
from zsad_bench.printable import say
from zsad_bench.results import rows as store
from zsad_bench.results.merge import merge as merged
from zsad_bench.results.verify import verify as verified


def merge(folders: Sequence[str], out: str) -> None:
    """Writes the union of leaderboards to `out`, and says what is in it.

    Raises:
        UsageError: fewer than two folders. RowError: one that cannot be read or written.
    """
    if len(folders) < 2:
        raise UsageError(f"rows merge: expected two or more folders, found {len(folders)}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = merged(folders, out)
    for warning in caught:
        say(f"zsad-bench: {warning.message}", error=True)
    doubled = f"; {found.n_doubled} were in both and are kept once" if found.n_doubled else ""
    say(f"{found.n_rows} rows{doubled}: {out} ({len(found.files)} files)")


def export(folder: str, out: str) -> None:
    """Writes the rows that stand, one line each with every field, as CSV.

    Raises:
        RowError: no such folder, rows that cannot be read, or a file that cannot be written.
    """
    from zsad_bench.results.dataframe import frame

    rows = Path(folder) / "rows" if (Path(folder) / "rows").is_dir() else Path(folder)
    read = store.load(rows)
    found = store.current(read)
    write_whole(out, frame(found.rows).to_csv(index=False).encode())
    for conflict in found.conflicts:
        say(f"zsad-bench: left out: {conflict}", error=True)
    for sentence in store.ahead(read):
        say(f"zsad-bench: {sentence}", error=True)
    say(f"{len(found.rows)} rows: {out}")


def verify(folder: str) -> int:
    """Prints what is wrong with rows; the exit code is 1 if anything is.

    Raises:
        RowError: no such folder.
    """
    found = verified(folder)
    for finding in found.findings:
        say(finding)
    schemas = ", ".join(f"{n} of schema {schema}" for schema, n in sorted(found.schemas.items()))
    verdict = f"{len(found.findings)} findings" if found.findings else "nothing wrong"
    replaced = f"; newer runs replace {found.n_superseded}" if found.n_superseded else ""
    say(f"{folder}: {found.n_rows} whole rows in {found.n_files} files ({schemas or 'none'}){replaced}; {verdict}")
    return 1 if found.findings else 0
