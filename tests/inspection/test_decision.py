# pytest tests/inspection/test_decision.py
"""Thresholds from good images: the promise is checked by counting, not by what the code computes."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from zsad_bench.errors import CheckpointError, UsageError
from zsad_bench.inspection.decision import calibrate, percent, read, smallest_number


def made(scores, rate=0.1):
    return calibrate(scores, rate, "scorer", {"name": "bolt"}, {"title": "CLIP"})


@given(
    scores=st.lists(st.floats(-1e6, 1e6, width=32), min_size=20, max_size=60),
    rate=st.sampled_from([0.05, 0.1, 0.2, 0.5]),
)
def test_of_exchangeable_images_no_more_fail_than_the_rate_allows(scores, rate):
    """Each of n+1 images in turn is the new one; all turns are equally likely where images are exchangeable."""
    fails = sum(made(scores[:i] + scores[i + 1 :], rate).fails(score) for i, score in enumerate(scores))
    assert fails <= rate * len(scores) + 1e-9


@given(st.lists(st.integers(-(10**6), 10**6), min_size=20, max_size=60, unique=True))
def test_without_ties_just_as_many_fail_as_the_rate_allows(scores):
    fails = sum(made(scores[:i] + scores[i + 1 :], 0.1).fails(score) for i, score in enumerate(scores))
    assert fails == int(0.1 * len(scores) + 1e-9)


@given(
    scores=st.lists(st.floats(-100, 100, width=16), min_size=10, max_size=40),
    new=st.floats(-120, 120, width=16),
    rate=st.sampled_from([0.1, 0.25, 1 / 3]),
)
def test_an_image_fails_where_its_p_value_is_at_most_the_rate(scores, new, rate):
    calibration = made(scores, rate)
    p_value = (1 + sum(score >= new for score in scores)) / (len(scores) + 1)
    assert calibration.p_value(new) == pytest.approx(p_value, abs=0)
    assert calibration.fails(new) == (p_value <= rate + 1e-9)


def test_the_likely_rate_is_what_nine_of_ten_calibrations_keep_to():
    """A rate is exceeded where fewer than k of n good images are in the tail of that mass: a binomial count."""
    calibration = made(np.random.default_rng(0).normal(size=99), 0.05)
    assert calibration.allowed == 5
    assert binom.sf(calibration.allowed - 1, 99, calibration.likely_rate) == pytest.approx(0.9, abs=1e-6)


@pytest.mark.parametrize(("rate", "number"), [(0.01, 99), (0.05, 19), (0.1, 9), (0.001, 999), (0.3, 3)])
def test_so_many_images_and_not_one_less(rate, number):
    assert smallest_number(rate) == number
    made(range(number), rate)
    with pytest.raises(UsageError, match=f"give at least {number} good images"):
        made(range(number - 1), rate)


@given(st.integers(1, 3000))
def test_the_rate_that_a_refusal_names_is_allowed(count):
    with pytest.raises(UsageError) as refused:
        made(range(count), 1e-6)
    named = str(refused.value).rpartition("a rate of ")[2].partition("%")[0]
    assert made(range(count), min(float(named) / 100, 0.999)).allowed == 1


def test_images_with_a_defect_among_the_good_ones_are_named():
    good = np.random.default_rng(0).normal(size=50).tolist()
    assert made(good).unusual == ()
    assert made([*good, 40.0, 50.0]).unusual == (40.0, 50.0)


def test_a_calibration_comes_back_from_its_file(tmp_path):
    calibration = made([3.0, 1.0, 2.0] * 5)
    assert read(calibration.write(tmp_path / "c.json")) == calibration


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("scores"),
        lambda content: content.update(format="something else"),
        lambda content: content.update(scores=[2.0, 1.0]),
        lambda content: content.update(scores=[float("nan")] * 20),
        lambda content: content.update(rate=0.0001),
        lambda content: content.update(rate="much"),
        lambda content: content.update(settings=[]),
        lambda content: content.update(about="today"),
    ],
)
def test_a_file_that_is_no_calibration_is_refused(tmp_path, change):
    path = made(range(20)).write(tmp_path / "c.json")
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="not a calibration"):
        read(path)
    path.write_text("{")
    with pytest.raises(CheckpointError, match="not a calibration"):
        read(path)
    with pytest.raises(UsageError, match="no such file"):
        read(tmp_path / "none.json")


@pytest.mark.parametrize(("rate", "text"), [(0.01, "1%"), (1 / 13, "7.69%"), (0.00025, "0.025%"), (0.5, "50%")])
def test_rates_for_people(rate, text):
    assert percent(rate) == text
