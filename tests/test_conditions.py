# pytest tests/test_conditions.py
"""What the name of a condition says, and how a row says it."""

from __future__ import annotations

import pytest

from zsad_bench.conditions import Condition, of_options, parse, split
from zsad_bench.errors import UsageError

NOISE, GERMAN = Condition("corruption", "gaussian_noise", 3), Condition("wording", "german")


@pytest.mark.parametrize(("text", "condition"), [("gaussian_noise:3", NOISE), ("wording:german", GERMAN)])
def test_a_text_is_a_condition_and_back(text, condition):
    assert parse(text) == condition
    assert str(condition) == text
    assert of_options(f"a=b,{condition.kind}={condition.value},mask_rule=legacy") == condition


def test_how_people_read_them():
    assert (NOISE.words, GERMAN.words) == ("gaussian noise, severity 3", "wording german")


@pytest.mark.parametrize("text", ["", "jpeg", "jpeg:0", "jpeg:6", "jpeg:33", "wording:", "JPEG:3", "jpeg:3 ", "a b:3"])
def test_what_is_none(text):
    with pytest.raises(UsageError, match="expected a corruption and a severity from 1 to 5") as refused:
        parse(text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "options",
    ["", "mask_rule=legacy", "prompt_names=raw,variant=all", "nocorruption=jpeg:3", "corruption=jpeg:9"],
)
def test_rows_without_one(options):
    assert of_options(options) is None


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("visa", ("visa", "")),
        ("visa:pcb1@jpeg:3", ("visa:pcb1", "jpeg:3")),
        ("folder:/a@b/c", ("folder:/a@b/c", "")),
        ("folder:/a@b/c@wording:german", ("folder:/a@b/c", "wording:german")),
        ("@jpeg:3", ("@jpeg:3", "")),
    ],
)
def test_targets_under_conditions(target, parts):
    assert split(target) == parts
