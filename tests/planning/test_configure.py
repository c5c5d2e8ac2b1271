# pytest tests/methods/test_configure.py
"""Overrides from the command line: read as people mean them, checked against the configuration they go into."""

from __future__ import annotations

from typing import Literal

import pytest

from zsad_bench import registry
from zsad_bench.errors import UnknownNameError, UsageError
from zsad_bench.methods.anomalyclip import AnomalyClipConfig
from zsad_bench.planning import configure as module
from zsad_bench.planning.configure import build, configure, necessary, parse_settings
from zsad_bench.planning.suite import DEMO


def test_values_are_read_as_yaml():
    found = parse_settings(["lr=1e-4", "taps=[6, 12]", "fidelity=official", "truncate_context=false", " n_ctx =3",
                            "gaussian_sigma=null", "normal_prompt=a = b"])  # fmt: skip
    assert found == {
        "lr": 1e-4, "taps": [6, 12], "fidelity": "official", "truncate_context": False, "n_ctx": 3,
        "gaussian_sigma": None, "normal_prompt": "a = b",
    }  # fmt: skip
    assert isinstance(found["lr"], float), "YAML 1.1 takes 1e-4 for a text"
    assert parse_settings(["a=1", "a=2"]) == {"a": 2}, "the last one counts"


@pytest.mark.parametrize("entry", ["lr", "=3", " =3", "lr=[1", "lr={", "lr=2024-13-45"])
def test_what_is_no_setting_is_told_in_one_line(entry):
    with pytest.raises(UsageError, match="--set") as caught:
        parse_settings([entry])
    assert "\n" not in str(caught.value)
    assert entry in str(caught.value), "the message does not show what was given"


def test_configuration_is_typed():
    found = configure("anomalyclip", {"lr": 1, "taps": [1, 2], "seed": 4, "gaussian_sigma": None})
    expected = AnomalyClipConfig(lr=1.0, taps=(1, 2), seed=4)
    assert found == expected
    assert isinstance(found.lr, float), "a whole number is a rate all the same, and hashes like one"
    assert isinstance(found.taps, tuple), "configurations are frozen and hashable"
    assert configure("anomalyclip", {}) == AnomalyClipConfig()


@pytest.mark.parametrize("method", registry.names("methods"))
def test_what_is_plainly_of_its_type_is_what_the_parser_would_make_of_it(method, monkeypatch):
    """To the last type: 1 and 1.0 are equal and have another hash in a key."""
    cls = registry.load("methods", method).Config
    for overrides in ({}, DEMO.overrides_for(method)):
        monkeypatch.setattr(module, "_is_plainly", lambda value, declared: False)
        by_parser = module._configure(method, cls, {"image_size": 96, **overrides})
        monkeypatch.undo()
        monkeypatch.setattr(module, "_parser", lambda cls: pytest.fail("a parser was made"))
        assert repr(module._configure(method, cls, {"image_size": 96, **overrides})) == repr(by_parser)
        monkeypatch.undo()


@pytest.mark.parametrize(
    ("value", "declared", "plain"),
    [
        (1, int, True), (True, int, False), (1, float, False), (1.0, float, True), ("a", str, True),
        (None, int, False), (True, bool, True), (1, bool, False), ("a", Literal["a", "b"], True),
        ("c", Literal["a", "b"], False), (True, Literal[1, 2], False), ([1], tuple[int, ...], False),
        (1.0, float | None, True), (1, float | None, False), (None, float | None, True), (1, int | float, False),
        ("a", Literal["a"] | None, True), (1, int | str | None, False),
    ],
)  # fmt: skip
def test_only_simple_values_are_plainly_of_a_type(value, declared, plain):
    assert module._is_plainly(value, declared) is plain


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("lrr", "unknown option of anomalyclip 'lrr'; did you mean lr"),
        ("deepdepth", "did you mean deep_depth"),
        ("zzz", "known: activation, batch_size"),
    ],
)
def test_an_unknown_field_lists_the_nearest(key, said):
    with pytest.raises(UnknownNameError) as caught:
        configure("anomalyclip", {key: 1})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lr", "fast"),
        ("n_ctx", 1.5),
        ("n_ctx", None),
        ("taps", 3),
        ("taps", ["a"]),
        ("fidelity", "offical"),
        ("truncate_context", "maybe"),
        ("pos_interp", "nearest"),
    ],
)
def test_a_value_of_another_type_is_told_in_one_line(key, value):
    with pytest.raises(UsageError) as caught:
        configure("anomalyclip", {key: value})
    line = str(caught.value)
    assert line.startswith(f"anomalyclip: {key}={value!r} does not fit; expected ")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("key", "wrong", "expected"),
    [
        ("deep_depth", "deep", "int | None"),
        ("taps", 3, "tuple[int, ...] | None; a list is written taps=[3]"),
        ("deep_token_cast", "fp8", "DeepTokenCast | None"),
    ],
)
def test_a_field_that_is_filled_in_may_be_left_open(key, wrong, expected):
    assert configure("anomalyclip", {key: None}) == AnomalyClipConfig()
    with pytest.raises(UsageError) as caught:
        configure("anomalyclip", {key: wrong})
    assert str(caught.value) == f"anomalyclip: {key}={wrong!r} does not fit; expected {expected}"


def test_choices_are_listed():
    with pytest.raises(UsageError, match=r"one of bilinear, bicubic, bicubic_antialias"):
        configure("clip", {"pos_interp": "nearest"})
    with pytest.raises(UsageError, match=r"paper.*official"):
        configure("anomalyclip", {"fidelity": "offical"})


def test_the_runs_seed_goes_where_it_is_asked_for(mini):
    settings = {"image_size": 32}
    assert build("anomalyclip", mini, settings, seed=5).config.seed == 5
    assert build("random", mini, settings, seed=5).config.seed == 5
    assert build("random", mini, {**settings, "seed": 2}, seed=5).config.seed == 2, "one that is set stays"
    assert not hasattr(build("clip", mini, settings, seed=5).config, "seed")


# --- what settings say ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "settings", "left"),
    [
        ("faprompt", {"fidelity": "official", "n_prompts": 10, "n_patches": 10}, {"fidelity": "official"}),
        ("faprompt", {"fidelity": "official", "n_prompts": 3}, {"fidelity": "official", "n_prompts": 3}),
        ("anomalyclip", {"fidelity": "paper", "temperature": 0.07, "epochs": 15, "truncate_context": False}, {}),
        ("cocoop", {"preset": "zsad"}, {"preset": "zsad"}),
        ("clip", {"image_size": 32, "temperature": 0.5}, {"temperature": 0.5}),
    ],
)
def test_what_changes_nothing_is_no_part_of_a_variant(mini, method, settings, left):
    built = build(method, mini, {"image_size": 32, **settings}, 7)
    assert necessary(built, method, settings, {"image_size": 32}) == left


@pytest.mark.parametrize("method", registry.names("methods"))
def test_a_configuration_that_is_spelled_out_is_the_method_as_it_is(method, mini_for):
    beneath = {"image_size": 48}
    plain = build(method, mini_for(method), beneath, 7)
    spelled = {key: value for key, value in plain.resolved_config().items() if key != "seed"}
    built = build(method, plain.backbone, spelled, 7)
    assert built.resolved_config() == plain.resolved_config()
    assert necessary(built, method, spelled, beneath) == {}
