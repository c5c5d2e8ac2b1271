"""Whether a measured number may be compared with a published one, and if not, why."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from zsad_bench.leaderboard.tables.published import Facts, Published, fidelity
from zsad_bench.results.row import Row

BACKBONE, IMAGE_SIZE = "ViT-L-14-336-quickgelu", 518
# Methods whose printed rows are on another backbone and image size: FAPrompt ran WinCLIP with all parameters of its own
# paper, whose numbers on MVTecAD and VisA it repeats.
OWN_BACKBONES = {"winclip": ("ViT-B-16-plus-240", 240)}
UNKNOWN_COUNTS = {"sdd", "brainmri"}  # which of their compositions DIVE tests is not stated
_RCPRO = "RCPRO is defined here from the paper's words only"


def why_not(published: Published, rows: Iterable[Row], targets: Collection[str], facts: Facts) -> str:
    """Why no difference may be shown, "" when it may.

    rows: all that stand behind the measured number, whose datasets are `targets`. Same backbone, image size, fidelity
    preset, auxiliary set, counts and form of the metric, and nothing missing.
    """
    rows = list(rows)
    dive = published.table.startswith("dive")
    if published.note:
        return published.note
    if published.metric == "pixel_rcpro":
        return _RCPRO
    if dive and UNKNOWN_COUNTS & set(targets):
        return f"counts of {' and '.join(sorted(UNKNOWN_COUNTS & set(targets)))} in the paper are not known"
    if missing := sorted(set(targets) - {row.target for row in rows}):
        return f"not measured: {', '.join(missing)}"
    for row in rows:
        if reason := _row_differs(row, published, facts):
            return reason
    for target in targets:
        sizes = {r.category: (r.n_images - r.n_anomalous, r.n_anomalous) for r in rows if r.target == target}
        counts = tuple(sum(size[i] for size in sizes.values()) for i in (0, 1))
        if counts != facts.counts.get(target):
            return (
                f"counts of {target}: {counts[0]} + {counts[1]} images, the paper {_counts(facts.counts.get(target))}"
            )
    return ""


def _row_differs(row: Row, published: Published, facts: Facts) -> str:
    if row.method in facts.own_backbones:
        return "backbone and image size of this method are not stated in the paper"
    backbone, image_size = OWN_BACKBONES.get(row.method, (BACKBONE, IMAGE_SIZE))
    preset = fidelity(row.variant, row.method, facts)
    swapped = row.target == "mvtec" and not published.table.startswith("dive")
    auxiliary = "dtd" if published.prior == "limited" else "visa" if swapped else "mvtec"
    for name, ours, theirs in (
        ("metric", row.metric, published.metric),
        ("backbone", row.backbone, backbone),
        ("image size", row.image_size, image_size),
        ("precision", "" if row.precision == "float32" else row.precision, ""),
        ("fidelity", preset, "official" if preset else ""),
        ("auxiliary set", row.auxiliary, auxiliary if row.prior != "none" else ""),
        ("images skipped", row.n_skipped, 0),
        ("remark", row.remark, ""),
        ("protocol", "transductive" if row.transductive else "", ""),
        ("target data", row.target_partial and f"{row.target} {row.target_partial} images", ""),
        ("auxiliary data", row.auxiliary_partial and f"{row.auxiliary_partial} images", ""),
        ("data options", row.data_options.replace("mask_rule=legacy", ""), ""),  # the published evaluations' rule
    ):
        if ours != theirs:
            return f"{name} {ours or 'none'}, the paper {theirs or ('all' if name.endswith(' data') else 'none')}"
    return f"{row.target}/{row.category} is undefined: {row.reason}" if row.value is None else ""


def _counts(counts: tuple[int, int] | None) -> str:
    return "is not known" if counts is None else f"{counts[0]} + {counts[1]}"
