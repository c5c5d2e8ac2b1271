"""The answers to DIVE's falsifiers as tables: the claim, the number, its interval and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zsad_bench.leaderboard.statistics import RESAMPLES
from zsad_bench.leaderboard.statistics.dive_claim import CLAIMS, Answer
from zsad_bench.leaderboard.tables import grid
from zsad_bench.leaderboard.tables.grid import Column, Grid, GridCell
from zsad_bench.results.class_embeddings import TEMPLATE

_VERDICT = (
    "Supported or contradicted where the interval is above or below zero, undecided where it holds zero. The verdicts "
    "are one by one, without a correction for their number."
)
_NOTES = {
    "types": (
        "Gain in percent points of image AUROC, a type's images against all normal images of its category; mean over "
        "types, categories, datasets and runs (training seeds and draws of the auxiliary data). A type was seen when "
        "the auxiliary data has one of the same name, in whatever class; types without a name of their own (other, "
        f"bad, defect) are in neither. Interval from {RESAMPLES} resamples of images, the same ones for both methods, "
        "types drawn apart."
    ),
    "distance": (
        "Spearman's correlation over categories. Distance: 1 - cosine of the embedding of "
        f"\"{TEMPLATE.format('…')}\" with the category's name to that of the nearest auxiliary class; gain: of image "
        f"AUROC, mean over runs. Interval from {RESAMPLES} resamples of categories."
    ),
    "names": (
        "Gain in percent points of image AUROC of object-agnostic prompts over prompts with the name; mean over "
        f"categories, datasets and runs. Interval from {RESAMPLES} resamples of images, the same for both methods. "
        "The methods differ in more than the name."
    ),
}  # fmt: skip


def table(answers: Sequence[Answer]) -> tuple[list[Grid], list[dict[str, Any]]]:
    """A grid per claim, and the exact numbers as records."""
    grids = []
    for claim, title in CLAIMS.items():
        of = [answer for answer in answers if answer.claim == claim]
        if of:
            columns = [Column("number"), Column(f"{of[0].level:.0%} interval"), Column("verdict"), Column("over")]
            lines = [(f"{a.prior} · {a.text}", [GridCell(text) for text in _cells(a)]) for a in of]
            grids.append(Grid(title, "prior · claim", columns, lines, [_NOTES[claim], _VERDICT]))
    records = []
    for answer in answers:
        record = answer._asdict()
        points = record.pop("points")
        records.append({**record, "unit": "fraction" if points else "correlation", "verdict": answer.verdict})
    return grids, records


def _cells(answer: Answer) -> list[str]:
    if answer.value is None:
        return [grid.UNDEFINED, grid.UNDEFINED, "", answer.why_not]
    interval = grid.UNDEFINED
    if answer.low is not None and answer.high is not None:
        interval = f"{_number(answer, answer.low)} to {_number(answer, answer.high)}"
    return [_number(answer, answer.value), interval, answer.verdict, _coverage(answer)]


def _number(answer: Answer, value: float) -> str:
    return grid.signed(f"{100 * value if answer.points else value:+.2f}")


def _coverage(answer: Answer) -> str:
    counts = (
        (answer.n_types, "type", "types"), (answer.n_categories, "category", "categories"),
        (answer.n_images, "image", "images"), (answer.n_runs, "run", "runs"),
        (answer.n_left_out, "category left out", "categories left out"),
    )  # fmt: skip
    return ", ".join(f"{n} {one if n == 1 else many}" for n, one, many in counts if n)
