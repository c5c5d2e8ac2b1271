# pytest tests/prompts/test_lexicon.py
"""DIVE's sentences are many, distinct and name no object; a malformed file is refused with its line."""

from __future__ import annotations

import re

import pytest

from zsad_bench import registry
from zsad_bench.errors import UsageError
from zsad_bench.prompts.lexicon import read_lexicon
from zsad_bench.prompts.load import read

# How the papers' datasets call what they show, whether or not their files are registered here.
PAPER_NAMES = """
bottle, cable, capsule, carpet, grid, hazelnut, leather, metal nut, pill, screw, tile, toothbrush, transistor, wood,
zipper, candle, capsules, cashew, chewing gum, fryum, macaroni, printed circuit board, pipe fryum, fabric, textured
surface, blotchy texture, fibrous texture, marbled texture, matted texture, mesh texture, perforated texture,
stratified texture, woven texture, solar cell, electrical commutator, bracket, connector, metal plate, tubes, brain,
head, fundus, retina, colon, skin, thyroid
"""
GENERIC = {"object", "surface", "texture"}  # these say nothing of what is shown


def object_names() -> set[str]:
    """Every name of a category, and what a name of several words ends in (`metal nut`: nut)."""
    names = {" ".join(name.split()) for name in PAPER_NAMES.split(",")}
    for dataset in registry.names("datasets"):
        names |= {card.prompt_name for card in registry.load("datasets", dataset).category_cards}
    return (names | {name.split()[-1] for name in names}) - GENERIC


def write(tmp_path, text: str) -> str:
    path = tmp_path / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_hundred_abnormal_and_thirty_five_normal():
    lexicon = read_lexicon("dive_lexicon")
    assert (len(lexicon.abnormal), len(lexicon.normal)) == (100, 35)
    assert lexicon.sentences == lexicon.abnormal + lexicon.normal, "abnormal sentences come first"


def test_each_sentence_once_and_of_one_form():
    sentences = read_lexicon("dive_lexicon").sentences
    form = re.compile(r"a photo of an object with [a-z][a-z ,-]*[a-z]")
    odd = [s for s in sentences if not form.fullmatch(s)]
    assert not odd, f"not of the form 'a photo of an object with …', lower case, no full stop: {odd}"
    content = [frozenset(s.split()) - {"a", "an", "the", "its", "at", "in"} for s in sentences]
    assert len(set(content)) == len(sentences), "two sentences have the same words"


def test_no_sentence_names_an_object():
    names = object_names()
    assert {"metal nut", "nut", "solar cell", "linen"} <= names, "the names were not collected"
    sentences = [s.removeprefix("a photo of an object with ") for s in read_lexicon("dive_lexicon").sentences]
    named = [(s, name) for s in sentences for name in sorted(names) if re.search(rf"\b{re.escape(name)}s?\b", s)]
    assert not named, f"sentences that name an object of a dataset: {named}"


def test_its_file_says_where_it_is_from():
    content = read("dive_lexicon")
    assert content["licence"] == "Apache-2.0"
    assert "written for zsad-bench" in content["source"]
    assert "{n_abnormal}" in content["request"], "the request is a template"
    assert "{n_normal}" in content["request"], "the request is a template"


def test_an_own_file_is_read_and_its_hash_tells_it_apart(tmp_path):
    one = read_lexicon(write(tmp_path, "abnormal: [a  crack, a stain]\nnormal: [clean]\nnote: mine\n"))
    assert one.sentences == ("a crack", "a stain", "clean"), "white space is made one"
    other = read_lexicon(write(tmp_path, "abnormal: [a crack]\nnormal: [a stain, clean]\n"))
    again = read_lexicon(write(tmp_path, "normal:\n- a stain\n- clean\nabnormal:\n- a crack\n"))
    assert one.hash != other.hash, "the same sentences, but of other kinds"
    assert again.hash == other.hash, "the same lists in another layout"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: expected two lists"),
        ("# nothing\n\n", "line 1: expected two lists"),
        ("- a crack\n", "line 1: expected two lists"),
        ("abnormal: [a crack]\n", "expected one list `normal:`, found 0"),
        ("abnormal: [a crack]\nnormal: [fine]\nabnormal: [b]\n", "line 3: expected one list `abnormal:`, found 2"),
        ("abnormal:\nnormal: [fine]\n", "line 1: `abnormal` is not a list of sentences, or it is empty"),
        ("abnormal: [a crack]\nnormal: []\n", "line 2: `normal` is not a list of sentences, or it is empty"),
        ("abnormal:\n- a crack\n- a stain\n- A crack\nnormal: [fine]\n", "line 4: 'A crack' is in line 2 already"),
        ("abnormal: [a crack, a crack]\nnormal: [fine]\n", "line 1: 'a crack' is in line 1 already"),
        ("abnormal:\n- a crack\nnormal:\n- fine\n- a crack\n", "line 5: 'a crack' is in line 2 already"),
        ("abnormal:\n- a crack\n- 12\nnormal: [fine]\n", "line 3: expected a sentence"),
        ("abnormal:\n- a crack\n-\nnormal: [fine]\n", "line 3: expected a sentence"),
        ("abnormal:\n- a crack\n- ' '\nnormal: [fine]\n", "line 3: expected a sentence"),
        ("abnormal:\n- a: b\nnormal: [fine]\n", "line 2: expected a sentence"),
        ("abnormal:\n- [a crack\nnormal: [fine]\n", "line 3: not YAML"),
    ],
)
def test_a_malformed_file_is_an_error_with_its_line(tmp_path, text, said):
    with pytest.raises(UsageError) as caught:
        read_lexicon(write(tmp_path, text))
    assert said in str(caught.value), f"said {caught.value}"
    assert "\n" not in str(caught.value), "one line"


def test_a_file_that_is_not_there_or_not_text(tmp_path):
    for name in ("unheard_of", str(tmp_path / "gone.yaml")):
        with pytest.raises(UsageError, match="no such file"):
            read_lexicon(name)
    (tmp_path / "own.yaml").write_bytes(b"abnormal: [caf\xe9]\n")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_lexicon(str(tmp_path / "own.yaml"))
