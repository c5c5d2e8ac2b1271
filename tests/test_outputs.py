# pytest tests/test_outputs.py
"""What cannot be written is told before anything is computed, with the option that names it; trying leaves nothing."""

from __future__ import annotations

import errno
import os
import tempfile
from importlib import import_module
from types import SimpleNamespace

import pytest

from zsad_bench import cli, outputs
from zsad_bench.errors import UsageError, ZsadError
from zsad_bench.options import declared

WRITTEN = ("--out", "--into")  # options that always name what is written


def test_every_option_that_names_an_output_is_tried():
    for path, stem in cli.files().items():
        for field in declared(import_module(f"zsad_bench.commands.{stem}").Options):
            kind = field.option.writes
            assert field.name not in WRITTEN or kind, f"{' '.join(path)} {field.name} is not tried"
            assert not kind or (kind == "folder") == ("FOLDER" in field.value), f"{path} {field.typed}: {kind}"


@pytest.fixture
def full(monkeypatch):
    """A disk on which a file can be made, and nothing be written into it."""

    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, _):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: Full())


@pytest.mark.parametrize("place", ["", "new", "new/deeper"])
def test_what_can_be_written_leaves_no_trace(tmp_path, place):
    outputs.check_folder(tmp_path / place, "--out")
    outputs.check_file(tmp_path / place / "a.csv", "--out")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_may_be_written_anew(tmp_path):
    (tmp_path / "a.csv").write_text("old")
    outputs.check_file(tmp_path / "a.csv", "--out")
    assert (tmp_path / "a.csv").read_text() == "old"


def test_files_and_folders_in_each_others_place(tmp_path):
    (tmp_path / "file").touch()
    for path in ("file", "file/below", "file/below/further"):
        with pytest.raises(UsageError, match=f"--runs .*: {tmp_path}/file is a file; name a folder"):
            outputs.check_folder(tmp_path / path, "--runs")
    with pytest.raises(UsageError, match=f"--out {tmp_path}: is a folder; name a file"):
        outputs.check_file(tmp_path, "--out")
    with pytest.raises(UsageError, match="file is a file"):
        outputs.check_file(tmp_path / "file" / "a.csv", "--out")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UsageError, match="loop is a file"):
        outputs.check_folder(tmp_path / "loop" / "x", "--out")


@pytest.mark.usefixtures("full")
def test_a_full_disk_is_told(tmp_path):
    with pytest.raises(
        ZsadError, match=r"--out .*board: cannot be written \(No space left on device\); free or unlock"
    ):
        outputs.check_folder(tmp_path / "board", "--out")


def test_little_space_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(outputs.shutil, "disk_usage", lambda place: SimpleNamespace(free=5 << 20))
    with pytest.raises(ZsadError, match="5 MB are free on its disk, and 16 are needed at least"):
        outputs.check_folder(tmp_path, "--out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_told(tmp_path):
    (tmp_path / "shut").mkdir(mode=0o555)
    with pytest.raises(ZsadError, match="Permission denied"):
        outputs.check_folder(tmp_path / "shut" / "new", "--out")
