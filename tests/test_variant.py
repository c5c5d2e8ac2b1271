# pytest tests/test_variant.py
"""A variant is a mapping; old texts become one where that is certain, and what people read can be typed."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsad_bench.planning.configure import parse_settings
from zsad_bench.variant import PLAIN, UNPARSED, Variant, differing, from_text, variant_of

OPTIONS = st.text("abcdefgh_", min_size=1).filter(lambda name: name not in ("augment", "checkpoint", UNPARSED))
SCALARS = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
PRINTABLE = st.text().filter(str.isprintable)
VALUES = SCALARS | st.text() | st.lists(SCALARS | st.text(), max_size=3)
SETTINGS = st.dictionaries(OPTIONS, VALUES, max_size=4)
WORDS = st.lists(st.sampled_from(["flip", "rotate", "colour", "blur"]), max_size=3, unique=True)


def written_by_schema_1(settings: dict, augment: list[str], official: bool = False) -> str:
    parts = ["official checkpoint"] * official
    parts += [f"{key}={json.dumps(value)}" for key, value in sorted(settings.items())]
    return ",".join(parts + ["augment=" + "+".join(augment)] * bool(augment))


@given(SETTINGS, WORDS, st.booleans())
def test_every_text_that_was_written_becomes_its_options(settings, augment, official):
    expected = dict(settings)
    expected |= {"augment": augment} if augment else {}
    expected |= {"checkpoint": "official"} if official else {}
    found = from_text(written_by_schema_1(settings, augment, official))
    assert found == Variant(expected)
    assert json.loads(json.dumps(dict(found))) == expected, "the options are not those that were written"


@given(SETTINGS, WORDS, st.text(",=\"'+[]abu gment", max_size=4), st.integers(0, 40))
def test_a_text_that_says_something_else_stays_one_thing(settings, augment, other, at):
    text = written_by_schema_1(settings, augment)
    damaged = text[:at] + other + text[at:]
    found = from_text(damaged)
    if UNPARSED in found:
        assert (dict(found), str(found)) == ({UNPARSED: damaged}, damaged)
    else:  # it was written so by some other options: then by no others
        official = "checkpoint" in found
        own = {key: value for key, value in found.items() if key not in ("augment", "checkpoint")}
        assert written_by_schema_1(own, list(found.get("augment", ())), official) == damaged


@pytest.mark.parametrize(
    "text",
    [
        "b=1,a=2", "a=1,a=1", "a=1, b=2", "a=01", "a=1,", "a", "=1", "a=NaN", "augment=", "augment=flip,a=1", "x|y",
        'augment="flip"', 'checkpoint="official"', "official checkpoint,", "official checkpoints", "a='x'", "a=1e-4",
    ],
)  # fmt: skip
def test_what_was_never_written_is_not_guessed(text):
    assert dict(from_text(text)) == {UNPARSED: text}


@given(st.dictionaries(OPTIONS, SCALARS | PRINTABLE | st.lists(st.integers() | PRINTABLE, max_size=3), min_size=1))
def test_what_is_printed_can_be_typed(options):
    for key, value in options.items():
        _, _, typed = str(Variant({key: value})).partition("=")
        (found,) = parse_settings([f"{key}={typed}"]).values()
        if isinstance(value, str) and isinstance(found, float):  # `--set` takes any "1e3" for the number
            assert float(value) == found or value == typed.strip('"')
        else:
            assert (type(found), found) == (type(value), value), f"{value!r} is printed as {typed}"


def test_how_people_read_it():
    read = {
        "": {},
        "augment=[flip, blur], fidelity=official": {"fidelity": "official", "augment": ("flip", "blur")},
        "deep=false, lr=0.5, n=3, taps=[2, 4]": {"taps": [2, 4], "n": 3, "lr": 0.5, "deep": False},
        'a="two words", b="true", c=null, d=[]': {"a": "two words", "b": "true", "c": None, "d": []},
    }
    assert {str(Variant(options)): options for options in read.values()} == read
    assert f"{differing({'lr': 1}, 3, ['flip'])}" == "augment=[flip], epochs=3, lr=1"
    assert (differing({}), bool(PLAIN), str(PLAIN)) == (PLAIN, False, "")


def test_equal_is_what_says_the_same():
    one = Variant({"a": 1, "b": (1, 2)})
    assert one == Variant({"b": [1, 2], "a": 1})
    assert hash(one) == hash(Variant({"b": [1, 2], "a": 1}))
    assert len({Variant({"a": value}) for value in (1, True, 1.0, "1", None)}) == 5, "1, true and 1.0 are three values"
    assert [str(v) for v in sorted(map(from_text, ("b=1", "", "a=2")))] == ["", "a=2", "b=1"]
    for other in (copy.deepcopy(one), pickle.loads(pickle.dumps(one)), variant_of(dict(one)), variant_of(one)):
        assert (other, hash(other)) == (one, hash(one))
    assert variant_of({"deep": True}) != variant_of({"deep": 1})


def test_it_cannot_be_changed_from_outside():
    options = {"taps": [1]}
    variant = Variant(options)
    options["taps"].append(2)
    assert variant["taps"] == (1,)
    with pytest.raises(TypeError):
        variant["taps"] = ()


@pytest.mark.parametrize(("bad", "error"), [({"a": object()}, TypeError), ({"a": float("nan")}, ValueError)])
def test_what_json_cannot_hold_is_refused(bad, error):
    with pytest.raises(error):
        Variant(bad)
    with pytest.raises(error):
        variant_of(bad)
    with pytest.raises(TypeError, match="a variant is a mapping"):
        variant_of(3)
