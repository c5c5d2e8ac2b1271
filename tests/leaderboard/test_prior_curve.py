# pytest tests/leaderboard/test_prior_curve.py
"""Quality against the prior, from rows whose curves are known."""

from __future__ import annotations

import numpy as np
import pytest

from tests.made_up_rows import make_row
from zsad_bench.leaderboard.tables.prior_curve import curves, table
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
    assert [cell.text for cell in cells] == ["50.0", "55.0 (3/4)", "60.0", "", "+1.00", "+1.00 to +1.00", "3/4"]
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
