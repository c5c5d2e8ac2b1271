# pytest tests/test_atomic.py
"""A page's generated part is replaced, and nothing else of it; every name has a file of its own, on any file system."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.made_up_rows import make_row
from zsad_bench.atomic import file_name, whole_file, write_between, write_whole
from zsad_bench.errors import RowError, UsageError
from zsad_bench.results.image_scores import read_scores, write_scores

DEVICES = ("con", "PRN", "aux", "nul", "com1", "LPT9", "con.txt", "aux.csv.gz")
PAIRS = [
    ("ü", "o"), ("Schraube_groß", "Schraube_grob"), ("螺丝", "螺母"), ("Class1", "class1"), ("a b", "a_b"),
    ("a/b", "a_b"), ("a:b", "a_b"), ("é", unicodedata.normalize("NFD", "é")), ("ſ", "s"), ("K", "k"), ("İ", "i"),
    ("x" * 300, "x" * 301), ("x" * 150 + "a", "x" * 150 + "b"), ("a.", "a"), ("a ", "a"), (".a", "a"), ("..", "."),
    ("", "_"), ("\udcff", "\udcfe"), ("a\n", "a"), ("a~b", "a_b"), (file_name("Ä"), "Ä"),
]  # fmt: skip


def on_disk(name: str) -> str:
    """What the least able file systems make of a name: letter case and forms of letters are one, ends are cut."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).rstrip(". ")


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_two_names_are_two_files(one, other):
    assert on_disk(file_name(one)) != on_disk(file_name(other))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.text(max_size=130) | st.sampled_from([*DEVICES, *(n for pair in PAIRS for n in pair)]), unique=True))
def test_any_names_are_as_many_files(names):
    found = [file_name(name) for name in names]
    assert len({on_disk(name) for name in found}) == len(names)
    for name in found:
        assert re.fullmatch(r"[a-z0-9._~-]{1,100}", name), f"{name!r} is not safe everywhere"
        assert name[0] != "."
        assert name[-1] != "."
        assert name.split(".")[0] not in {device.lower() for device in DEVICES}, f"{name} is a device"


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,50}[a-z0-9])?", fullmatch=True).filter(
        lambda n: n[:3] not in "con prn aux nul com lpt"
    )
)
def test_plain_names_stay_as_they_are(name):
    assert file_name(name) == name


def test_what_is_readable_stays_readable():
    assert re.fullmatch(r"class1~[0-9a-f]{16}", file_name("Class1"))
    assert re.fullmatch(r"folder_my_parts~[0-9a-f]{16}", file_name("folder:my parts"))
    assert file_name("metal_nut") == "metal_nut"


def test_scores_of_categories_that_differ_in_accents_only_do_not_meet(tmp_path):
    names = ["Prüfung", "Prufung", "prufung", "pr_fung", "Pr_fung"]
    for place, name in enumerate(names):
        write_scores(tmp_path, make_row().key, name, ["x"], [1], [float(place)])
    assert [read_scores(tmp_path, make_row().key, name).scores for name in names] == [[float(i)] for i in range(5)]


def test_the_rest_of_the_page_stays(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<b>\nold\n<e>\nafter\n")
    write_between(page, "<b>", "<e>", "new")
    assert page.read_text() == "before\n<b>\n\nnew\n\n<e>\nafter\n"
    write_between(page, "<b>", "<e>", "new")
    assert page.read_text() == "before\n<b>\n\nnew\n\n<e>\nafter\n", "writing again changes the page"


@pytest.mark.parametrize("text", ["", "<b>\n", "<e>\n<b>\n", "<b>\n<b>\n<e>\n"])
def test_a_page_without_its_markers_is_left_alone(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(UsageError, match="put them back"):
        write_between(page, "<b>", "<e>", "new")
    assert page.read_text() == text


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("name", ["a.json", "螺" * 80, "x" * 255, "a[b].png"])
def test_a_file_is_whole_or_as_it_was(tmp_path, name, durable):
    path = tmp_path / "new" / name
    for content in (b"one", b"another"):
        with whole_file(path, durable) as file:
            file.write(content[:2])
            assert not path.exists() or path.read_bytes() == b"one", "readers see a file that is being written"
            file.write(content[2:])
        assert path.read_bytes() == content

    def interrupted() -> None:
        with whole_file(path, durable) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"another"
    assert list(path.parent.iterdir()) == [path], "what was not finished is still there"


def test_a_file_can_be_read_by_whoever_reads_others_of_this_user(tmp_path):
    (tmp_path / "usual").write_bytes(b"")
    write_whole(tmp_path / "whole", b"")
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RowError, match=r"file/a\.csv: cannot be written \(.*\); free or unlock its folder"):
        write_whole(tmp_path / "file" / "a.csv", b"")
