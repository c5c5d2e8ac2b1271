"""Every published number: what reproduces it, what that costs by the rows so far, and whether it is done."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from zsad_bench.leaderboard.tables.marks import signs
from zsad_bench.leaderboard.tables.papers import TABLES, Number, Numbers, unlike
from zsad_bench.leaderboard.tables.published import Entry, Facts, Published, fidelity
from zsad_bench.results.row import Row
from zsad_bench.variant import spell_value

DONE, PART, NOT_RUN, NOT_BUILT = "done", "part", "not run", "not built"


class State(NamedTuple):
    """command: "" where no command exists. seconds: of testing; train_seconds: of training, once; None where unknown.

    auxiliary: what it learns from, so that trainings that serve several numbers are counted once.

    settings, targets: what the command runs, and which of its datasets are not done; what is planned is of these.

    state: done (every category of the number has rows of a meant variant, the released code's preset where there is
    one, on all of its data), part, not run, not built. compared: whether a difference may be shown; why_not: why not.
    """

    published: Published
    state: str
    command: str
    recipe: str
    seconds: float | None
    train_seconds: float | None
    auxiliary: str
    compared: bool
    why_not: str
    settings: Mapping[str, Any] = {}
    targets: tuple[str, ...] = ()


Training = Callable[[str, Mapping[str, Any], str], "float | None"]  # method, settings, prior -> seconds


def states(
    published: Sequence[Published], rows: Iterable[Row], facts: Facts, training: Training = lambda *_: None
) -> list[State]:
    """One a published number, in their order.

    rows: current ones. training: seconds of a training, 0 without training, None where unknown.
    """
    rows = list(rows)
    of = {name: Numbers(table, published, rows, facts) for name, table in TABLES.items()}
    pace = _pace(rows)
    return [_state(p, of[p.table], facts, pace, training) for p in published]


def _state(p: Published, numbers: Numbers, facts: Facts, pace: dict[str, float], training: Training) -> State:
    recipe = TABLES[p.table].recipe
    targets = numbers.targets(p.metric, p.scope)
    if why := _why_not_built(p, targets, facts):
        return State(p, NOT_BUILT, "", recipe, None, None, "", False, why)
    best: Number | None = None
    for track in numbers.tracks(p.entry):
        # `paper` beside `official` is another number than the printed one
        if fidelity(track.variant, p.entry.method, facts) not in ("", "official"):
            continue
        if best is None or not any(unlike(p, track)):
            best = numbers.at(p.entry, track, p.metric, p.scope)
    tested = set() if best is None else {row.target for row in best.rows}
    # A transductive number that was printed as one is whole.
    marked = best is not None and signs(best.measured._replace(transductive=False) if p.scored else best.measured)
    whole = best is not None and tested == set(targets) and best.measured.complete and not marked
    state = DONE if whole else PART if tested else NOT_RUN
    # Of a number that is marked, such as one on part of the data, no dataset is known to be done.
    missing = () if whole else tuple(t for t in targets if not numbers.covers(best, t)) or tuple(targets)
    seconds = None
    if p.entry.method in pace and facts.counts.keys() >= set(targets):
        seconds = pace[p.entry.method] * sum(sum(facts.counts[target]) for target in targets)
    reason = "not run" if best is None or not best.rows else best.why_not
    learning = training(p.entry.method, _settings(p, facts), p.prior)
    # A dataset that its protocol learns from has another auxiliary set
    swapped = len(targets) == 1 and p.auxiliary(targets[0]) != p.auxiliary("")
    auxiliary = f"{p.prior}, {p.scope}" if swapped else p.prior
    done = state == DONE and not reason
    settings = _settings(p, facts)
    return State(
        p, state, command(p, targets, facts), recipe, seconds, learning, auxiliary, done, reason, settings, missing
    )


def _why_not_built(p: Published, targets: Sequence[str], facts: Facts) -> str:
    """Why nothing here can compute a published number; "" where something can."""
    entry = p.entry
    if entry.method not in facts.built:
        reason = facts.why_not_built(entry.method)
        return f"its method is not built: {reason}" if reason else "its method is not built"
    if entry.settings is None:
        return "its settings are not known or built"
    if not targets:
        return "which datasets it is the mean over is not known"
    absent = [target for target in targets if facts.datasets is not None and target not in facts.datasets]
    return f"no dataset is registered for {', '.join(absent)}" if absent else ""


def command(p: Published, targets: Sequence[str], facts: Facts) -> str:
    """The command that computes a published number with one training seed."""
    parts = ["zsad-bench", "bench", "--protocol", p.protocol, "--method", p.entry.method, "--prior", p.prior]
    parts += ["--targets", ",".join(targets)]
    if p.entry.backbone:
        parts += ["--backbone", p.entry.backbone]
    for key, value in sorted(_settings(p, facts).items()):
        parts += ["--set", f"{key}={spell_value(value)}"]
    return shlex.join(parts)


def _settings(p: Published, facts: Facts) -> dict[str, Any]:
    settings = {"fidelity": "official"} if p.entry.method in facts.official else {}
    return {**settings, **(p.entry.settings or {})}


def _pace(rows: Iterable[Row]) -> dict[str, float]:
    """Method -> seconds per image in the slowest category that rows saw."""
    pace: dict[str, float] = {}
    for row in rows:
        if row.n_images:
            pace[row.method] = max(pace.get(row.method, 0.0), row.seconds / row.n_images)
    return pace


def by_line(numbers: Sequence[State]) -> dict[tuple[str, Entry], list[State]]:
    """The states of each line of each table."""
    lines: dict[tuple[str, Entry], list[State]] = {}
    for one in numbers:
        lines.setdefault((one.published.table, one.published.entry), []).append(one)
    return lines
