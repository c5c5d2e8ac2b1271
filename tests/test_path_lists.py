# pytest tests/test_path_lists.py
"""Lists with paths in them: a path that exists is one piece whatever its name is, and rows' names need no file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zsad_bench import path_lists
from zsad_bench.errors import UsageError

# Names of files: any character but "/" and NUL, bytes that are no UTF-8 among them; separators are frequent.
OTHERS = st.lists(st.sampled_from(("visa", "btad", "mvtec:bottle")), max_size=2, unique=True)
LETTERS = st.sampled_from("a, +:%@[]~=") | st.characters(exclude_characters="/\0", exclude_categories=("Cs",))
NAMES = st.text(LETTERS | st.sampled_from("\udcff\udc80"), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..") and name == name.strip() and len(os.fsencode(name)) < 200
)


@pytest.fixture(scope="module")
def root():
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _lay(root: Path, name: str) -> Path:
    path = root / name
    path.touch()
    return path


@settings(max_examples=150, deadline=None)
@given(NAMES, st.sampled_from(("folder", "csv")), OTHERS)
@example("lot 7, left", "folder", ["visa"])
@example("a%2Cb,c", "csv", ["visa"])
def test_an_existing_path_is_one_target(root, name, kind, others):
    path = f"{kind}:{_lay(root, name)}"
    assert path_lists.targets(",".join([*others, path])) == [*others, path]
    assert path_lists.targets(", ".join([path, *others])) == [path, *others]


@settings(max_examples=150, deadline=None)
@given(NAMES, st.sampled_from(("@", "folder:", "csv:")), st.sampled_from(([], ["shots=4"], ["types=2", "draw=1"])))
@example("2026-11-26T10:30", "@", ["draw=1"])
@example("a+b", "@", [])
@example("100%", "folder:", [])
def test_an_existing_path_is_one_base_of_a_prior(root, name, start, items):
    base = start + str(_lay(root, name))
    spec = ":".join([base, *items])
    assert path_lists.parts(spec) == [[base, *items]]
    assert path_lists.parts(f"mvtec:types=2+{spec}") == [["mvtec", "types=2"], [base, *items]]
    assert path_lists.parts(f"{spec}+mvtec:types=2") == [[base, *items], ["mvtec", "types=2"]]
    assert path_lists.priors(f"{spec},limited:shots=1") == [spec, "limited:shots=1"]
    assert path_lists.priors(f"rich, {spec}") == ["rich", spec]


@settings(max_examples=150, deadline=None)
@given(NAMES, st.sampled_from(("@", "folder:", "csv:")))
def test_a_path_in_a_row_is_read_back_without_its_file(root, name, start):
    path = _lay(root, name)
    spelt = path_lists.spell(start + str(path))
    spelt.encode("utf-8")  # it goes into JSON and tables
    assert spelt.isprintable()
    assert path_lists.parts_of_name(f"{spelt}:shots=4+mvtec") == [[spelt, "shots=4"], ["mvtec"]]
    assert path_lists.parts(spelt) == [[start + str(path)]], "what a table prints can be typed"
    path.unlink()
    assert path_lists.parts_of_name(spelt) == [[spelt]]


def test_the_longest_path_that_exists_counts(root):
    for name in ("lot", "lot,visa", "lot,visa,more"):
        _lay(root, name)
    assert path_lists.targets(f"folder:{root}/lot,visa,btad") == [f"folder:{root}/lot,visa", "btad"]
    assert path_lists.targets(f"folder:{root}/lot,btad") == [f"folder:{root}/lot", "btad"]
    assert path_lists.targets(f"folder:{root}/lot,visa,more") == [f"folder:{root}/lot,visa,more"]


def test_home_is_read_as_a_shell_would(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root))
    _lay(root, "at, home")
    assert path_lists.targets("folder:~/at, home,visa") == ["folder:~/at, home", "visa"]
    assert path_lists.targets("folder:~nobody_of_this_name/x") == ["folder:~nobody_of_this_name/x"]


@pytest.mark.parametrize(
    ("read", "text", "says"),
    [
        (path_lists.targets, "visa,folder:/no/lot 7, left", "--targets: '/no/lot 7' does not exist.*comma separates"),
        (path_lists.priors, "@/no/10:30/kept.jsonl", "--prior: '/no/10' does not exist.*colon separates"),
        (path_lists.parts, "@/no/a+b.jsonl", r"prior '@/no/a\+b.jsonl': '/no/a' does not exist.*plus or a colon"),
    ],
)
def test_a_path_that_does_not_exist_is_told_what_separates(read, text, says):
    with pytest.raises(UsageError, match=says):
        read(text)


def test_what_is_no_path_is_cut_at_separators_alone():
    assert path_lists.targets(" visa ,, btad,visa") == ["visa", "btad"]
    assert path_lists.targets("folder:") == ["folder:"], "its own error says that a path is missing"
    assert path_lists.targets("csv:/no/such.csv") == ["csv:/no/such.csv"], "the dataset says that it is not there"
    assert path_lists.priors("rich, mvtec: types=2 +visa,rich") == ["rich", "mvtec:types=2+visa"]
    assert path_lists.parts("mvtec : types=2+ visa") == [["mvtec", "types=2"], ["visa"]]
