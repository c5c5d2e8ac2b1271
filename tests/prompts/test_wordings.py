# pytest tests/prompts/test_wordings.py
"""Other words for categories: what is listed differs from the noun, and nothing is guessed."""

from __future__ import annotations

import pytest

from zsad_bench import registry
from zsad_bench.prompts.load import read
from zsad_bench.prompts.wordings import noun_in, wordings

NOUNS = read("wordings")["nouns"]


def test_what_there_is():
    assert list(wordings()) == ["object", "synonym", "german", "french"]
    assert noun_in("german", "bottle") == "Flasche"
    assert noun_in("object", "bottle") == "object"


def test_nothing_is_guessed():
    assert noun_in("german", "widget") is None
    assert noun_in("synonym", "terrazzo") is None
    assert noun_in("object", "object") is None, "nothing would change"
    with pytest.raises(KeyError):
        noun_in("latin", "bottle")


def test_words_differ_from_the_noun_and_have_a_wording():
    for noun, others in NOUNS.items():
        assert others, f"{noun} has no other word"
        assert set(others) <= set(wordings()), f"{noun}: {set(others) - set(wordings())}"
        for wording, word in others.items():
            assert word == word.strip() != "", f"{noun}, {wording}"
            assert word.casefold() != noun.casefold(), f"{noun}, {wording}: the same word"


def test_two_nouns_never_become_one_word():
    """Else a wording would take a difference between classes away, and not only change its words."""
    for wording in wordings():
        if wording != "object":
            words = [others[wording] for others in NOUNS.values() if wording in others]
            assert len(words) == len(set(words))


def test_every_noun_is_one_of_a_dataset():
    """And nearly every category has a German and a French one."""
    cards = [card for cls in registry.classes("datasets").values() for card in cls.category_cards]
    called = {card.prompt_name for card in cards}
    assert set(NOUNS) <= called, f"no category is called {set(NOUNS) - called}"
