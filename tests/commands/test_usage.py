# pytest tests/commands/test_usage.py
"""Wrong usage of every command there is: the name as it is typed, and the help of that command."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from zsad_bench import cli
from zsad_bench.arguments import command_line
from zsad_bench.usage import Parser, as_typed, commands


def leaves(parser: Parser, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Parser]]:
    if not commands(parser):
        yield path, parser
    for name, below in commands(parser).items():
        yield from leaves(below, (*path, name))


PARSER = command_line()
TREE = dict(leaves(PARSER))
ROOMS = [("data",), ("rows",), ("track",), ()]


@pytest.fixture(autouse=True)
def one_parser(monkeypatch) -> None:
    """Making it takes longer than all that is asked of it here."""
    monkeypatch.setattr(cli, "command_line", lambda: PARSER)


def values(parser: Parser, want: type | None = None) -> list[argparse.Action]:
    """Options that take a value, of one type if asked."""
    found = [one for one in parser._actions if one.option_strings and one.nargs != 0]
    return [one for one in found if want is None or getattr(one, "_typehint", one.type) is want]


def needed(parser: Parser) -> list[argparse.Action]:
    positional = [one for one in parser._actions if not one.option_strings and one.nargs != "?"]
    return [*positional, *(one for one in parser._actions if one.option_strings and one.required)]


def words(actions: list[argparse.Action]) -> list[str]:
    return [word for one in actions for word in ([one.option_strings[-1]] if one.option_strings else []) + ["x"]]


def ends_with_help_of(line: str, path: tuple[str, ...]) -> bool:
    prog = " ".join(("zsad-bench", *path))
    return line.startswith(f"{prog}: ") and line.endswith(f"; see {prog} --help")


def test_the_tree_is_read():
    assert {" ".join(path) for path in TREE} == set(cli._commands()), "commands that nothing is tested of, or done for"


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_a_missing_argument_is_named_as_it_is_typed(refused, path):
    required = needed(TREE[path])
    for left_out in required:
        line = refused(2, *path, *words([one for one in required if one is not left_out]))
        assert ends_with_help_of(line, path), line
        assert f": missing {as_typed(left_out)};" in line, line
        assert not left_out.option_strings or line.count(left_out.option_strings[-1]) == 1
    if len(required) > 1:
        line = refused(2, *path)
        assert all(as_typed(one) in line for one in required), line


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_an_option_that_there_is_not_is_named(refused, path):
    for typed in (["--nonsuch", "3"], ["--nonsuch=3"], ["-q"]):
        line = refused(2, *path, *words(needed(TREE[path])), *typed)
        assert f": unknown option '{typed[0].partition('=')[0]}'; " in line, line
        assert ends_with_help_of(line, path), line
        assert "print_shtab" not in line


@pytest.mark.parametrize(("path", "option", "expected"), [
    (path, one.option_strings[-1], what) for path, parser in TREE.items()
    for kind, what in ((int, "a whole number"), (float, "a number")) for one in values(parser, kind)
])  # fmt: skip
@pytest.mark.parametrize("value", ["many", "1e", "2,4"])
def test_a_value_of_another_type_is_told_with_the_option(refused, path, option, expected, value):
    for typed in ([option, value], [f"{option}={value}"]):
        line = refused(2, *path, *words(needed(TREE[path])), *typed)
        assert f": {option} {value}: expected {expected};" in line, line
        assert ends_with_help_of(line, path), line


@pytest.mark.parametrize("path", [path for path in TREE if values(TREE[path])], ids=" ".join)
def test_an_option_without_its_value_is_told_what_belongs_there(refused, path):
    for option in values(TREE[path]):
        line = refused(2, *path, *words(needed(TREE[path])), option.option_strings[-1])
        assert f": {option.option_strings[-1]}: expected {option.metavar} after it;" in line, line
        assert ends_with_help_of(line, path), line


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_a_word_too_many_is_named(refused, path):
    if any(one.nargs == "+" for one in needed(TREE[path])):
        return  # takes any number
    optional = [one for one in TREE[path]._actions if one.nargs == "?"]
    line = refused(2, *path, *words([*needed(TREE[path]), *optional]), "one-more")
    assert ": no use for one-more; it takes" in line, line
    assert ends_with_help_of(line, path), line


@pytest.mark.parametrize("path", ROOMS, ids=" ".join)
def test_a_command_that_there_is_not_has_its_neighbours(refused, path):
    parser = PARSER
    for name in path:
        parser = commands(parser)[name]
    line = refused(2, *path)
    assert all(name in line for name in commands(parser)), line
    assert ends_with_help_of(line, path), line
    line = refused(2, *path, "nonsuch", "doctor", "list")
    assert ": unknown command 'nonsuch'; " in line
    assert ends_with_help_of(line, path), line


def test_a_value_is_told_as_it_was_typed(refused):
    assert "--epochs 1e3: expected" in refused(2, "bench", "--method", "clip", "--prior", "rich", "--epochs", "1e3")
    assert "--seed '': expected" in refused(2, "data", "make-demo", "--seed=")
    assert "--seed -3: expected a whole number from 0" in refused(2, "data", "make-demo", "--seed", "-3")
