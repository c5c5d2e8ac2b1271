# pytest tests/commands/test_captions.py
"""What stands under the table of a dataset follows from what the dataset is, registered by us or by others."""

from __future__ import annotations

import pytest

from zsad_bench import registry
from zsad_bench.commands.table import layout
from zsad_bench.planning.suite import DEMO, PAPER


def test_only_photographs_are_called_so():
    made = layout(DEMO)
    said = {name: made.note_of([name]) for name in registry.names("datasets")}
    photographs = {name for name, note in said.items() if "photograph" in note.lower()}
    assert photographs == {"elpv"}, "a dataset is called photographs without having said so"
    assert said["elpv"].startswith("Real photographs read by the same tiny CLIP")
    assert said["mvtec"].startswith("Images of MVTecAD read by the same tiny CLIP")
    assert "paper" in said["dagm"], "nothing warns of comparing these numbers"
    assert {said[name] for name in DEMO.generated} == {made.note}
    assert (
        made.note_of(["folder:up/parts"])
        == made.note_of(["csv:a"])
        == "Images of the user's own, in no mean with others."
    )
    assert layout(PAPER).note_of(["elpv"]) == layout(PAPER).note


def test_a_dataset_of_another_package_speaks_for_itself(monkeypatch):
    class Drawn:
        title, images_are = "Drawn", "Computer drawings"

    class Silent:
        title = "Silent"

    names, load = registry.names, registry.load
    entries = [registry.Entry(name, "x", name.capitalize(), "") for name in ("drawn", "silent")]
    describe = registry.describe
    monkeypatch.setattr(
        registry, "names", lambda room: [*names(room), *(e.name for e in entries if room == "datasets")]
    )
    monkeypatch.setattr(registry, "describe", lambda room: [*describe(room), *(entries if room == "datasets" else ())])
    monkeypatch.setattr(registry, "load", lambda room, n: {"drawn": Drawn, "silent": Silent}.get(n) or load(room, n))
    made = layout(DEMO)
    assert made.note_of(["drawn"]).startswith("Computer drawings read by the same tiny CLIP")
    assert made.note_of(["silent"]).startswith("Images of Silent read by the same tiny CLIP")


@pytest.mark.parametrize(
    ("name", "title"),
    [("elpv", "ELPV"), ("folder:up/parts", "up/parts (folder)"), ("csv:t", "t (csv)"), ("gone", "gone"), ("a:", "a:")],
)
def test_titles(name, title):
    assert layout(DEMO).title(name) == title
