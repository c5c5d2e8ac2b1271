# pytest tests/leaderboard/test_prior_curve.py
"""Quality against the prior, from rows whose curves are known."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from tests.made_up_rows import make_row
from zsad_bench.leaderboard.tables.prior_curve import HELD, NOT_HELD, curves, flats, table
from zsad_bench.leaderboard.tables.published import Facts

TARGETS = {"image": ("cloth", "parts"), "pixel": ("cloth",)}
FACTS = Facts(titles={"dive": "DIVE", "cloth": "Cloth"})


def rows_of(prior, draw, value, seed=0, **changes):
    """A run on two datasets, cloth of two categories; its mean is `value`."""
    places = [("cloth", "carpet", value - 0.1), ("cloth", "felt", value + 0.1), ("parts", "nut", value)]
    return [
        make_row(method="dive", prior=prior, draw=draw, seed=seed, target=target, category=category, value=v, **changes)
        for target, category, v in places
    ]


def rising(numbers=(1, 5, 20), draws=30, item="types", noise=0.0):
    generator = np.random.default_rng(0)
    return [
        row
        for draw in range(draws)
        for at, x in enumerate(numbers)
        for row in rows_of(f"mvtec:{item}={x}", draw, 0.5 + 0.05 * at + noise * generator.normal())
    ]


def test_mean_spread_and_correlation_of_a_rising_curve():
    (curve,) = curves([*rising(), *rows_of("mvtec", 0, 0.8), *rows_of("mvtec", 0, 0.82, seed=1)], TARGETS)
    assert (curve.method, curve.prior, curve.axis, curve.metric) == ("dive", "mvtec", "types", "image_auroc")
    assert [point.x for point in curve.points] == [1, 5, 20]
    assert [point.mean for point in curve.points] == pytest.approx([0.5, 0.55, 0.6])
    assert [point.sd for point in curve.points] == pytest.approx([0, 0, 0], abs=1e-12)
    assert curve.whole.mean == pytest.approx(0.81), "what has nothing taken away is shown, not correlated"
    rho = curve.correlation
    assert (rho.value, rho.low, rho.high, rho.n_clusters) == (pytest.approx(1), pytest.approx(1), pytest.approx(1), 30)


def test_noise_gives_a_band_and_an_interval_around_zero():
    noisy = [row for draw in range(30) for row in rows_of("mvtec:shots=4", draw, 0.4 + 0.01 * draw)]
    noisy += [row for draw in range(30) for row in rows_of("mvtec:shots=64", draw, 0.7 - 0.01 * draw)]
    (curve,) = curves(noisy, TARGETS)
    first = curve.points[0]
    assert first.sd == pytest.approx(np.std([0.01 * d for d in range(30)], ddof=1))
    assert 0.4 < first.low < 0.42 < 0.67 < first.high < 0.69, "the middle 95% of the draws"
    assert curve.correlation.low < 0 < curve.correlation.high


def test_a_draw_that_lacks_categories_is_counted_and_not_averaged():
    rows = [row for row in rising(draws=4) if (row.draw, row.category, row.prior) != (3, "nut", "mvtec:types=5")]
    (curve,) = curves(rows, TARGETS)
    assert [len(point.by_draw) for point in curve.points] == [4, 3, 4]
    assert [point.n_draws_found for point in curve.points] == [4, 4, 4]
    assert curve.correlation.n_clusters == 3, "a correlation is over draws that all points have"
    (shown,), records = table([curve], FACTS)
    ((label, cells),) = shown.lines
    assert label == "DIVE · mvtec"
    assert [cell.text for cell in cells] == [
        "50.0", "55.0 (3/4)", "60.0", "", "10.0", "+1.00", "+1.00 to +1.00", "3/4",
    ]  # fmt: skip
    assert [(r["number"], r["n_draws"], r["n_draws_found"]) for r in records] == [(1, 4, 4), (5, 3, 4), (20, 4, 4)]


def test_seeds_of_a_draw_are_one_repetition():
    rows = [*rising(draws=3), *(row for x in (1, 5, 20) for row in rows_of(f"mvtec:types={x}", 0, 0.7, seed=1))]
    (curve,) = curves(rows, TARGETS)
    assert curve.points[0].by_draw == pytest.approx({0: 0.6, 1: 0.5, 2: 0.5})


@pytest.mark.parametrize(
    ("priors", "found"),
    [
        (("mvtec:types=1", "mvtec:types=5", "dtd:types=1"), [("types", "mvtec")]),
        (("mvtec:types=1", "mvtec:types=5:unit=name"), []),
        (("mvtec:types=1:unit=name", "mvtec:types=5:unit=name"), [("types", "mvtec, types by name")]),
        (("mvtec:types=1:shots=4", "mvtec:types=5:shots=4"), [("types", "mvtec:shots=4")]),
        (("mvtec:shots=4:normals=9", "mvtec:shots=8:normals=9"), [("shots", "mvtec:normals=9")]),
        (("mvtec:textures:shots=4", "mvtec:shots=8", "mvtec:shots=9"), [("shots", "mvtec")]),
        (("mvtec:types=1+dtd", "mvtec:types=5+dtd", "none", "@/a:types=1", "@/a:types=2", "a:future=1"), []),
    ],
    ids=str,
)
def test_which_priors_make_a_curve(priors, found):
    rows = [row for prior in priors for row in rows_of(prior, 0, 0.5)]
    assert [(curve.axis, curve.prior) for curve in curves(rows, TARGETS)] == found


def test_only_the_datasets_of_a_mean_count():
    extra = [make_row(method="dive", prior=f"mvtec:types={x}", target="elpv", value=0.0) for x in (1, 5)]
    (curve,) = curves([*rising((1, 5), draws=2), *extra], TARGETS)
    assert curve.datasets == ("cloth", "parts")
    assert curve.points[0].mean == pytest.approx(0.5)


# --- what is lost -----------------------------------------------------------------------------------------------------


def falling(values, prior="mvtec:types=1"):
    return [row for draw, value in enumerate(values) for row in rows_of(prior, draw, value)]


def test_losses_are_from_all_of_the_same_draw_where_that_was_run():
    few, many, whole = [0.5, 0.52, 0.6], [0.55, 0.6, 0.65], [0.7, 0.76, 0.8]
    rows = [*falling(few), *falling(many, "mvtec:types=5")]
    (curve,) = curves([*rows, *falling(whole, "mvtec")], TARGETS)
    lost = [w - f for w, f in zip(whole, few, strict=True)]
    assert curve.loss[:2] == pytest.approx((np.mean(lost), np.std(lost, ddof=1)))
    assert curve.loss[2:] == (3, None, 1, True)
    (shown,), records = table([curve], FACTS)
    assert shown.columns[3].title == "lost"
    assert shown.lines[0][1][3].text == "21.3 ± 2.3"
    assert {(round(r["lost"], 4), r["lost_from"], r["lost_paired"]) for r in records} == {(0.2133, "all", True)}
    assert NOT_HELD in shown.notes

    (curve,) = curves([*rows, *falling([0.7], "mvtec"), *rows_of("mvtec", 0, 0.8, seed=1)], TARGETS)
    assert curve.loss[:2] == pytest.approx((0.75 - np.mean(few), np.std(few, ddof=1))), "one mean for every draw"
    assert curve.loss[2:] == (3, None, 1, False)
    assert "the mean of its runs stands for each" in table([curve], FACTS)[0][0].notes[1]

    (curve,) = curves(rows, TARGETS)
    assert curve.loss[0] == pytest.approx(np.mean(many) - np.mean(few))
    assert curve.loss[2:] == (3, 5, 1, True)
    assert table([curve], FACTS)[0][0].notes[1].endswith('Where "all" was not run, it is from 5.')


def test_what_is_gained_with_less_is_below_zero_and_draws_in_common_decide():
    (curve,) = curves([*falling([0.8, 0.8]), *falling([0.75], "mvtec:types=5")], TARGETS)
    assert curve.loss == (pytest.approx(-0.05), None, 1, 5, 1, True)
    (shown,), _ = table([curve], FACTS)
    assert shown.lines[0][1][3].text == "−5.0"
    later = [row for row in falling([0.3, 0.7], "mvtec:types=5") if row.draw == 1]
    (curve,) = curves([*falling([0.8]), *later], TARGETS)
    assert curve.loss is None
    assert table([curve], FACTS)[0][0].lines[0][1][3].text == "–"


def test_a_held_number_of_images_is_a_curve_of_its_own_and_said():
    rows = [*rising((1, 5), draws=2), *falling([0.5, 0.6], "mvtec:types=1:shots=8")]
    rows += falling([0.52, 0.63], "mvtec:shots=8")
    rows += falling([0.51, 0.6], "mvtec:types=2:shots=8")
    of_types = [curve for curve in curves(rows, TARGETS) if curve.axis == "types"]
    found = [(curve.prior, round(curve.loss.mean, 4)) for curve in of_types]
    assert found == [("mvtec", 0.05), ("mvtec:shots=8", 0.025)]
    assert HELD in table(of_types, FACTS)[0][0].notes


def test_methods_that_learn_nothing_have_one_number_on_the_same_datasets():
    rows = rising((1, 5), draws=2)
    rows += [row for name, value in (("clip", 0.58), ("random", 0.5)) for row in rows_of("none", 0, value, key=name)]
    rows = [*rows[:12], *(replace(row, method=row.key) for row in rows[12:])]
    rows += [make_row(method="clip", prior="none", target="elpv", category="cell", value=0.0)]
    rows += [make_row(method="half", prior="none", target="cloth", category="carpet", value=0.9)]
    found = curves(rows, TARGETS)
    flat = flats(rows, found, ["random"])
    assert [(one.method, round(one.number.mean, 6)) for one in flat] == [("clip", 0.58), ("half", 0.9)]
    (shown,), records = table(found, FACTS, flat)
    assert [label for label, _ in shown.lines] == ["DIVE · mvtec", "clip · learns nothing", "half · learns nothing"]
    texts = [[cell.text for cell in cells] for _, cells in shown.lines]
    assert texts[1] == ["", "", "58.0", "", "", "", ""]
    assert texts[2][2] == "90.0 (1/3 categories)"
    assert all(cell.rank == 0 for cell in shown.lines[2][1]), "it covers less than the others"
    assert [r["number"] for r in records] == [1, 5, "all", "all"]
    assert {r["prior"] for r in records if r["number"] == "all"} == {"none"}
