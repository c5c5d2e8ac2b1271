# pytest tests/leaderboard/test_paper_tables.py
"""The papers' tables from rows: FAPrompt's own averages come out, and differences only where they may be shown."""

from __future__ import annotations

import dataclasses
import re

import pytest

from tests.made_up_rows import make_row
from zsad_bench import registry
from zsad_bench.assets import data_folder
from zsad_bench.leaderboard.tables import claims, papers, render
from zsad_bench.leaderboard.tables.averaging import pools
from zsad_bench.leaderboard.tables.comparability import why_not
from zsad_bench.leaderboard.tables.mixed_rows import refuse_mixed
from zsad_bench.leaderboard.tables.published import Facts, fidelity, read_published
from zsad_bench.leaderboard.tables.status import states
from zsad_bench.protocol import with_own_backbones
from zsad_bench.variant import PLAIN, Variant, from_text

PUBLISHED = read_published()
COUNTS = {p.scope: (6, 4) for p in PUBLISHED if p.table in ("faprompt_1", "faprompt_2")}
FACTS = Facts(
    titles={"faprompt": "FAPrompt", "clip": "CLIP", "visa": "VisA", "btad": "BTAD"},
    built=frozenset({"faprompt", "clip", "anomalyclip", "dive", "cocoop"}),
    official=frozenset({"faprompt", "anomalyclip"}),
    counts=COUNTS,
    footnotes={"br35h": "Br35H and BrainMRI share image files."},
)
OWN_AVERAGES = {  # FAPrompt's Table 3
    "image_auroc": (88.5, 91.0), "image_ap": (87.5, 93.0), "pixel_auroc": (95.0, 85.7),
    "pixel_aupro_legacy200": (85.6, 66.2),
}  # fmt: skip


def printed_as_rows(method="faprompt", variant='fidelity="official"', **changes):
    """The printed numbers of one method of Tables 1 and 2 as if they had been measured."""
    return [
        make_row(
            **{
                "method": method, "variant": variant, "prior": "rich", "target": p.scope, "category": "all",
                "auxiliary": "visa" if p.scope == "mvtec" else "mvtec", "metric": p.metric, "value": p.value,
                "backbone": "ViT-L-14-336-quickgelu", "image_size": 518, "suite": "paper", **changes,
            }
        )
        for p in PUBLISHED
        if p.table in ("faprompt_1", "faprompt_2") and p.entry.method == method
    ]  # fmt: skip


def mean_of(rows):
    (pool,) = pools(rows, lambda row: row.method).values()
    return pool.mean()


def text(grids, line, title):
    (grid,) = [g for g in grids if any(label == line for label, _ in g.lines)][:1]
    place = [column.title for column in grid.columns].index(title)
    return dict(grid.lines)[line][place].text


def test_every_published_number_is_read():
    assert len(PUBLISHED) == 594 + 128 + 60 + 20 + 213 + 41 + 36 + 49 + 690 + 5 + 7
    assert {p.table for p in PUBLISHED} == set(papers.TABLES)
    assert all(0 <= p.value <= 1 for p in PUBLISHED), "published numbers must be fractions once they are read"


@pytest.mark.parametrize("metric", OWN_AVERAGES)
def test_faprompts_own_averages_from_the_published_rows(metric):
    name = "faprompt_1" if metric.startswith("image") else "faprompt_2"
    grids, _ = papers.numbers(name, PUBLISHED, printed_as_rows(), FACTS)
    (grid,) = [g for g in grids if g.title.endswith(papers.METRICS[metric])]
    for domain, own in zip(("industrial", "medical"), OWN_AVERAGES[metric], strict=True):
        count = len(papers.targets_of(PUBLISHED, metric, domain))
        line = f"{domain.capitalize()} mean ({count})"
        assert text([grid], line, "FAPrompt (official)") == f"{own:.1f}", f"{line} from rows is not the paper's own"
        assert text([grid], line, "FAPrompt: printed") == f"{own:.1f}", f"{line} of the printed numbers is not its own"
        assert text([grid], line, "Δ") == "0.0"


def test_the_means_leave_mvtec_out():
    rows = [r for r in printed_as_rows() if r.target != "mvtec"] + [
        make_row(method="faprompt", variant='fidelity="official"', prior="rich", target="mvtec", value=0.0)
    ]
    grids, _ = papers.numbers("faprompt_1", PUBLISHED, rows, FACTS)
    assert text(grids, "Industrial mean (8)", "FAPrompt (official)") == "88.5", "MVTecAD entered FAPrompt's mean"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"variant": ""}, "fidelity paper"),
        ({"backbone": "tiny"}, "backbone tiny"),
        ({"variant": 'fidelity="official",image_size=336', "image_size": 336}, None),
        ({"image_size": 336}, "image size 336"),
        ({"auxiliary": "dtd"}, "auxiliary set dtd"),
        ({"n_images": 11}, "counts of visa: 7 \\+ 4"),
        ({"n_skipped": 1}, "images skipped 1"),
        ({"remark": "generic details"}, "remark generic details"),
        ({"data_options": "variant=all"}, "data options"),
    ],
)
def test_a_difference_only_where_comparable(changes, why):
    rows = [row for row in printed_as_rows(**changes) if row.target == "visa"]
    _, numbers = papers.numbers("faprompt_1", PUBLISHED, rows, FACTS)
    found = [n for n in numbers if n.scope == "visa" and n.rows]
    if why is None:
        assert not found, "other settings than the paper's are another line"
        return
    assert found, "the measured number is not shown"
    assert all(n.difference is None for n in found), f"a difference although {changes}"
    assert re.search(why, found[0].why_not), found[0].why_not


def test_exact_aupro_and_dives_metrics_are_never_compared():
    rows = printed_as_rows(metric="pixel_aupro")
    _, numbers = papers.numbers("faprompt_2", PUBLISHED, rows, FACTS)
    assert not [n for n in numbers if n.measured.mean is not None], "exact AUPRO is in the column of the other form"
    rows = [
        make_row(method="dive", prior="limited", auxiliary="dtd", target=t, metric=m, value=0.5, image_size=518,
                 backbone="ViT-L-14-336-quickgelu")
        for t in ("mvtec", "visa") for m in ("image_auroc", "pixel_aupro")
    ]  # fmt: skip
    grids, numbers = papers.numbers("dive_ablation", PUBLISHED, rows, FACTS)
    compared = {(n.metric, n.scope) for n in numbers if n.difference is not None}
    assert compared == {("image_auroc", "mvtec"), ("image_auroc", "visa")}
    assert any("which form DIVE's is, is not known" in note for note in grids[-1].notes)


def test_partial_means_say_what_they_cover_and_are_never_bold():
    rows = [row for row in printed_as_rows() if row.target != "visa"] + printed_as_rows("clip", "")
    grids, numbers = papers.numbers("faprompt_1", PUBLISHED, rows, FACTS)
    assert text(grids, "Industrial mean (8)", "FAPrompt (official)") == "89.1 (7/8)"
    cells = dict(grids[0].lines)["Industrial mean (8)"]
    titles = [column.title for column in grids[0].columns]
    assert cells[titles.index("FAPrompt (official)")].rank == 0, "a mean over fewer datasets was the best"
    assert next(n.difference for n in numbers if n.scope == "industrial" and n.entry.method == "faprompt") is None
    assert "Br35H and BrainMRI share image files." in grids[-1].notes


def test_mean_and_sd_over_seeds_and_draws():
    rows = printed_as_rows(seed=0, value=0.80) + printed_as_rows(seed=1, value=0.90)
    rows += printed_as_rows(seed=0, draw=1, value=1.0)
    grids, _ = papers.numbers("faprompt_1", PUBLISHED, rows, FACTS)
    assert text(grids, "VisA", "FAPrompt (official)") == "90.0 ± 10.0", "sd of 80, 90, 100 is 10"


@pytest.mark.parametrize("name", papers.TABLES)
def test_every_table_has_three_formats(name):
    rows = printed_as_rows() + printed_as_rows("clip", "")
    grids, numbers = papers.numbers(name, PUBLISHED, rows, FACTS)
    printed = {round(100 * p.value, 1) for p in PUBLISHED if p.table == name}
    page, tex = render.markdown_page(grids, "T", "c"), render.latex(grids, "c")
    for value in printed:
        assert f"{value:.1f}" in page, f"{value} of {name} is not in its Markdown"
        assert f"{value:.1f}" in tex, f"{value} of {name} is not in its LaTeX"
    alone = ("musc", "tps")  # all numbers of one are transductive, the other has one column: nothing is the best
    for mark, text_with_it in (("<ins>", page), ("**", page), ("\\underline{", tex), ("\\textbf{", tex)) * (
        name not in alone
    ):
        assert mark in text_with_it, f"{name} marks nothing with {mark}"
    assert tex.count("\\begin{table}") == tex.count("\\end{table}") == len(grids)
    assert numbers


def test_the_preset_of_a_variant():
    official, augmented = {"fidelity": "official"}, {"fidelity": "official", "augment": ["flip"]}
    asked = [PLAIN, Variant(official), Variant(augmented), Variant({"augment": ["flip"]}), from_text("who knows")]
    presets = [fidelity(variant, "faprompt", FACTS) for variant in asked]
    assert presets == ["paper", "official", "official", "paper", "unknown"], "what is not certain must not be guessed"
    assert [fidelity(variant, "clip", FACTS) for variant in asked] == [""] * 5


@pytest.mark.parametrize("kind", ["mapping", "text of schema 1"])
def test_an_augmented_line_is_not_the_paper_s(kind):
    text = 'fidelity="official",augment=flip'
    variant = text if kind != "mapping" else Variant({"fidelity": "official", "augment": ["flip"]})
    rows = printed_as_rows() + printed_as_rows(variant=variant, value=0.1)
    _, numbers = papers.numbers("faprompt_1", PUBLISHED, rows, FACTS)
    found = [number for number in numbers if number.entry.method == "faprompt" and number.rows]
    assert found, "the line itself is gone"
    assert {row.variant for number in found for row in number.rows} == {Variant({"fidelity": "official"})}


@pytest.mark.parametrize("number", [3, 4, 5])
def test_the_recipes_compute_every_line_of_the_ablations(number):
    import yaml

    recipe = yaml.safe_load((data_folder("recipes") / f"faprompt_table_{number}.yaml").read_text())
    planned = []
    for given in recipe["methods"]:
        ((name, settings),) = given.items() if isinstance(given, dict) else ((given, {}),)
        for one in settings if isinstance(settings, list) else [settings]:
            planned.append((name, Variant(one)))
    entries = dict.fromkeys(p.entry for p in PUBLISHED if p.table == f"faprompt_{number}" and p.entry.settings)
    for entry in entries:
        found = [variant for name, variant in planned if name == entry.method and entry.meant(variant)]
        assert len(found) == 1, f"{FACTS.name(entry)} is {found} in the recipe, expected one variant"


def test_the_headline_claims():
    _, records = claims.table(PUBLISHED, [], FACTS)
    dive = {r["metric"]: r for r in records if r["claim"].startswith("DIVE")}
    weakest = {metric: round(100 * r["printed_over_weakest"], 1) for metric, r in dive.items()}
    assert weakest == {metric: r["claimed"] for metric, r in dive.items()}, "DIVE's figures are against the weakest"
    best = [round(100 * r["printed_over_best"], 1) for r in dive.values()]
    assert best == [5.7, 8.8, 2.9, 6.1, 5.6]
    up_to = [round(100 * r["printed_over_best"], 1) for r in records if r["claim"] == "FAPrompt, up to"]
    assert up_to == [3.9, 3.0]
    assert all(r["measured_over_best"] is None for r in records)
    rows = printed_as_rows() + printed_as_rows("clip", "")
    measured = [r for r in claims.table(PUBLISHED, rows, FACTS)[1] if r["metric"] == "image_auroc"][1]
    assert measured["measured_best"] == measured["measured_weakest"] == "CLIP"
    assert measured["measured_over_best"] == pytest.approx(0.885 - 0.665, abs=1e-3)


def test_the_state_of_every_published_number():
    found = states(PUBLISHED, printed_as_rows() + printed_as_rows("clip", ""), FACTS)
    assert len(found) == len(PUBLISHED)
    of = {(s.published.table, s.published.entry.method, s.published.scope, s.published.metric): s for s in found}
    done = of["faprompt_1", "faprompt", "visa", "image_auroc"]
    assert (done.state, done.compared) == ("done", True)
    assert done.command == (
        "zsad-bench bench --protocol faprompt --method faprompt --prior rich --targets visa --set fidelity=official"
    )
    assert done.seconds == pytest.approx(0.1 * 10), "10 images at the 0.1 s per image of the rows"
    facts = dataclasses.replace(FACTS, built=frozenset(registry.names("methods")))
    filo = next(one for one in states(PUBLISHED, [], facts) if one.published.entry.method == "filo")
    assert "--set boxes=grounding_dino" in filo.command, "without boxes it is not the printed row"
    assert not filo.published.entry.meant(Variant({"fidelity": "official"}))
    of_before = [p for p in PUBLISHED if p.table.startswith(("faprompt", "dive"))]
    lacking = {one.published.entry.method for one in states(of_before, [], facts) if one.state == "not built"}
    assert lacking == {"tps", "faprompt"}, "FAPrompt's weighted prompts, of its Table 5, are not known"
    shunt = of["dive_limited", "tps", "all", "image_auroc"]
    assert (shunt.state, shunt.command) == ("not built", "")
    assert shunt.why_not == "its method is not built: only its abstract is public"
    assert of["dive_limited", "dive", "all", "image_auroc"].state == "not run"
    assert of["dive_limited", "dive", "all", "image_auroc"].seconds is None, "a cost without rows must be unknown"
    whole = [s for s in found if s.published.table == "faprompt_3" and s.published.entry.label == ""]
    assert {s.state for s in whole if s.published.entry.method == "faprompt"} == {"done"}
    part = states(PUBLISHED, [r for r in printed_as_rows() if r.target == "visa"], FACTS)
    assert "part" in {s.state for s in part if s.published.table == "faprompt_3"}
    only_paper_preset = states(PUBLISHED, printed_as_rows(variant=""), FACTS)
    assert not [s for s in only_paper_preset if s.state == "done"], "another fidelity is not the printed number"


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"backbone": "big", "weights_hash": "w2"}, "backbone"),
        ({"data_hash": "d2"}, "data hash of cloth"),
        ({"weights_hash": "w2"}, "weights hash of tiny"),
        ({"metric_version": "2"}, "metric version of image_auroc"),
    ],
)
def test_mixed_rows_are_refused(changes, what):
    from zsad_bench.errors import RowError

    refuse_mixed([make_row(), make_row(backbone="none", weights_hash="none")], "x")
    with pytest.raises(RowError, match=f"more than one {what}: .*; choose one"):
        refuse_mixed([make_row(), make_row(**changes)], "choose one")


def test_a_method_with_a_backbone_of_its_own_stands_beside_the_others_without_a_difference():
    from zsad_bench.errors import RowError

    own = [make_row(method="blip", backbone=name, weights_hash=f"hash of {name}") for name in ("b1", "b2")]
    refuse_mixed([make_row(), own[0]], "choose one", {"blip"})
    with pytest.raises(RowError, match=r"more than one backbone of blip: b1 .*, b2 .*; choose one"):
        refuse_mixed([make_row(), *own], "choose one", {"blip"})
    with pytest.raises(RowError, match="more than one data hash of cloth"):
        refuse_mixed(
            [make_row(), make_row(method="blip", backbone="b1", weights_hash="w1", data_hash="d2")],
            "choose one",
            {"blip"},
        )
    printed = next(one for one in PUBLISHED if one.entry.method == "blip" and one.scope == "visa")
    rows = [make_row(method="blip", backbone="b1", target="visa", metric=printed.metric)]
    said = why_not(printed, rows, ["visa"], FACTS, mean_of(rows))
    assert said == "backbone and image size of this method are not stated in the paper"


ELPV = {"clip": ("59.2", "71.7"), "clip_ac": ("69.4", "80.2"), "winclip": ("74.0", "86.0")}  # FAPrompt, Table 1


def elpv_rows(**changes):
    """Made-up rows of the recipes `elpv_published`, each a point above what is printed."""
    printed = {(p.entry.method, p.metric): p.value for p in PUBLISHED if p.table == "faprompt_1" and p.scope == "elpv"}
    kinds = {
        "clip": {"backbone": "ViT-L-14-336-quickgelu", "image_size": 518},
        "clip_ac": {"backbone": "ViT-L-14-336-quickgelu", "image_size": 518},
        "winclip": {"backbone": "ViT-B-16-plus-240", "image_size": 240, "variant": 'fidelity="official"',
                    "weights_hash": "w2"},
    }  # fmt: skip
    return [
        make_row(**{"method": method, "suite": "paper", "target": "elpv", "category": "elpv", "metric": metric,
                    "value": printed[method, metric] + 0.01, "n_images": 1092, "n_anomalous": 715, **kind, **changes})
        for method, kind in kinds.items() for metric in ("image_auroc", "image_ap")
    ]  # fmt: skip


def test_the_printed_cells_of_elpv_stand_beside_measured_ones():
    facts = dataclasses.replace(FACTS, built=FACTS.built | set(ELPV), official=FACTS.official | {"winclip"},
                                titles={**FACTS.titles, "clip_ac": "CLIP-AC", "winclip": "WinCLIP", "elpv": "ELPV"},
                                counts={**COUNTS, "elpv": (377, 715)})  # fmt: skip
    grids, numbers = papers.numbers("faprompt_1", PUBLISHED, elpv_rows(), facts)
    for method, printed in ELPV.items():
        for grid, value in zip(grids, printed, strict=True):
            assert text([grid], "ELPV", f"{facts.title(method)}: printed") == value
    compared = [n for n in numbers if n.scope == "elpv" and n.rows]
    assert {n.entry.method for n in compared} == set(ELPV)
    assert [round(n.difference, 9) for n in compared] == [0.01] * 6, [n.why_not for n in compared]
    refuse_mixed(elpv_rows(), "choose one", with_own_backbones("paper"))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"backbone": "ViT-L-14-336-quickgelu"}, "backbone ViT-L-14-336-quickgelu, the paper ViT-B-16-plus-240"),
        ({"image_size": 518}, "image size 518, the paper 240"),
    ],
)
def test_winclips_printed_numbers_are_on_its_own_backbone(changes, why):
    printed = next(p for p in PUBLISHED if p.entry.method == "winclip" and p.scope == "elpv")
    rows = [row for row in elpv_rows(**changes) if (row.method, row.metric) == ("winclip", printed.metric)]
    facts = dataclasses.replace(FACTS, official=frozenset({"winclip"}), counts={"elpv": (377, 715)})
    assert why_not(printed, rows, ["elpv"], facts, mean_of(rows)) == why
