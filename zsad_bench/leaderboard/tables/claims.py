"""The papers' headline gains: as claimed, from the printed tables, and from rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from zsad_bench.leaderboard.tables import grid
from zsad_bench.leaderboard.tables.grid import Column, Grid, GridCell
from zsad_bench.leaderboard.tables.papers import METRICS, TABLES, Number, Numbers
from zsad_bench.leaderboard.tables.published import Entry, Facts, Published
from zsad_bench.results.row import Row
from zsad_bench.variant import PLAIN


class Claim(NamedTuple):
    """A gain that a paper names. claimed: percent points as stated. scope: of the table; "each" is the largest over
    single industrial datasets."""

    text: str
    table: str
    method: str
    metric: str
    scope: str
    claimed: float | None = None


class Gain(NamedTuple):
    """A method against its best and its weakest competitor, in fractions; None where there is nothing to compare.

    Of "each", `where` is the dataset of the largest gain over the best.
    """

    own: float | None = None
    over_best: float | None = None
    best: str = ""
    over_weakest: float | None = None
    weakest: str = ""
    where: str = ""


CLAIMS = (
    Claim("FAPrompt, up to", "faprompt_1", "faprompt", "image_auroc", "each", 3.9),
    Claim("FAPrompt, up to", "faprompt_1", "faprompt", "image_ap", "each", 3.0),
    Claim("FAPrompt, industrial", "faprompt_1", "faprompt", "image_auroc", "industrial"),
    Claim("FAPrompt, industrial", "faprompt_1", "faprompt", "image_ap", "industrial"),
    Claim("FAPrompt, medical", "faprompt_1", "faprompt", "image_auroc", "medical"),
    Claim("FAPrompt, medical", "faprompt_1", "faprompt", "image_ap", "medical"),
    Claim("FAPrompt, industrial", "faprompt_2", "faprompt", "pixel_auroc", "industrial"),
    Claim("FAPrompt, industrial", "faprompt_2", "faprompt", "pixel_aupro_legacy200", "industrial"),
    Claim("FAPrompt, medical", "faprompt_2", "faprompt", "pixel_auroc", "medical"),
    Claim("FAPrompt, medical", "faprompt_2", "faprompt", "pixel_aupro_legacy200", "medical"),
    Claim("DIVE, limited", "dive_limited", "dive", "image_auroc", "all", 16.2),
    Claim("DIVE, limited", "dive_limited", "dive", "image_ap", "all", 28.5),
    Claim("DIVE, limited", "dive_limited", "dive", "pixel_auroc", "all", 23.4),
    Claim("DIVE, limited", "dive_limited", "dive", "pixel_rcpro", "all", 24.1),
    Claim("DIVE, limited", "dive_limited", "dive", "pixel_aupro", "all", 47.0),
)  # fmt: skip


def gains(claim: Claim, numbers: Numbers) -> tuple[Gain, Gain]:
    """The gain by the printed numbers, and by the measured ones that cover all their datasets."""
    own = Entry(claim.method, "", PLAIN)
    mine_is = next(iter(numbers.tracks(own)), None)
    tracks = [(entry, next(iter(numbers.tracks(entry)), None)) for entry in numbers.entries if entry != own]
    scopes = numbers.targets(claim.metric, "industrial") if claim.scope == "each" else (claim.scope,)

    def gain(measured: bool) -> Gain:
        by_scope: list[tuple[float, Gain]] = []
        for scope in scopes:
            mine = _value(numbers.at(own, mine_is, claim.metric, scope), measured)
            others = {
                numbers.facts.name(entry): value
                for entry, of in tracks
                if (value := _value(numbers.at(entry, of, claim.metric, scope), measured)) is not None
            }
            if mine is not None and others:
                best, weakest = max(others, key=others.__getitem__), min(others, key=others.__getitem__)
                where = numbers.facts.title(scope) if claim.scope == "each" else ""
                over_best, over_weakest = mine - others[best], mine - others[weakest]
                by_scope.append((over_best, Gain(mine, over_best, best, over_weakest, weakest, where)))
        return max(by_scope, key=lambda pair: pair[0])[1] if by_scope else Gain()

    return gain(measured=False), gain(measured=True)


def table(published: Sequence[Published], rows: Iterable[Row], facts: Facts) -> tuple[Grid, list[dict]]:
    """The claims as a grid, and their exact numbers as records."""
    rows = list(rows)
    of = {name: Numbers(TABLES[name], published, rows, facts) for name in dict.fromkeys(c.table for c in CLAIMS)}
    lines, records = [], []
    for claim in CLAIMS:
        printed, measured = gains(claim, of[claim.table])
        claimed = "" if claim.claimed is None else f"{claim.claimed:+.1f}"
        lines.append(
            (
                f"{claim.text}, {METRICS[claim.metric].removesuffix(' (200 thresholds)')}",
                [GridCell(claimed), *_cells(printed), *_cells(measured)],
            )
        )
        records.append(
            {"claim": claim.text, "metric": claim.metric, "claimed": claim.claimed}
            | {f"printed_{name}": value for name, value in printed._asdict().items()}
            | {f"measured_{name}": value for name, value in measured._asdict().items()}
        )
    columns = [Column("claimed")]
    for group in ("printed", "measured"):
        columns += [Column(f"{group}: over best"), Column(f"{group}: over weakest")]
    notes = [
        "Percent points. Printed is recomputed from the papers' tables, measured from rows, against the best and the "
        "weakest other method that covers all categories of the mean, on all of the data; – is not measured.",
        "FAPrompt's \"up to\" is the largest gain on a single industrial dataset, MVTecAD left out; DIVE's five "
        "figures are against the weakest competitor.",
    ]
    return Grid("Headline gains", "claim", columns, lines, notes), records


def _value(number: Number, measured: bool) -> float | None:
    if not measured:
        return number.published
    mean = number.measured
    whole = len(mean.datasets) == len(number.targets) and mean.complete
    return mean.mean if whole and mean.ranked else None


def _cells(gain: Gain) -> list[GridCell]:
    if gain.over_best is None or gain.over_weakest is None:
        return [GridCell(grid.UNDEFINED), GridCell(grid.UNDEFINED)]
    where = f", {gain.where}" if gain.where else ""
    return [
        GridCell(f"{grid.difference(gain.over_best)} ({gain.best}{where})"),
        GridCell(f"{grid.difference(gain.over_weakest)} ({gain.weakest}{where})"),
    ]
