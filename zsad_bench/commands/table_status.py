"""Every published number, what reproduces it, what that costs, and whether it is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from zsad_bench.atomic import write_whole
from zsad_bench.commands._row_selection import RowsOptions, all_facts, chosen_rows
from zsad_bench.console import Console
from zsad_bench.errors import ZsadError
from zsad_bench.leaderboard.tables import status as states
from zsad_bench.leaderboard.tables.papers import TABLES
from zsad_bench.leaderboard.tables.published import read_published
from zsad_bench.leaderboard.tables.render import as_csv
from zsad_bench.options import Option
from zsad_bench.planning.configure import trains
from zsad_bench.printable import say
from zsad_bench.sweep.sweep_folder import SweepFolder
from zsad_bench.sweep.sweep_status import trained_seconds
from zsad_bench.variant import Variant


@dataclass(frozen=True, kw_only=True)
class Options:
    source: RowsOptions = field(default_factory=RowsOptions)
    runs: Annotated[str, Option("FOLDER", "where sweeps keep how long they trained")] = "runs"
    out: Annotated[str, Option("FOLDER", "where status.csv goes", writes="folder")] = "tables"


def run(options: Options) -> int:
    """Prints how many published numbers are reproduced, line by line; every number goes to `--out`/status.csv."""
    console, facts = Console(), all_facts()
    rows = chosen_rows(options.source, console, "paper", optional=True)
    found = states.states(read_published(), rows, facts, training(Path(options.runs)))
    records = [
        {
            "table": s.published.table, "method": s.published.entry.method, "line": s.published.entry.label,
            "scope": s.published.scope, "prior": s.published.prior, "metric": s.published.metric,
            "published": round(100 * s.published.value, 10), "state": s.state, "command": s.command, "recipe": s.recipe,
            "test_seconds": _known(s.seconds), "train_seconds": _known(s.train_seconds), "comparable": s.compared,
            "why_not": s.why_not,
        }
        for s in found
    ]  # fmt: skip
    write_whole(Path(options.out) / "status.csv", as_csv(records).encode())
    console.print(f"{len(found)} published numbers: {_tally(found)}")
    table = ""
    for (name, entry), of in states.by_line(found).items():
        if name != table:
            table = name
            console.print(f"\n{TABLES[name].title} (zsad-bench sweep {TABLES[name].recipe})", style="bold")
        reason = facts.why_not_built(entry.method)
        why = f" ({reason})" if reason else ""
        console.print(f"  {facts.name(entry)}: {len(of)} numbers, {_tally(of)}{why}{_cost(of)}")
    console.print(f"\nthe command of each: {Path(options.out) / 'status.csv'}")
    return 0


def training(runs: Path) -> states.Training:
    """How long trainings took in sweeps of the paper suite that ran from here, the latest of each.

    A sweep whose plan cannot be read is left out, and a line says so.
    """
    events = []
    for folder in map(SweepFolder, sorted((runs / "sweeps").glob("*"))):
        if not folder.plan_file.is_file():
            continue
        try:
            is_paper = folder.read_plan().suite == "paper"
        except ZsadError as error:
            say(f"training times of one sweep are left out: {error}")
            continue
        if is_paper:
            events += folder.read_events()
    measured = trained_seconds(sorted(events, key=lambda event: event["time"]))
    learns: dict[tuple[str, Variant], bool] = {}

    def seconds(method: str, settings: Mapping[str, object], prior: str) -> float | None:
        variant = Variant(settings)
        if (method, variant) not in learns:
            learns[method, variant] = trains(method, settings)
        return measured.get((method, str(variant), prior)) if learns[method, variant] else 0.0

    return seconds


def _known(seconds: float | None) -> int | str:
    return "unknown" if seconds is None else round(seconds)


def _tally(found: Sequence[states.State]) -> str:
    counts = Counter(one.state for one in found)
    return ", ".join(
        f"{counts[s]} {s}" for s in (states.DONE, states.PART, states.NOT_RUN, states.NOT_BUILT) if counts[s]
    )


def _cost(found: Sequence[states.State]) -> str:
    """What the rest of a line costs with one seed: each command's test, and each auxiliary set's training once."""
    due = [one for one in found if one.state in (states.PART, states.NOT_RUN)]
    if not due:
        return ""
    tests = {one.command: one.seconds for one in due}
    trainings = {one.auxiliary: one.train_seconds for one in due}
    return f"; {_about('testing', tests)}, {_about('training', trainings)}"


def _about(what: str, seconds: Mapping[str, float | None]) -> str:
    known = [value for value in seconds.values() if value is not None]
    if len(known) < len(seconds):
        return f"{what} unknown"
    total = sum(known)
    return f"{what} about {total / 60:.0f} min" if total else f"no {what}"
