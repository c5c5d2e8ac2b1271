# pytest tests/commands/test_usage.py
"""Wrong usage of every command there is: the name as it is typed, and the help of that command."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from tests.test_house import HEAVY, ROOT
from zsad_bench import cli
from zsad_bench.options import Argument, Field, declared

TREE = {path: import_module(f"zsad_bench.commands.{stem}") for path, stem in cli.files().items()}
FIELDS = {path: list(declared(module.Options)) for path, module in TREE.items()}
GROUPS = [(group,) for group in cli.GROUPS if (group,) not in TREE]


def required(path: tuple[str, ...]) -> list[Field]:
    return [field for field in FIELDS[path] if field.required]


def valued(path: tuple[str, ...]) -> list[Field]:
    """Options that take a value."""
    return [field for field in FIELDS[path] if not isinstance(field.option, Argument) and not field.is_flag]


def words(fields: Iterable[Field]) -> list[str]:
    """What may be typed for them."""
    typed = []
    for field in fields:
        value = get_args(field.type)[0] if get_origin(field.type) is Literal else "x"
        typed += [value] if isinstance(field.option, Argument) else [field.name, value]
    return typed


def is_of(line: str, path: tuple[str, ...]) -> bool:
    """Whether a line begins with the command and ends with its help."""
    command = " ".join(("zsad-bench", *path))
    return line.startswith(f"{command}: ") and line.endswith(f"; see {command} --help")


# --- what a command is ------------------------------------------------------------------------------------------------


def test_files_are_commands():
    assert {"bench", "data check", "data make-demo", "import-checkpoint", "table", "table paper"} <= set(
        map(" ".join, TREE)
    )
    assert not [path for path in TREE if any(word.startswith("-") for word in path)]


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_a_command_is_options_and_what_runs_with_them(path):
    run = TREE[path].run
    hints = get_type_hints(run, vars(TREE[path]))
    assert hints == {"options": TREE[path].Options, "return": int}
    assert list(inspect.signature(run).parameters) == ["options"]
    assert all(field.option.help for field in FIELDS[path]), "an option of which help says nothing"
    names = [field.name for field in FIELDS[path]]
    assert len(names) == len(set(names)), "one name for two options"


def test_no_command_line_waits_for_torch():
    """In one process: every option of every command is read before anything slow is imported."""
    code = (
        "import sys, importlib; from zsad_bench import cli, options\n"
        "for stem in cli.files().values():\n"
        "    module = importlib.import_module(f'zsad_bench.commands.{stem}')\n"
        "    options.usage(module.Options, '', '')\n"
        f"    if found := [name for name in {HEAVY} if name in sys.modules]: sys.exit(f'{{stem}} imports {{found}}')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_help_tells_every_option(zsad, path):
    for asked in (["--help"], ["-h"], [*words(required(path)), "--help"]):
        said = zsad(*path, *asked)
        assert (said.code, said.err) == (0, "")
        assert said.out.startswith(f"usage: zsad-bench {' '.join(path)} ")
        told = " ".join(said.out.split())
        for field in FIELDS[path]:
            assert field.name in told
            assert field.value in told
            assert " ".join(field.option.help.split()) in told, f"help says nothing of {field.name}"


@pytest.mark.parametrize("group", cli.GROUPS)
def test_help_of_a_group_tells_its_commands(zsad, group):
    said = zsad(group, "--help")
    assert (said.code, said.err) == (0, "")
    below = [path[1] for path in TREE if path[0] == group and len(path) == 2]
    assert below
    assert all(f"\n  {name} " in said.out for name in below), said.out


def test_help_tells_every_command(zsad):
    for asked in ("--help", "-h"):
        said = zsad(asked)
        assert (said.code, said.err) == (0, "")
        assert all(f"\n  {path[0]} " in said.out for path in TREE), said.out
        assert "--debug" in said.out


def test_an_underscore_is_as_good_as_a_hyphen(refused):
    assert is_of(refused(2, "data", "make_demo", "more"), ("data", "make-demo"))
    assert is_of(refused(2, "table", "prior_curve", "more"), ("table", "prior-curve"))


# --- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_a_missing_argument_is_named_as_it_is_typed(refused, path):
    arguments = [field for field in required(path) if isinstance(field.option, Argument)]
    for left_out in required(path):
        line = refused(2, *path, *words(field for field in required(path) if field is not left_out))
        # Of several that are told by their place, the words at hand are the first ones.
        missing = arguments[-1] if left_out in arguments else left_out
        assert is_of(line, path), line
        assert f": missing {missing.typed};" in line, line
    if required(path):
        line = refused(2, *path)
        assert is_of(line, path), line
        assert all(field.typed in line for field in required(path)), line


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_an_option_that_there_is_not_is_named(refused, path):
    for typed in (["--nonsuch", "3"], ["--nonsuch=3"], ["-q"]):
        line = refused(2, *path, *words(required(path)), *typed)
        assert f": unknown option '{typed[0].partition('=')[0]}'; " in line, line
        assert is_of(line, path), line


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_an_option_that_is_nearly_one_has_its_neighbour(refused, path):
    for field in FIELDS[path]:
        if not isinstance(field.option, Argument):
            line = refused(2, *path, *words(required(path)), f"{field.name}q", "3")
            assert f": unknown option '{field.name}q'; did you mean " in line, line
            assert field.name in line.partition("did you mean")[2], line


@pytest.mark.parametrize(("path", "option", "expected"), [
    (path, field.name, what) for path in TREE for kind, what in (
        (int, "a whole number"), (float, "a number"), (tuple[int, ...], "whole numbers, separated by commas"),
    ) for field in valued(path) if field.type == kind and not field.option.read
])  # fmt: skip
@pytest.mark.parametrize("value", ["many", "1e", "2.5,4"])
def test_a_value_of_another_type_is_told_with_the_option(refused, path, option, expected, value):
    for typed in ([option, value], [f"{option}={value}"]):
        line = refused(2, *path, *words(field for field in required(path) if field.name != option), *typed)
        assert f": {option} {value}: expected {expected};" in line, line
        assert is_of(line, path), line


CHOICES = [(path, field) for path in TREE for field in FIELDS[path] if get_origin(field.type) is Literal]


@pytest.mark.parametrize(("path", "field"), CHOICES, ids=lambda one: getattr(one, "name", None) or " ".join(one))
def test_a_choice_that_there_is_not_has_its_neighbours(refused, path, field):
    others = words(one for one in required(path) if one is not field)
    for choice in get_args(field.type):
        typed = [f"{choice}q"] if isinstance(field.option, Argument) else [field.name, f"{choice}q"]
        line = refused(2, *path, *others, *typed)
        assert f"'{choice}q'; did you mean " in line, line
        assert choice in line.partition("did you mean")[2], line
        assert is_of(line, path), line


@pytest.mark.parametrize("path", [path for path in TREE if valued(path)], ids=" ".join)
def test_an_option_without_its_value_is_told_what_belongs_there(refused, path):
    for field in valued(path):
        line = refused(2, *path, *words(required(path)), field.name)
        assert f": {field.name}: expected {field.value} after it;" in line, line
        assert is_of(line, path), line


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_a_flag_takes_no_value(refused, path):
    for field in FIELDS[path]:
        if field.is_flag:
            line = refused(2, *path, *words(required(path)), f"{field.name}=yes")
            assert f": {field.name}: expected nothing after it;" in line, line


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_a_word_too_many_is_named(refused, path):
    arguments = [field for field in FIELDS[path] if isinstance(field.option, Argument)]
    if any(field.option.repeated for field in arguments):
        return  # takes any number
    options = words(field for field in required(path) if field not in arguments)
    line = refused(2, *path, *words(arguments), *options, "one-more")
    assert ": does not take one-more; it takes" in line, line
    assert is_of(line, path), line


@pytest.mark.parametrize("path", [*GROUPS, ()], ids=" ".join)
def test_a_command_that_there_is_not_has_its_neighbours(refused, path):
    names = {command[len(path)] for command in TREE if command[: len(path)] == path}
    line = refused(2, *path)
    assert all(name in line for name in names), line
    assert is_of(line, path), line
    line = refused(2, *path, "nonsuch", "doctor", "list")
    assert ": unknown command 'nonsuch'; " in line
    assert is_of(line, path), line
    for name in names:
        line = refused(2, *path, f"{name}q")
        assert f": unknown command '{name}q'; did you mean " in line, line
        assert name in line.partition("did you mean")[2], line


def test_a_value_is_told_as_it_was_typed(refused):
    assert "--epochs 1e3: expected" in refused(2, "bench", "--method", "clip", "--prior", "rich", "--epochs", "1e3")
    assert "--seed '': expected" in refused(2, "data", "make-demo", "--seed=")
    assert "--seed -3: expected a whole number from 0" in refused(2, "data", "make-demo", "--seed", "-3")
