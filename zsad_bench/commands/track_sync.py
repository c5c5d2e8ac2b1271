"""Push a suite's rows to wandb: means, tables, tags; doing it again gives the same runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NoReturn

from zsad_bench.commands._shared import WandbPlace, check_name
from zsad_bench.errors import RowError, ZsadError
from zsad_bench.options import Argument, Option
from zsad_bench.planning.suite import SUITES
from zsad_bench.printable import say
from zsad_bench.results import rows as store
from zsad_bench.results.pictures import read_pictures
from zsad_bench.runner.wandb_captions import averaged, shown
from zsad_bench.sweep.sweep_folder import SweepFolder
from zsad_bench.tracking import access
from zsad_bench.tracking.mirror import Mirror
from zsad_bench.tracking.wandb_run import Tracked, tracked


@dataclass(frozen=True, kw_only=True)
class Options:
    suite: Annotated[str, Argument("SUITE", "whose rows: demo or paper")]
    board: Annotated[str, Option("FOLDER", "that holds <suite>/rows")] = "leaderboards"
    runs: Annotated[str, Option("FOLDER", "where offline files and states of sweeps lie")] = "runs"
    offline: Annotated[bool, Option(help="write files instead, for `wandb sync`")] = False
    maps: Annotated[bool, Option(help="add the kept pictures of every dataset, whatever its licence")] = False
    place: WandbPlace = field(default_factory=WandbPlace)


def run(options: Options) -> int:
    """Pushes what stands of a suite's rows, a wandb run for each method variant, prior, draw and seed.

    Raises:
        UnknownNameError: no such suite. RowError: no rows, or rows that cannot be read.
        ZsadError: wandb cannot be reached or refuses; rows stay as they are.
    """
    check_name("suite", options.suite, SUITES)
    suite = SUITES[options.suite]
    board, runs = Path(options.board) / suite.name, Path(options.runs)
    standing = store.current(store.load(board / "rows"))
    if not standing.rows:
        raise RowError(f"{board / 'rows'}: no rows; run `zsad-bench bench` first")
    for conflict in standing.conflicts:
        row = conflict.rows[0]
        what = f"{row.method} on {row.target}/{row.category}, {row.metric}"
        say(f"zsad-bench: left out, two values in one run: {what}", error=True)
    found = access.decide("offline", runs) if options.offline else _online()
    if found.mode == "off":
        raise ZsadError(found.warning)
    recipes = _recipes(runs)
    entries = _entries(standing.rows)
    for of, records in entries.values():
        group = next((recipes[each["key"]] for each in records if each["key"] in recipes), None)
        with Mirror(found, runs, group, _fail, options.place.entity, options.place.project) as mirror:
            mirror.show_means(of, records, averaged(suite))
            mirror.show_table(of, records)
            if options.maps:
                _push_maps(mirror, of, records, board)
    where = access.base_url()
    if found.mode == "offline":
        files = access.files_below(runs) / "wandb"
        where = f"{files}; send them with `wandb sync {files}/offline-*`"
    say(f"{len(entries)} runs of {len(standing.rows)} rows: {where}")
    return 0


def _online() -> access.Access:
    trouble = access.probe()
    if trouble:
        raise ZsadError(f"wandb: {trouble}; `track sync --offline` writes files")
    return access.Access("online")


def _fail(line: str) -> NoReturn:
    raise ZsadError(line)


def _entries(rows: Iterable[store.Row]) -> dict[str, tuple[Tracked, list[dict[str, Any]]]]:
    """Wandb run id -> what it is, and its rows as records; what it says of provenance is the newest row's."""
    found: dict[str, tuple[Tracked, list[dict[str, Any]]]] = {}
    limit = store.latest()
    for row in sorted(rows, key=lambda row: store.seniority(row, limit)):
        record = row.record()
        of = tracked(record)
        found[of.id] = (of, [*found.get(of.id, (of, []))[1], record])
    return found


def _recipes(runs: Path) -> dict[str, str]:
    """Row key -> the sweep that planned it, of the sweeps whose state lies here and can be read."""
    recipes: dict[str, str] = {}
    for folder in sorted((runs / "sweeps").glob("*/")):
        try:
            cells = SweepFolder(folder).read_cells()
        except ZsadError as error:
            say(f"rows of one sweep go up without its name: {error}")
            continue
        recipes |= {cell.key: folder.name for cell in cells.values() if not isinstance(cell, str)}
    return recipes


def _push_maps(mirror: Mirror, of: Tracked, records: list[dict[str, Any]], board: Path) -> None:
    for target, key in dict.fromkeys((record["target"], record["key"]) for record in records):
        mirror.show_maps(of, target, [shown(picture) for picture in read_pictures(board / "pictures", key)])
