# pytest tests/leaderboard/test_compare.py
"""Printed numbers of 2026 beside measured ones: a difference where all agrees, else what differs, a test per reason."""

from __future__ import annotations

import re

import pytest

from tests.made_up_rows import make_row
from zsad_bench.leaderboard.tables import compare, papers
from zsad_bench.leaderboard.tables.marks import TRANSDUCTIVE
from zsad_bench.leaderboard.tables.published import Facts, Published, read_published
from zsad_bench.results.row import Row
from zsad_bench.variant import Variant

PUBLISHED = read_published()
# Of docs/datasets.md: normal and anomalous test images.
COUNTS = {"mvtec": (467, 1258), "visa": (962, 1200), "brainmri": (98, 155), "dagm": (6996, 1054), "btad": (451, 290)}
FACTS = Facts(
    titles={"visualad": "VisualAD", "musc": "MuSc", "mvtec": "MVTecAD"},
    built=frozenset({"visualad", "musc", "bayes_pfl", "faprompt", "anomalyclip"}),
    official=frozenset({"visualad", "faprompt", "anomalyclip"}),
    counts=COUNTS,
)


def printed(table: str, method: str, scope: str, metric: str, tag: str = "", backbone: str = "") -> Published:
    (one,) = [
        p for p in PUBLISHED
        if (p.table, p.entry.method, p.scope, p.metric, p.entry.tag, p.entry.backbone, p.entry.label)
        == (table, method, scope, metric, tag, backbone, "")
    ]  # fmt: skip
    return one


def row_as(p: Published, **changes: object) -> Row:
    """A made-up row of one category that agrees with a printed number in everything, a point above it."""
    normal, anomalous = p.counts or COUNTS[p.scope]
    method, learns = p.entry.method, p.prior != "none"
    fields = {
        "suite": "paper", "method": method, "prior": p.prior, "auxiliary": p.auxiliary(p.scope) if learns else "",
        "variant": Variant({"fidelity": "official"} if method in FACTS.official else {}),
        "target": p.scope, "category": "all", "metric": p.metric, "value": changes.get("value", p.value + 0.01),
        "backbone": p.runs_on.backbone, "image_size": p.runs_on.image_size, "transductive": bool(p.scored),
        "n_images": normal + anomalous, "n_anomalous": anomalous,
    }  # fmt: skip
    return make_row(**{**fields, **changes})


VISUALAD = ("visualad", "visualad", "mvtec", "image_auroc")
PRO = ("visualad", "visualad", "mvtec", "pixel_aupro_legacy200")
DINO = (*VISUALAD, "", "vit_large_patch14_dinov2")
MUSC = ("musc", "musc", "mvtec", "image_auroc", "released code")
BAYES = ("bayes_pfl", "bayes_pfl", "mvtec", "pixel_ap", "cited by UniADet")
BAYES_BRAIN = ("bayes_pfl", "bayes_pfl", "brainmri", "image_auroc", "cited by DLVP-CLIP")
BAYES_DAGM = ("bayes_pfl", "bayes_pfl", "dagm", "image_auroc", "cited by DLVP-CLIP")
FAPROMPT = ("faprompt_1", "faprompt", "btad", "image_auroc")


@pytest.mark.parametrize("which", [VISUALAD, PRO, MUSC, BAYES, BAYES_BRAIN, BAYES_DAGM, FAPROMPT])
def test_a_difference_where_everything_agrees(which):
    p = printed(*which)
    (found,) = compare.comparisons([p], [row_as(p)], FACTS)
    assert found.why_not == ""
    assert found.difference == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("which", "changes", "why"),
    [
        (VISUALAD, {"prior": "rich", "auxiliary": "mvtec"}, "auxiliary set mvtec, the paper visa"),
        (VISUALAD, {"prior": "visa:shots=4"}, "part of the auxiliary data visa:shots=4, the paper all"),
        (FAPROMPT, {"prior": "synthetic"}, "anomalies generated, the paper real"),
        (VISUALAD, {"backbone": "vit_large_patch14_dinov2"}, "backbone vit_large_.*, the paper ViT-L-14-336-"),
        (VISUALAD, {"image_size": 336}, "image size 336, the paper 518"),
        (VISUALAD, {"precision": "bf16"}, "precision bf16, the paper none"),
        (VISUALAD, {"variant": Variant({})}, "fidelity paper, the paper official"),
        (VISUALAD, {"data_options": "variant=zs"}, "data options variant=zs, the paper none"),
        (VISUALAD, {"transductive": True}, "scoring with the whole test set, the paper one image at a time"),
        (PRO, {"metric": "pixel_aupro"}, "metric pixel_aupro, the paper pixel_aupro_legacy200"),
        (MUSC, {"transductive": False}, "scoring one image at a time, the paper with the whole unlabelled test set"),
        (MUSC, {"n_images": 100}, "counts of mvtec: "),
        (BAYES_BRAIN, {"transductive": False}, "scoring one image at a time, the paper min-max over the test set"),
        (BAYES_BRAIN, {"n_images": 253, "n_anomalous": 155}, r"brainmri: 98 \+ 155 images, the paper 85 \+ 68"),
        (BAYES_DAGM, {"n_images": 8050, "n_anomalous": 1054}, r"dagm: 6996 \+ 1054 images, the paper 1350 \+ 1350"),
        (DINO, {}, "image size not stated"),
        (("visualad", "visualad", "dagm", "image_auroc"), {"value": 0.9}, "composition not stated"),
        (("visualad", "anomalyclip", "visa", "image_auroc"), {}, "backbone, image size and auxiliary data of the base"),
        (("bayes_pfl", "bayes_pfl", "btad", "image_auroc", "cited by AnomalyVFM"), {}, "disagrees with 90.5"),
    ],
)  # fmt: skip
def test_what_differs_is_named_and_nothing_is_subtracted(which, changes, why):
    p = printed(*which)
    (found,) = compare.comparisons([p], [row_as(p, **changes)], FACTS)
    assert re.match(why, found.why_not) or re.search(why, found.why_not), found.why_not
    assert found.difference is None
    grid, (record,) = compare.table([found], FACTS)
    ((_, cells),) = grid.lines
    assert cells[-1].text == found.why_not == record["why_not"]
    assert (cells[-2].text, record["difference"]) == ("", None)


def test_another_variant_is_not_the_printed_line():
    p = printed(*VISUALAD)
    assert compare.comparisons([p], [row_as(p, variant=Variant({"fidelity": "official", "sca": False}))], FACTS) == []


def test_backbones_of_one_method_are_lines_of_their_own():
    clip, dino = printed(*VISUALAD), printed(*DINO)
    rows = [row_as(clip), row_as(dino, image_size=518, value=0.5)]
    (grid, *_), _ = papers.numbers("visualad", PUBLISHED, rows, FACTS)
    titles = [column.title for column in grid.columns]
    line = dict(zip(titles, dict(grid.lines)["MVTecAD"], strict=True))
    assert (line["VisualAD (official)"].text, line["VisualAD: printed"].text, line["Δ"].text) == (
        "93.2",
        "92.2",
        "+1.0",
    )
    assert line["VisualAD (vit_large_patch14_dinov2, official)"].text == "50.0"
    assert line["VisualAD (vit_large_patch14_dinov2): printed"].text == "90.1"


def test_a_method_on_its_own_backbone_is_tagged_and_compared():
    (p,) = [
        p
        for p in PUBLISHED
        if (p.table, p.entry.method, p.scope, p.metric) == ("faprompt_1", "winclip", "btad", "image_auroc")
    ]
    others = {"backbone": "ViT-L-14-336-quickgelu", "image_size": 518, "value": 0.5}
    rows = [row_as(p, prior="none", auxiliary="", **of) for of in ({}, others)]
    (grid, _), _ = papers.numbers("faprompt_1", PUBLISHED, rows, FACTS)
    titles = [column.title for column in grid.columns]
    line = dict(zip(titles, dict(grid.lines)["btad"], strict=True))
    assert {name for name in line if name.startswith(("winclip", "WinCLIP", "Δ"))} == {
        "winclip (ViT-B-16-plus-240)", "Δ", "winclip", "winclip: printed",
    }  # fmt: skip
    assert line["Δ"].text == "+1.0"
    assert line["winclip"].text == "50.0", "on the others' backbone it is another line, without a difference"


def test_printed_numbers_of_whole_test_sets_are_marked_and_never_the_best():
    grids, _ = papers.numbers("musc", PUBLISHED, [], FACTS)
    shown = [cell for grid in grids for _, cells in grid.lines for cell in cells if cell.text not in ("", "–")]
    assert len(shown) == 49
    assert all(cell.text.endswith(TRANSDUCTIVE) and cell.rank == 0 for cell in shown)
    assert any(note.startswith(f"{TRANSDUCTIVE} Transductive") for note in grids[-1].notes)
    assert grids[0].columns[0].title == "MuSc (paper)"
    assert dict(grids[0].lines)["MVTecAD"][0].text == "–", "what is built and was not run is a dash"
