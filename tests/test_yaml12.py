# pytest tests/test_yaml12.py
"""Numbers by YAML 1.2, the same in recipes, `--set` and prompt files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from zsad_bench import yaml12
from zsad_bench.errors import UsageError
from zsad_bench.planning import recipe
from zsad_bench.planning.configure import parse_settings
from zsad_bench.prompts.lexicon import read_lexicon

NUMBERS = {
    "1e-4": 1e-4, "1E5": 1e5, "-2e3": -2e3, "+.5": 0.5, "1.": 1.0, "3.5e+2": 350.0, "7": 7, "-12": -12, "010": 10,
    "0o17": 15, "0xff": 255, ".inf": math.inf, "-.INF": -math.inf,
}  # fmt: skip
TEXTS = ("1_000", "1:30", "0b11", "1e", "e5", ".", "+", "inf", "nan", "infinity", "1.2.3", "'1e-4'", '"7"')


@pytest.mark.parametrize("text", NUMBERS)
def test_a_plain_number_is_a_number_of_its_type(text: str) -> None:
    value = yaml12.load(text)
    assert value == NUMBERS[text]
    assert type(value) is type(NUMBERS[text])
    assert yaml12.load(f"a: [{text}]") == {"a": [value]}
    assert parse_settings([f"lr={text}"]) == {"lr": value}


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_no_number_of_yaml_12_is_a_text(text: str) -> None:
    assert yaml12.load(text) == text.strip("'\"")
    assert parse_settings([f"lr={text}"]) == {"lr": text.strip("'\"")}


def test_nan_is_one() -> None:
    assert math.isnan(yaml12.load(".nan"))


def test_the_rest_is_as_pyyaml_has_it() -> None:
    text = "a: [true, yes, null, ~, 2024-05-06, text]\nb: {c: ''}"
    assert yaml12.load(text) == yaml.safe_load(text)
    with pytest.raises(ValueError):
        yaml12.load("2024-99-99")
    with pytest.raises(yaml.YAMLError):
        yaml12.load("[1,")


def test_the_loader_of_others_is_left_alone() -> None:
    assert yaml.safe_load("1e-4") == "1e-4"
    assert yaml.safe_load("010") == 8


def test_recipes_read_them_alike(tmp_path: Path) -> None:
    file = tmp_path / "numbers.yaml"
    file.write_text("suite: demo\nmethods:\n  - dive: {lr: 1e-4, n_ctx: 010}\npriors: [limited]\n", encoding="utf-8")
    (block,) = recipe.load(file).blocks
    assert block.variants[0].settings == {"lr": 1e-4, "n_ctx": 10}


def test_a_number_is_no_sentence_of_a_lexicon(tmp_path: Path) -> None:
    file = tmp_path / "words.yaml"
    file.write_text("abnormal: [broken]\nnormal:\n  - whole\n  - 1e-4\n", encoding="utf-8")
    with pytest.raises(UsageError, match="line 4: expected a sentence"):
        read_lexicon(str(file))
