"""What would end a run when its first rows are due, tried before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from zsad_bench import outputs
from zsad_bench.results import rows as store


def try_writing(board: Path, runs: Path, methods: Iterable[str]) -> None:
    """Takes the lock of every method's row file and looks whether the board and the runs can be written.

    Raises:
        ZsadError: no permission, a full disk, a lock that is held, or a file where a folder should be.
    """
    methods = sorted(methods)
    if not methods:
        return  # a board that is complete may be read-only
    outputs.check_folder(board, "--out")
    outputs.check_folder(runs, "--runs")
    for name in methods:
        store.try_append(store.file_of(board, name))
