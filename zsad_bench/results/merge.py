"""Leaderboards of several machines as one: the union of their rows and scores, whatever the order of the folders."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from zsad_bench.atomic import write_whole
from zsad_bench.errors import RowError, UsageError
from zsad_bench.results.row import Row
from zsad_bench.results.rows import RowWarning, age, latest, lock_of, read_lines, row_files, seniority, split_lines


class Merged(NamedTuple):
    """files: written. n_rows: in them. n_doubled: lines that were there more than once and are now there once."""

    files: list[Path]
    n_rows: int
    n_doubled: int


def merge(folders: Sequence[str | Path], out: str | Path) -> Merged:
    """Writes the union of several leaderboards to `out`, one of them or a folder without rows.

    A folder is a leaderboard (with `rows/`, perhaps `scores/` and what tables ask beside them) or a folder of row
    files. Lines stay as they are, in one order for any order of the folders; equal ones are kept once. Nothing is
    weighed: older runs and contradictions stay and are seen by whoever reads the rows. Of two score files of one cell,
    that of the newer run is taken, a run from the future counting as the oldest. While the rows of a leaderboard are
    replaced, whoever appends to them waits.

    Raises:
        RowError: no such folder, a line that is not a row (a half-written last one is a RowWarning), or no room.
        UsageError: `out` holds rows that are not among the folders.
    """
    boards = [Path(folder) for folder in dict.fromkeys(map(str, folders))]
    out = Path(out)
    inside = out.resolve() in {board.resolve() for board in boards}
    if not inside and any(path.suffix == ".jsonl" for place in (out, out / "rows") for path in place.glob("*")):
        raise UsageError(f"{out} holds rows already; name it among the folders to merge, or take an empty one")
    whole = any((board / "rows").is_dir() for board in boards)
    rows_of = {board: board / "rows" if (board / "rows").is_dir() else board for board in boards}
    target = out / "rows" if whole and (not inside or (out / "rows").is_dir()) else out
    files = {board: row_files(folder) for board, folder in rows_of.items()}
    with ExitStack() as locks:
        if inside:  # what a run appends between reading and replacing would be lost
            for name in sorted({path.name for paths in files.values() for path in paths}):
                locks.enter_context(lock_of(target / name))
        return _merge(boards, files, target, out)


def _merge(boards: Sequence[Path], files: Mapping[Path, Sequence[Path]], target: Path, out: Path) -> Merged:
    lines: dict[str, dict[bytes, Row]] = {}
    doubled, limit = 0, latest()
    newest: dict[tuple[str, str], tuple[tuple[bool, str], str]] = {}
    source: dict[tuple[str, str], set[Path]] = {}
    for board in boards:
        for path in files[board]:
            for line, row in _rows(path):
                found = lines.setdefault(path.name, {})
                doubled += line in found
                found[line] = row
                place, run = (row.key, row.category), (seniority(row, limit), row.run_id)
                if place not in newest or run > newest[place]:
                    newest[place], source[place] = run, {board}
                elif run == newest[place]:
                    source[place].add(board)
    written, scores, described = [], _scores(source), _described(boards)  # all is read before anything is written
    for name, found in sorted(lines.items()):
        ordered = sorted(found.items(), key=lambda item: (*_order(item[1]), item[0]))
        written.append(write_whole(target / name, b"".join(line + b"\n" for line, _ in ordered)))
    for (key, name), content in sorted(scores.items()):
        written.append(write_whole(out / "scores" / key / name, content))
    for part, content in sorted(described.items()):
        written.append(write_whole(out / part, content))
    return Merged(written, sum(map(len, lines.values())), doubled)


def _rows(path: Path) -> list[tuple[bytes, Row]]:
    lines, torn = split_lines(path)
    found = []
    for number, row in enumerate(read_lines(lines), start=1):
        if isinstance(row, Row):
            found.append((lines[number - 1], row))
        elif row is None and torn and number == len(lines):
            warnings.warn(f"{path}:{number}: the last line is half-written and was left out", RowWarning, stacklevel=3)
        else:
            raise RowError(f"{path}:{number}: {row or 'not a line of JSON'}; see `zsad-bench rows verify`")
    return found


def _order(row: Row) -> tuple:
    return (age(row), row.run_id, row.target, row.category, row.key, row.metric)


def _scores(source: dict[tuple[str, str], set[Path]]) -> dict[tuple[str, str], bytes]:
    """(key, file name) -> content of the newest run that has the file; of two contents, always the same one."""
    from zsad_bench.results.image_scores import scores_path

    found: dict[tuple[str, str], bytes] = {}
    for (key, category), boards in source.items():
        paths = [scores_path(board / "scores", key, category) for board in boards]
        contents = [path.read_bytes() for path in paths if path.is_file()]
        if contents:
            found[key, paths[0].name] = max(contents)
    return found


def _described(boards: Sequence[Path]) -> dict[Path, bytes]:
    """What priors kept, how backbones read classes, what saved maps are; of two contents always the same.

    They are named by hashes.
    """
    from zsad_bench.results import class_embeddings, external_maps, prior_contents

    found: dict[Path, bytes] = {}
    for board in boards:
        for path in (
            *board.glob(f"{prior_contents.FOLDER}/*.json"),
            *board.glob(f"{class_embeddings.FOLDER}/*/*.json"),
            *board.glob(f"{external_maps.FOLDER}/*.json"),
        ):
            name = path.relative_to(board)
            found[name] = max(found.get(name, b""), path.read_bytes())
    return found
