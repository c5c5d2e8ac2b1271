# pytest tests/test_console.py
"""What is printed is data: no markup, no emoji codes, no control sequences, and no line is broken or doubled."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Group

from zsad_bench.console import Console, Progress, Table, styled
from zsad_bench.printable import is_utf8, never_fail_to_print, printable, say

# Every kind of letter, bytes that are no UTF-8 among them, and what rich would read.
TEXTS = st.text(st.characters(exclude_categories=()) | st.sampled_from("[]/:\n\r\t\x1b\udcff"), max_size=30)
MARKUP = ["batch[a]", "x[/y]", "[bold]a[/bold]", "[link=http://a]b[/link]", ":warning:", ":x: and [red]", "\\[a]"]


def printed(*objects, width: int = 80, **options) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(*objects, **options)
    return console.file.getvalue()


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_one_text_is_one_line(text):
    shown = printable(text)
    assert shown.isprintable()
    assert is_utf8(shown)
    assert shown == text or not text.isprintable()
    assert printed("x" + text) == f"x{shown}\n"


@pytest.mark.parametrize("text", MARKUP)
def test_nothing_in_a_text_is_read(text):
    assert printed(text) == f"{text}\n"
    assert printed(text, style="red") == f"{text}\n"
    assert text in printed(styled(text, "bold"))
    table = Table(text, "other", title=text)
    table.add_row(text, styled(text))
    assert printed(table, width=200).count(text) == 4, "title, head, or a cell is read as markup"
    assert text in printed(Group(text)), "a text inside of something else is read"
    console = Console(file=io.StringIO(), width=200)
    console.rule(text)
    console.pairs([(text, text)])
    assert console.file.getvalue().count(text) == 3


@pytest.mark.parametrize("text", MARKUP)
def test_nothing_in_what_a_bar_shows_is_read(text, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    bar = Progress()
    bar.add_task(text, total=2)
    assert text in printed(bar.get_renderable(), width=200)


def test_a_path_is_not_broken():
    path = "/a/path/" + "that is longer than a line/" * 8
    assert printed(path, width=40) == f"{path}\n"
    console = Console(file=io.StringIO(), width=40)
    console.pairs([("visa", path), ("a", "b")])
    assert console.file.getvalue() == f"visa  {path}\na     b\n"


def test_empty_lines_before_a_text_are_the_programs_own():
    assert printed("\n\ntables: a\nb") == "\n\ntables: a\\nb\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\udcc2\udcdd", "\\xc2\\xdd"),
        ("a\u202eb", "a\\u202eb"),
        ("Riß 🔩", "Riß 🔩"),
    ],
)
def test_how_it_is_written(text, shown, capsys):
    assert printable(text) == shown
    say(text)
    say(text, error=True)
    assert capsys.readouterr() == (f"{shown}\n", f"{shown}\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_lacks_a_letter_is_no_reason_to_fail(monkeypatch, encoding):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors="strict"))
    never_fail_to_print()
    print("– 🔩 \udcff")
    sys.stdout.flush()
    assert raw.getvalue().endswith(b"\\udcff\n")
