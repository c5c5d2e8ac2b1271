# pytest tests/leaderboard/test_files.py
"""A page's generated part is replaced, and nothing else of it."""

from __future__ import annotations

import pytest

from zsad_bench.errors import UsageError
from zsad_bench.leaderboard.files import write_between


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
