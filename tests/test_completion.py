# pytest tests/test_completion.py
"""What a shell is offered, asked as a shell asks."""

import os
import shutil
import subprocess
import sys

import pytest

from zsad_bench import assets, registry
from zsad_bench.cli import main
from zsad_bench.commands.completion import SCRIPTS
from zsad_bench.completion import ASKED


@pytest.fixture
def offered(monkeypatch, capsys):
    """offered("bench --method cl"): what may stand in the place of the last word."""

    def ask(line: str) -> list[str]:
        monkeypatch.setenv(ASKED, "1")
        monkeypatch.setattr(sys, "argv", ["zsad-bench", *line.split(" ")])
        assert main() == 0
        said = capsys.readouterr()
        assert said.err == ""
        return said.out.split()

    return ask


def test_commands_and_their_second_words(offered):
    assert offered("ben") == ["bench"]
    assert {"bench", "data", "predict"} <= set(offered(""))
    assert offered("data ch") == ["check"]
    assert offered("data") == ["data"]
    assert offered("nothing like this ") == []


def test_options_each_once_and_their_choices(offered):
    assert {"--method", "--prior", "--help"} <= set(offered("bench -"))
    assert "--method" not in offered("bench --method clip --")
    assert "--set" in offered("bench --set a=1 --")
    assert offered("bench --on-bad-image s") == ["skip", "stop"]
    assert offered("completion ") == ["bash", "fish", "zsh"]


def test_names_alone_and_in_lists(offered):
    assert offered("bench --method ") == registry.names("methods")
    assert offered("bench --method dive,win") == ["dive,winclip"]
    assert offered("predict a.png --method dive,win") == []  # it takes one
    assert offered("data check vis") == ["visa"]
    assert offered("bench --protocol vis") == ["visa2026"]
    recipes = sorted(file.stem for file in assets.data_folder("recipes").glob("*.yaml"))
    assert offered("sweep ") == recipes


def test_files_are_left_to_the_shell(offered):
    assert offered("predict ") == []
    assert offered("bench --checkpoint ") == []


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_script_is_one_that_the_shell_reads(zsad_script, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not on this machine")
    done = subprocess.run([shell, "-n", zsad_script(shell)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def zsad_script(tmp_path):
    def write(shell):
        path = tmp_path / shell
        path.write_text(SCRIPTS[shell])
        return path

    return write


def test_bash_completes_with_it(tmp_path):
    """Through a real bash: the function is called as a press of Tab calls it."""
    program = tmp_path / "zsad-bench"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m zsad_bench.cli "$@"\n')
    program.chmod(0o755)
    ask = (
        f"{SCRIPTS['bash']}\nCOMP_WORDS=(zsad-bench bench --on-bad-image sk); COMP_CWORD=3\n"
        '_zsad_bench\nprintf "%s\\n" "${COMPREPLY[@]}"'
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.split() == ["skip"], done.stderr
