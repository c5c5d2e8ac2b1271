"""Whether a measured number may be compared with a published one, and if not, why.

A difference is shown only where protocol, composition and form of the metric agree. What a published number was
obtained under is in `leaderboards/published` and in its protocol (`protocol.py`); what a measured one was, in its row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import replace

from zsad_bench import protocol as protocols
from zsad_bench.leaderboard.tables.averaging import Measured, Run
from zsad_bench.leaderboard.tables.published import Facts, Published, fidelity
from zsad_bench.prior_grammar import Part, parts_of
from zsad_bench.results.row import Row

# Forms of one metric whose numbers differ.
FORMS = {"pixel_aupro": "pixel_aupro_legacy200", "pixel_aupro_legacy200": "pixel_aupro"}
_RCPRO = "RCPRO is defined here from the paper's words only"
_ALONE = "one image at a time"


def why_not(
    published: Published, rows: Iterable[Row], targets: Collection[str], facts: Facts, measured: Measured
) -> str:
    """Why no difference may be shown, "" when it may.

    rows: of the line, on `targets`; those of the runs that `measured` averages are looked at, or all where it averages
    none. Same backbone, image size, fidelity preset, auxiliary set, counts and form of the metric, and nothing missing.
    """
    rows = list(rows)
    rows = [row for row in rows if (row.seed, row.draw) in measured.runs] or rows
    if published.note:
        return published.note
    if published.metric == "pixel_rcpro":
        return _RCPRO
    if unstated := sorted(set(protocols.find(published.protocol).unstated_counts) & set(targets)):
        return f"counts of {' and '.join(unstated)} in the paper are not known"
    if missing := sorted(set(targets) - {row.target for row in rows}):
        return f"not measured: {', '.join(missing)}"
    for row in rows:
        if reason := _row_differs(row, published, facts):
            return reason
    if reason := lacking(measured):
        return reason
    by_run: dict[tuple[Run, str], list[Row]] = defaultdict(list)
    for row in rows:
        by_run[(row.seed, row.draw), row.target].append(row)
    for (_, target), own in sorted(by_run.items(), key=lambda item: item[0]):
        anomalous = sum(row.n_anomalous for row in own)
        counts = (sum(row.n_images for row in own) - anomalous, anomalous)
        theirs = published.counts or facts.counts.get(target)
        if counts != theirs:
            return f"counts of {target}: {counts[0]} + {counts[1]} images, the paper {_counts(theirs)}"
    return ""


def lacking(measured: Measured) -> str:
    """What a mean lacks, as a reason why it is compared with nothing; "" for a complete one."""
    return "" if measured.complete else f"{measured.n_categories} of {measured.n_expected} categories"


def _row_differs(row: Row, published: Published, facts: Facts) -> str:
    runs_on = published.runs_on
    if not runs_on.stated:
        return "backbone and image size of this method are not stated in the paper"
    preset = fidelity(row.variant, row.method, facts)
    learns = row.prior != "none"
    for name, ours, theirs in (
        ("metric", row.metric, published.metric),
        ("backbone", row.backbone, runs_on.backbone),
        ("image size", row.image_size, runs_on.image_size),
        ("precision", "" if row.precision == "float32" else row.precision, ""),
        ("fidelity", preset, "official" if preset else ""),
        ("auxiliary set", row.auxiliary, published.auxiliary(row.target) if learns else ""),
        ("anomalies", _anomalies(row) if learns else "", _anomalies_of(published) if learns else ""),
        ("part of the auxiliary data", _part(row) if learns else "", ""),
        ("images skipped", row.n_skipped, 0),
        ("remark", row.remark, ""),
        ("scoring", "with the whole test set" if row.transductive else _ALONE, _scoring(published, row)),
        ("target data", row.target_partial and f"{row.target} {row.target_partial} images", ""),
        ("auxiliary data", row.auxiliary_partial and f"{row.auxiliary_partial} images", ""),
        ("data options", _options(row, published), ""),
    ):
        if ours != theirs:
            return f"{name} {ours or 'none'}, the paper {theirs or ('all' if name.endswith(' data') else 'none')}"
    return f"{row.target}/{row.category} is undefined: {row.reason}" if row.value is None else ""


def _scoring(published: Published, row: Row) -> str:
    """How the paper scores an image; as our rows say it where they are scored with others as well."""
    if published.scored and row.transductive:
        return "with the whole test set"
    return published.scored or _ALONE


def _anomalies(row: Row) -> str:
    """Whether what was learned from are real anomalies or generated ones."""
    named = protocols.named_priors(row.suite) if row.suite in protocols.suites() else {}
    bases = parts_of(row.prior)
    generated = any(part.synthetic or (part.dataset in named and named[part.dataset].generated) for part in bases)
    return "generated" if generated else "real"


def _anomalies_of(published: Published) -> str:
    prior = protocols.find(published.protocol).priors.get(published.prior)
    return "generated" if prior is not None and prior.generated else "real"


def _part(row: Row) -> str:
    """The items of a prior that keep a part of its data: "shots=4"; "" where it is whole."""
    limited = [
        part for part in parts_of(row.prior) if replace(part, dataset="", place="", draw=0, synthetic=False) != Part("")
    ]
    return row.prior if limited else ""


def _options(row: Row, published: Published) -> str:
    """What of the target's reading is not as the paper has it; of another composition, the counts decide."""
    usual = ("mask_rule=legacy",)  # the published evaluations' rule
    options = [
        option for option in row.data_options.split(",")
        if option not in usual and not (published.counts and option.startswith("variant="))
    ]  # fmt: skip
    return ",".join(options)


def _counts(counts: tuple[int, int] | None) -> str:
    return "is not known" if counts is None else f"{counts[0]} + {counts[1]}"
