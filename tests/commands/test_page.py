# pytest tests/commands/test_page.py
"""`page` as a user meets it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.made_up_rows import make_row
from zsad_bench.results.pictures import Pick, write_pictures
from zsad_bench.results.rows import append


@pytest.fixture
def board(tmp_path):
    """A made-up demo leaderboard with one picture of photographs that may not be passed on."""
    folder = tmp_path / "leaderboards" / "demo"
    rows = [make_row(suite="demo", target=target, key=target) for target in ("demo_textures", "elpv")]
    append(folder / "rows" / "clip.jsonl", rows)
    pick = Pick("best", "a.png", 1, 0.5, np.zeros((8, 8, 3), np.uint8), None, None)
    write_pictures(folder / "pictures", "elpv", "carpet", [pick], {"licence": "of theirs", "redistribute": False})
    return folder


def test_the_page_lies_beside_the_rows_and_tells_what_it_lacks(zsad, board):
    said = zsad("page", "demo")
    assert said.code == 0, said.err
    assert "demo/index.html: " in said.out
    assert "2 rows, 0 pictures" in said.out
    assert "ELPV: 1 picture left out" in said.out
    page = (board / "index.html").read_text(encoding="utf-8")
    assert "Generated images, read by a tiny CLIP" in page, "the page does not say that its numbers are the demo's"
    said = zsad("page", "demo", "--photos", "--out", "mine.html")
    assert "mine.html: " in said.out
    assert "1 picture\n" in said.out
    assert "left out" not in said.out


def test_a_page_that_loses_its_pictures_says_so(zsad, board):
    assert "had pictures" not in zsad("page", "demo", "--photos").out
    (board / "pictures").rename(board / "elsewhere")
    said = zsad("page", "demo", "--photos")
    assert "the page that was here had pictures" in said.out
    assert "leaderboards/demo/pictures holds none" in said.out.replace("\n", " ")
    assert "had pictures" not in zsad("page", "demo", "--photos").out, "this one had none"


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (("demi",), 2, "demo"),
        (("demo", "--megabytes", "0"), 2, "--megabytes 0.0: expected a number above 0"),
        (("demo", "--out", "."), 2, "--out .: is a folder; name a file, as in NAME"),
        (("paper",), 1, "no such folder of rows"),
    ],
)
def test_wrong_usage_is_one_line(zsad, board, args, code, text):
    said = zsad("page", *args)
    assert said.code == code, said.err
    assert text in said.err
    assert len(said.err.strip().splitlines()) == 1, said.err
