# pytest tests/leaderboard/test_incomplete.py
"""Means that lack categories: every table counts them, and none calls them done, compares or ranks them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.made_up_rows import make_row
from zsad_bench.commands._row_selection import all_facts, groups
from zsad_bench.leaderboard.tables import claims, compare, papers, prior_curve, robustness, status
from zsad_bench.leaderboard.tables.averaging import pools
from zsad_bench.leaderboard.tables.grid import cell, ranked
from zsad_bench.leaderboard.tables.pivot import pivot
from zsad_bench.leaderboard.tables.published import Facts, read_published
from zsad_bench.results.row import Row

PUBLISHED = read_published()
FACTS = all_facts()
VISA = FACTS.categories["visa"]
SETTING = {"suite": "paper", "backbone": "ViT-L-14-336-quickgelu", "image_size": 518}
OFFICIAL = {"prior": "rich", "auxiliary": "mvtec", "variant": {"fidelity": "official"}}
PRINTED = next(
    p for p in PUBLISHED
    if (p.table, p.entry.method, p.scope, p.metric) == ("faprompt_1", "anomalyclip", "visa", "image_auroc")
)  # fmt: skip


def rows_of(method: str, categories=VISA, value=0.7, target="visa", **changes: object) -> list[Row]:
    """A row of each category; those of VisA together have as many images as it has."""
    normal, anomalous = FACTS.counts[target]
    n = len(FACTS.categories[target])
    rows = []
    for category in categories:
        last = category == FACTS.categories[target][-1]
        good, bad = (count // n + (count % n if last else 0) for count in (normal, anomalous))
        fields = {"value": value, "n_images": good + bad, "n_anomalous": bad, **SETTING, **changes}
        rows.append(make_row(method=method, target=target, category=category, **fields))
    return rows


def test_a_pivot_counts_against_the_card_of_the_dataset():
    rows = rows_of("clip", value=0.7) + rows_of("winclip", VISA[:1], value=0.99)
    grid, records = pivot(rows, ["dataset"], ["method"], {}, FACTS, groups("paper"))
    (label, line), *means = grid.lines
    assert label == "VisA"
    assert [(cell.text, cell.rank) for cell in line] == [("70.0", 0), ("99.0 (1/12 categories)", 0)]
    assert [record["n_categories_expected"] for record in records][:2] == [12, 12]
    assert [cell.text for cell in means[0][1]] == ["70.0 (1/9)", "99.0 (1/9)"]


def test_a_variant_of_a_dataset_may_have_fewer_categories_than_its_card():
    """`dagm.variant=prepared1350` has seven of ten classes, and a number over the seven is whole."""
    seven = FACTS.categories["dagm"][:7]
    rows = [make_row(target="dagm", category=c, value=0.7, data_options="variant=prepared1350") for c in seven]
    grid, _ = pivot(rows, ["dataset"], ["method"], {}, FACTS)
    assert [cells[0].text for _, cells in grid.lines] == ["70.0"]
    grid, _ = pivot([replace(row, data_options="") for row in rows], ["dataset"], ["method"], {}, FACTS)
    assert [cells[0].text for _, cells in grid.lines] == ["70.0 (7/10 categories)"]


def test_a_pivot_counts_against_the_rows_of_other_methods_where_there_is_no_card():
    rows = [make_row(category=c) for c in ("carpet", "grid")] + [make_row(method="dive", value=0.9)]
    grid, _ = pivot(rows, ["method"], ["metric"], {}, Facts())
    assert {label: cells[0].text for label, cells in grid.lines} == {
        "clip": "50.0",
        "dive": "90.0 (1/2 categories)",
    }


def test_a_pivot_whose_axis_is_categories_lacks_none():
    rows = rows_of("clip", VISA[:2])
    grid, _ = pivot(rows, ["category"], ["method"], {}, FACTS)
    assert [cells[0].text for _, cells in grid.lines] == ["70.0", "70.0"]


def test_a_papers_table_and_the_comparison_count_what_is_missing():
    rows = rows_of("anomalyclip", VISA[:1], value=0.99, **OFFICIAL)
    grids, _ = papers.numbers("faprompt_1", PUBLISHED, rows, FACTS)
    shown = {label: [cell.text for cell in cells] for label, cells in grids[0].lines}
    assert "99.0 (1/12 categories)" in shown["VisA"]
    (found,) = compare.comparisons([PRINTED], rows, FACTS)
    assert (found.measured.n_categories, found.measured.n_expected) == (1, 12)


@pytest.mark.parametrize(("n", "state", "missing"), [(1, status.PART, ("visa",)), (12, status.DONE, ())])
def test_a_number_is_done_when_every_category_is(n, state, missing):
    (found,) = status.states([PRINTED], rows_of("anomalyclip", VISA[:n], **OFFICIAL), FACTS)
    assert (found.state, found.targets) == (state, missing)


def test_of_a_mean_the_datasets_that_lack_categories_are_left_to_run():
    printed = next(p for p in PUBLISHED if p.table == "dive_limited" and p.metric == "image_auroc" and not p.note)
    targets = papers.Numbers(papers.TABLES["dive_limited"], PUBLISHED, [], FACTS).targets("image_auroc", "all")
    rows = []
    for target in targets:
        names = FACTS.categories[target]
        fields = {"prior": "limited", "auxiliary": "dtd", "target": target}
        if printed.entry.method in FACTS.official:
            fields["variant"] = {"fidelity": "official"}
        rows += rows_of(printed.entry.method, names[:1] if target == "visa" else names, **fields)
    (found,) = status.states([printed], rows, FACTS)
    assert (found.state, found.targets) == (status.PART, ("visa",))


def test_a_claim_is_over_whole_datasets():
    claim = next(c for c in claims.CLAIMS if (c.method, c.metric, c.scope) == ("faprompt", "image_auroc", "industrial"))
    numbers = papers.Numbers(papers.TABLES["faprompt_1"], PUBLISHED, [], FACTS)
    rows, partial = [], []
    for target in numbers.targets("image_auroc", "industrial"):
        names = FACTS.categories[target]
        rows += rows_of("faprompt", names, 0.9, target, **OFFICIAL)
        rows += rows_of("anomalyclip", names, 0.8, target, **OFFICIAL)
    partial = [r for r in rows if r.method == "faprompt" or r.category == FACTS.categories[r.target][0]]
    whole, lacking = (
        claims.gains(claim, papers.Numbers(papers.TABLES["faprompt_1"], PUBLISHED, of, FACTS))[1]
        for of in (rows, partial)
    )
    assert whole.over_best == pytest.approx(0.1)
    assert lacking.over_best is None, "the competitor is over one category of each dataset"


def test_a_curve_counts_against_what_other_curves_have():
    rows = [
        make_row(method=method, prior=f"mvtec:types={n}", category=category)
        for method, categories in (("dive", ("carpet", "grid")), ("coop", ("carpet",)))
        for n in (1, 5)
        for category in categories
    ]
    targets = {"image": ("cloth",)}
    curves = prior_curve.curves(rows, targets, resamples=10)
    assert {c.method: (c.n_categories, c.n_expected) for c in curves} == {"dive": (2, 2), "coop": (1, 2)}


def test_a_change_counts_against_what_other_lines_have():
    rows = [make_row(method=m, category=c) for m, c in (("clip", "carpet"), ("clip", "grid"), ("dive", "carpet"))]
    rows += [replace(row, data_options="corruption=jpeg:1", value=0.4) for row in rows]
    found = {line.method: line for line in robustness.lines(rows, {"image": ("cloth",)})}
    assert found["dive"].clean.n_expected == 2
    assert set(found["dive"].n_expected.values()) == {2}


def test_a_mean_that_lacks_categories_has_no_difference():
    stopped = rows_of("anomalyclip", VISA[:3], value=0.99, seed=0, **OFFICIAL)
    rows = stopped + rows_of("anomalyclip", VISA[3:], value=0.8, seed=1, **OFFICIAL)
    (found,) = compare.comparisons([PRINTED], rows, FACTS)
    assert (found.why_not, found.difference) == ("9 of 12 categories", None)
    _, numbers = papers.numbers("faprompt_1", PUBLISHED, rows, FACTS)
    (number,) = (n for n in numbers if n.rows and (n.metric, n.scope) == ("image_auroc", "visa"))
    assert (number.why_not, number.difference) == ("9 of 12 categories", None)


def test_counts_are_of_the_runs_that_are_averaged():
    whole = rows_of("anomalyclip", value=0.8, seed=0, **OFFICIAL)
    stopped = [replace(row, n_images=5, n_anomalous=2) for row in rows_of("anomalyclip", VISA[:3], seed=1, **OFFICIAL)]
    (found,) = compare.comparisons([PRINTED], whole + stopped, FACTS)
    assert (found.why_not, found.measured.n_runs, found.measured.n_runs_found) == ("", 1, 2)
    other = [replace(row, n_images=row.n_images + 1, seed=2) for row in whole]
    (found,) = compare.comparisons([PRINTED], whole + other, FACTS)
    assert found.why_not == "counts of visa: 974 + 1200 images, the paper 962 + 1200", "each averaged run counts"


def test_a_mean_of_printed_numbers_is_compared_with_a_complete_one_only():
    lookup = papers.Numbers(papers.TABLES["faprompt_1"], PUBLISHED, [], FACTS)
    targets = lookup.targets("image_auroc", "industrial")
    rows = []
    for seed, target in enumerate(targets):
        rows += rows_of("anomalyclip", FACTS.categories[target], 0.8, target, seed=seed, **OFFICIAL)
    _, numbers = papers.numbers("faprompt_1", PUBLISHED, rows, FACTS)
    of_target, of_all = (
        [n for n in numbers if n.rows and (n.metric, n.scope) == ("image_auroc", scope)]
        for scope in (targets[0], "industrial")
    )
    assert of_target[0].difference is not None
    assert of_all[0].difference is None
    assert of_all[0].why_not.endswith("categories")


# As many categories, but different ones.


def made(places: dict[str, float], **changes: object) -> list[Row]:
    """places: "dataset_category" -> value."""
    return [
        make_row(target=name.split("_")[0], category=name.split("_")[1], value=value, **changes)
        for name, value in places.items()
    ]


def test_runs_over_different_categories_are_not_averaged():
    rows = made({"cloth_carpet": 0.9, "parts_bolt": 0.9}, seed=0)
    rows += made({"parts_bolt": 0.9, "photos_all": 0.3}, seed=1)
    (mean,) = (pool.mean() for pool in pools(rows, lambda row: row.metric).values())
    assert (mean.mean, mean.sd, mean.n_runs, mean.n_runs_found) == (0.9, None, 1, 2)
    assert (mean.n_categories, mean.n_expected, mean.datasets) == (2, 3, ("cloth", "parts"))
    assert mean.runs == ((0, 0),)
    assert cell(mean).text == "90.0 (2/3 categories) (1/2 runs)"


def test_the_categories_that_most_runs_have_are_averaged():
    rows = made({"cloth_carpet": 0.2}, seed=0) + made({"parts_bolt": 0.4}, seed=1) + made({"parts_bolt": 0.6}, seed=2)
    (mean,) = (pool.mean() for pool in pools(rows, lambda row: row.metric).values())
    assert (mean.mean, mean.runs, mean.datasets) == (pytest.approx(0.5), ((1, 0), (2, 0)), ("parts",))


def test_numbers_over_different_categories_are_not_ranked_against_each_other():
    by_method = pools(
        [
            *made({"cloth_carpet": 0.2, "cloth_grid": 0.2}),
            *made({"cloth_carpet": 0.4, "cloth_grid": 0.4}, method="coop"),
            *made({"cloth_carpet": 0.9, "cloth_wood": 0.9}, method="dive"),
        ],
        lambda row: row.method,
    )
    cells = {name: cell(pool.mean()) for name, pool in by_method.items()}
    assert {name: one.rank for name, one in zip(cells, ranked([*cells.values()]), strict=True)} == {
        "clip": 2,
        "coop": 1,
        "dive": 0,
    }


def test_draws_of_a_curve_over_different_categories_are_not_averaged():
    rows = [
        row
        for n in (1, 5)
        for draw, names, value in (
            (0, ("carpet", "grid"), 0.8),
            (1, ("carpet", "grid"), 0.6),
            (2, ("grid", "wood"), 0.1),
        )
        for row in made({f"cloth_{name}": value for name in names}, prior=f"mvtec:types={n}", draw=draw)
    ]
    (curve,) = prior_curve.curves(rows, {"image": ("cloth",)}, resamples=10)
    assert [sorted(point.by_draw) for point in curve.points] == [[0, 1], [0, 1]]
    assert [(point.mean, point.n_draws_found) for point in curve.points] == [(pytest.approx(0.7), 3)] * 2


def test_changes_over_different_categories_are_not_averaged():
    clean = {"cloth_carpet": 0.8, "cloth_grid": 0.8, "cloth_wood": 0.8}
    rows = [row for seed in (0, 1, 2) for row in made(clean, seed=seed)]
    for seed, names in ((0, ("carpet", "grid")), (1, ("carpet", "grid")), (2, ("grid", "wood"))):
        values = {f"cloth_{name}": 0.1 if seed == 2 else 0.4 for name in names}
        rows += made(values, seed=seed, data_options="corruption=jpeg:1")
    (line,) = robustness.lines(rows, {"image": ("cloth",)})
    (condition,) = line.runs
    change = line.change([condition])
    assert (change.mean, change.n_runs, change.n_runs_found) == (pytest.approx(-0.5), 2, 3)
    assert line.means(condition) == (pytest.approx(0.8), pytest.approx(0.4))
