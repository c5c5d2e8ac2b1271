"""Which rows one table may contain: those of one backbone, data, metric version and configuration of each line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from operator import attrgetter

from zsad_bench.errors import RowError
from zsad_bench.results.row import Row
from zsad_bench.results.rows import latest, seniority

# What makes a line of a leaderboard.
LINE = ("method", "variant", "prior", "backbone", "image_size", "precision")
# What must be equal within a scope before numbers may stand side by side.
_SETTINGS = (
    (("target",), ("data_hash",)),
    (("backbone",), ("weights_hash",)),
    (("metric",), ("metric_version",)),
    ((*LINE, "target"), ("method_version", "config_hash", "networks", "auxiliary")),
    ((*LINE, "target", "draw"), ("prior_hash",)),
)
# Of saved maps under one name, each seed has its own; two sets of maps with one seed are one too many.
_OF_MAPS = ((*LINE, "target", "category", "seed", "draw"), ("maps_hash",))
_OF_THRESHOLDS = ((*LINE, "target", "metric"), ("calibrated_on",))
# A transductive method's number is of its set of images; a mean over seeds is of one set.
_OF_SETS = ((*LINE, "target", "category"), ("set_hash",))
# What a table refuses to mix, and within what: its name, the scope, the field.
_REFUSED = (
    ("backbone", "", "backbone"),
    ("weights hash", "backbone", "weights_hash"),
    ("data hash", "target", "data_hash"),
    ("metric version", "metric", "metric_version"),
)


def comparable(rows: Sequence[Row], at: str | None = None) -> tuple[list[Row], list[str]]:
    """The rows that one table may contain, and a sentence on every group that was left out.

    Of several data or weights hashes, metric versions, configurations of one line, saved maps under one name, sources
    of a threshold, or sets of images that were scored together, the newest run's stands; a run from the future counts
    as the oldest. at: the time now, as rows have it; None asks the clock.
    """
    rows, sentences, limit = list(rows), [], latest(at)
    seldom: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
    if any(row.maps_hash for row in rows):
        seldom.append(_OF_MAPS)
    if any(row.calibrated_on for row in rows):
        seldom.append(_OF_THRESHOLDS)
    if any(row.set_hash for row in rows):
        seldom.append(_OF_SETS)
    for scope, settings in (*_SETTINGS, *seldom):
        scope_of, setting_of = _getter(scope), _getter(settings)
        newest: dict[tuple, Row] = {}
        for row in rows:
            place = scope_of(row)
            if place not in newest or seniority(row, limit) >= seniority(newest[place], limit):
                newest[place] = row
        standing = {place: setting_of(row) for place, row in newest.items()}
        remaining: list[Row] = []
        left_out: Counter[tuple[tuple, tuple[str, ...]]] = Counter()
        for row in rows:
            place, setting = scope_of(row), setting_of(row)
            if setting == standing[place]:
                remaining.append(row)
            else:
                pairs = zip(settings, setting, standing[place], strict=True)
                left_out[place, tuple(name for name, ours, theirs in pairs if ours != theirs)] += 1
        for (place, names), count in sorted(left_out.items()):
            where = " · ".join(str(value) for value in place if value != "")
            verb = "differs" if len(names) == 1 else "differ"
            sentences.append(f"{count} of the rows of {where}: {_and(names)} {verb} from the newest run's")
        rows = remaining
    return rows, sentences


def refuse_mixed(
    rows: Sequence[Row], what_to_do: str, own_backbones: Collection[str] = (), several: bool = False
) -> None:
    """Returns when one table may contain all of the rows.

    own_backbones: methods that run on another backbone than the others; each of them on one. several: on any number of
    them, since each line of the table is of one.

    Raises:
        RowError: they mix backbones, or hashes of weights or data; says which, and what to do.
    """
    fields = sorted({"method", *(field for _, scope, setting in _REFUSED for field in (scope, setting) if field)})
    kinds = [
        (dict(zip(fields, values, strict=True)), n) for values, n in Counter(map(attrgetter(*fields), rows)).items()
    ]
    for name, scope, setting in _REFUSED:
        if several and setting == "backbone":
            continue
        by_scope: dict[str, Counter] = {}
        for kind, n in kinds:
            if (setting, kind[setting]) != ("backbone", "none"):  # sanity methods have none
                place = kind[scope] if scope else kind["method"] if kind["method"] in own_backbones else ""
                by_scope.setdefault(place, Counter())[kind[setting]] += n
        for where, counts in by_scope.items():
            if len(counts) > 1:
                values = ", ".join(f"{str(v)[:16]} ({n} rows)" for v, n in sorted(counts.items(), key=str))
                of = f" of {where}" if where else ""
                raise RowError(f"rows of more than one {name}{of}: {values}; {what_to_do}")


def _getter(names: Sequence[str]) -> Callable[[Row], tuple]:
    get = attrgetter(*names)
    return get if len(names) > 1 else lambda row: (get(row),)


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
