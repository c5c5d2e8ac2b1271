"""What would refute DIVE's claim that separating state from semantics makes a limited auxiliary prior go far.

Three questions, each a number with its interval and a verdict: do anomaly types that are absent from the auxiliary data
gain, does disentanglement gain more on classes far from the auxiliary ones, and do prompts that name the object hurt.
Every number is written so that above zero supports the claim. Fractions throughout.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from zsad_bench.errors import RowError
from zsad_bench.leaderboard.statistics import LEVEL, RESAMPLES, SEED
from zsad_bench.leaderboard.statistics.gains import Pair, Place, Resampled, Run, gains
from zsad_bench.leaderboard.statistics.spearman import spearman
from zsad_bench.prior_grammar import CATCH_ALL
from zsad_bench.results.class_embeddings import distance, read_classes
from zsad_bench.results.image_scores import read_scores
from zsad_bench.results.prior_contents import Kept, read_kept
from zsad_bench.results.row import Row
from zsad_bench.variant import PLAIN, Variant

METRIC = "image_auroc"
SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
# Types that say only that something is wrong, or nothing at all: neither seen nor absent.
_NAMELESS = frozenset((*CATCH_ALL, "anomaly", "defect", "ko", "mono", "poly"))


class Side(NamedTuple):
    """A method variant, and how a sentence names it."""

    method: str
    variant: Variant
    title: str


class Answer(NamedTuple):
    """One number. claim: of CLAIMS. low, high: None where there is no interval.

    points: whether value is a gain in fractions; else a correlation. n_left_out: categories whose distance is not
    known. why_not: the reason of a missing value.
    """

    claim: str
    text: str
    prior: str
    value: float | None
    low: float | None
    high: float | None
    level: float
    points: bool
    n_runs: int = 0
    n_datasets: int = 0
    n_categories: int = 0
    n_types: int = 0
    n_images: int = 0
    n_left_out: int = 0
    why_not: str = ""

    @property
    def verdict(self) -> str:
        """By whether the interval leaves zero out; "" where nothing was measured."""
        if self.value is None:
            return ""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return UNDECIDED
        return SUPPORTED if self.low > 0 else CONTRADICTED


DIVE = Side("dive", PLAIN, "DIVE")
ENTANGLED = Side("dive", Variant({"disentangle": False}), "DIVE without disentanglement")
BARE = Side("dive", Variant({"deep": False, "shallow": False}), "DIVE without text injection")
AGNOSTIC = Side("anomalyclip", PLAIN, "AnomalyCLIP")
NAMING = (Side("coop", PLAIN, "CoOp"), Side("cocoop", Variant({"preset": "zsad"}), "CoCoOp (zsad)"))
CLAIMS = {
    "types": "Anomaly types that are absent from the auxiliary data gain from DIVE",
    "distance": "Disentanglement gains more on classes that are far from the auxiliary ones",
    "names": "Prompts that name the object hurt",
}


class ClaimData:
    """The rows of a leaderboard and what lies beside them, as these questions need it.

    rows: current and comparable ones. folder: that holds `rows`. targets: datasets that are asked about.
    """

    def __init__(self, rows: Iterable[Row], folder: Path, targets: Collection[str]) -> None:
        self.folder = folder
        self.cells: dict[tuple[str, Variant, str], dict[tuple[Run, Place], Row]] = defaultdict(dict)
        for row in rows:
            if row.metric == METRIC and row.value is not None and row.target in targets:
                of = self.cells[row.method, row.variant, row.prior]
                of[(row.seed, row.draw), (row.target, row.category)] = row
        self.scores = cache(lambda key, category: read_scores(folder / "scores", key, category))
        self.kept = cache(lambda prior_hash: read_kept(folder, prior_hash))
        self.classes = cache(lambda weights_hash, dataset: read_classes(folder, weights_hash, dataset))

    def priors(self) -> list[str]:
        """Those under which any two sides were measured that are compared."""
        compared = [(DIVE, side) for side in (ENTANGLED, BARE, AGNOSTIC)] + [(AGNOSTIC, side) for side in NAMING]
        all_of = sorted({prior for _, _, prior in self.cells})
        return [prior for prior in all_of if any(self.both(first, second, prior) for first, second in compared)]

    def both(self, first: Side, second: Side, prior: str) -> dict[tuple[Run, Place], tuple[Row, Row]]:
        """The rows of two sides by run and category, where both learned from the same images."""
        one, other = (self.cells.get((*side[:2], prior), {}) for side in (first, second))
        return {
            at: (one[at], other[at])
            for at in sorted(one.keys() & other.keys())
            if one[at].prior_hash == other[at].prior_hash
        }

    def pairs(self, rows: Mapping[tuple[Run, Place], tuple[Row, Row]]) -> list[Pair]:
        """Their per-image scores."""
        return [
            Pair(run, place, *(self.scores(row.key, row.category) for row in both))
            for (run, place), both in rows.items()
        ]


def answers(data: ClaimData, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = SEED) -> list[Answer]:
    """Every question under every prior that has rows.

    Raises:
        RowError: no rows to ask, or per-image scores that are missing, damaged or without types.
    """
    priors = data.priors()
    if not priors:
        raise RowError(f"no two methods to compare with {METRIC} under one prior; run `zsad-bench sweep dive_claims`")
    made: list[Answer] = []
    for prior in priors:
        for rival in (ENTANGLED, BARE, AGNOSTIC):
            made += _types(data, rival, prior, resamples, level, seed)
    made += [_distance(data, prior, resamples, level, seed) for prior in priors]
    for prior in priors:
        made += [_names(data, side, prior, resamples, level, seed) for side in NAMING]
    return made


def plain(kind: str) -> str:
    """A type's name as it is compared: releases differ in case and in underscores."""
    return " ".join(kind.replace("_", " ").casefold().split())


def absence(kind: str, seen: Collection[str]) -> bool | None:
    """Whether none of a label's types was seen; None where the label, or what was seen, has no names.

    seen: as `plain` gives them.
    """
    parts = {plain(part) for part in kind.split(",")} - _NAMELESS
    named = set(seen) - _NAMELESS
    return None if not parts or not named else not parts & named


def _types(data: ClaimData, rival: Side, prior: str, resamples: int, level: float, seed: int) -> list[Answer]:
    rows = data.both(DIVE, rival, prior)
    over = f"over {rival.title}"
    texts = (f"absent types, {over}", f"types that were seen, {over}", f"absent more than seen, {over}")
    if not rows:
        return [_nothing("types", texts[0], prior, level, "not run")]
    seen: dict[tuple[Run, Place], frozenset[str]] = {}
    for at, (row, _) in rows.items():
        kept: Kept | None = data.kept(row.prior_hash)
        if kept is None:
            return [_nothing("types", texts[0], prior, level, "what the prior kept is not on disk; run it again")]
        seen[at] = frozenset(map(plain, kept.types))
    if not any(kinds - _NAMELESS for kinds in seen.values()):
        return [_nothing("types", texts[0], prior, level, "the types of the auxiliary data have no names")]
    parts = {
        "absent": lambda run, place, kind: absence(kind, seen[run, place]) is True,
        "seen": lambda run, place, kind: absence(kind, seen[run, place]) is False,
    }
    by_part = gains(data.pairs(rows), parts, resamples, seed)
    absent, present = by_part["absent"], by_part["seen"]
    answers = [_answer("types", texts[0], prior, absent, level), _answer("types", texts[1], prior, present, level)]
    if absent.value is None or present.value is None or absent.samples is None or present.samples is None:
        return answers
    more = Resampled(
        absent.value - present.value, absent.samples - present.samples, max(absent.n_runs, present.n_runs),
        max(absent.n_datasets, present.n_datasets), max(absent.n_categories, present.n_categories),
        absent.n_types + present.n_types, max(absent.n_images, present.n_images),
    )  # fmt: skip
    return [*answers, _answer("types", texts[2], prior, more, level)]


def _distance(data: ClaimData, prior: str, resamples: int, level: float, seed: int) -> Answer:
    text = f"correlation of distance and gain over {ENTANGLED.title}"
    rows = data.both(DIVE, ENTANGLED, prior)
    if not rows:
        return _nothing("distance", text, prior, level, "not run")
    far: dict[Place, list[float]] = defaultdict(list)
    gain: dict[Place, list[float]] = defaultdict(list)
    lost = set()
    for (_, place), (one, other) in rows.items():
        nearest = _far(data, one)
        if nearest is None:
            lost.add(place)
        else:
            far[place].append(nearest)
            gain[place].append(_value(one) - _value(other))
    places = sorted(far.keys() - lost)
    if not places:
        return _nothing("distance", text, prior, level, "the classes or what the prior kept are not on disk")
    rho = spearman([[_mean(far[p])] for p in places], [[_mean(gain[p])] for p in places], resamples, level, seed)
    return Answer(
        "distance", text, prior, rho.value, rho.low, rho.high, level, False, n_runs=len({run for run, _ in rows}),
        n_datasets=len({place[0] for place in places}), n_categories=len(places), n_left_out=len(lost),
        why_not="" if rho.value is not None else "distance or gain does not vary",
    )  # fmt: skip


def _value(row: Row) -> float:
    if row.value is None:
        raise RowError(f"{row.target}/{row.category} of {row.method} is undefined: {row.reason}")
    return row.value


def _far(data: ClaimData, row: Row) -> float | None:
    """The distance of a row's category to the nearest class that its method learned from; None where it is unknown."""
    kept: Kept | None = data.kept(row.prior_hash)
    own = data.classes(row.weights_hash, row.target)
    if kept is None or own is None or row.category not in own.embeddings:
        return None
    others = []
    for dataset, categories in kept.classes.items():
        classes = data.classes(row.weights_hash, dataset)
        if classes is None or not categories.keys() <= classes.embeddings.keys():
            return None
        others += [classes.embeddings[name] for name in categories]
    return distance(own.embeddings[row.category], others) if others else None


def _names(data: ClaimData, named: Side, prior: str, resamples: int, level: float, seed: int) -> Answer:
    text = f"{AGNOSTIC.title} over {named.title}"
    rows = data.both(AGNOSTIC, named, prior)
    if not rows:
        return _nothing("names", text, prior, level, "not run")
    return _answer("names", text, prior, gains(data.pairs(rows), None, resamples, seed)["all"], level)


def _answer(claim: str, text: str, prior: str, gain: Resampled, level: float) -> Answer:
    low, high = gain.interval(level) or (None, None)
    why_not = "nothing to compare" if gain.value is None else ""
    return Answer(
        claim, text, prior, gain.value, low, high, level, True, gain.n_runs, gain.n_datasets, gain.n_categories,
        gain.n_types if claim == "types" else 0, gain.n_images, why_not=why_not,
    )  # fmt: skip


def _nothing(claim: str, text: str, prior: str, level: float, why_not: str) -> Answer:
    return Answer(claim, text, prior, None, None, None, level, claim != "distance", why_not=why_not)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
