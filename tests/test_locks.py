# pytest tests/test_locks.py
"""Locks exclude, also on a file system without locks; one that is held or unavailable is reported before training."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import threading

import pytest

from zsad_bench import locks
from zsad_bench.errors import RowError, UsageError, ZsadError
from zsad_bench.locks import Held, locked
from zsad_bench.results import rows as store
from zsad_bench.runner.early import try_writing


@pytest.fixture(
    params=[None, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP], ids=["locks", "ENOLCK", "ENOSYS", "EOPNOTSUPP"]
)
def system(request, monkeypatch):
    """A file system with locks, or one that refuses them so; the number of its error."""
    monkeypatch.setattr(locks, "_without", {})
    monkeypatch.setattr(locks, "_told", set())
    if request.param is not None:

        def flock(handle, how):
            raise OSError(request.param, os.strerror(request.param))

        monkeypatch.setattr(fcntl, "flock", flock)
    return request.param


def test_one_at_a_time_and_free_again(system, tmp_path, capsys):
    inside, most = [], []

    def work():
        for _ in range(5):
            with locked(tmp_path / "a.lock", 30):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 20
    with (
        locked(tmp_path / "a.lock", 0),
        pytest.raises(Held, match=r"another process holds .*a\.lock"),
        locked(tmp_path / "a.lock", 0),
    ):
        pytest.fail("two hold it")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == (system is not None), f"printed once, and only on a file system without locks: {said}"
    assert all(os.strerror(system) in line and "has no locks" in line for line in said)
    assert not list(tmp_path.glob("*.held")), "it stays held"


def test_it_is_free_after_an_error(system, tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "a.lock"):
        _ = 1 / 0
    with locked(tmp_path / "a.lock", 0):
        pass


def test_a_lock_file_of_a_machine_with_locks_holds_nobody_up(system, tmp_path):
    (tmp_path / "a.lock").touch()
    with locked(tmp_path / "a.lock", 0):
        pass


def test_rows_are_appended(system, tmp_path):
    store.try_append(tmp_path / "rows/x.jsonl")
    assert not (tmp_path / "rows/x.jsonl").exists(), "trying leaves an empty file of rows"
    store.append(tmp_path / "rows/x.jsonl", [])
    assert (tmp_path / "rows/x.jsonl").is_file()


def _die_holding(path) -> None:
    locks._without[path.parent] = True
    lock = locked(path)
    lock.__enter__()
    os._exit(9)


def test_what_a_killed_process_of_this_machine_left_is_taken_away(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_without", {tmp_path: True})
    process = multiprocessing.get_context("fork").Process(target=_die_holding, args=(tmp_path / "a.lock",))
    process.start()
    process.join()
    assert list(tmp_path.glob("*.held")), "the process held nothing"
    with locked(tmp_path / "a.lock", 20):
        pass


def test_another_error_is_no_want_of_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_without", {})
    with pytest.raises(FileNotFoundError), locked(tmp_path / "none" / "a.lock", 0):
        pass


# --- before training --------------------------------------------------------------------------------------------------


def test_a_row_file_that_cannot_be_appended_is_told(tmp_path, monkeypatch):
    (tmp_path / "rows" / "clip.jsonl").mkdir(parents=True)
    with pytest.raises(RowError, match=r"clip\.jsonl: rows could not be appended \(.*directory.*\); free or unlock"):
        try_writing(tmp_path, tmp_path / "runs", ["clip"])
    monkeypatch.setattr(store, "_LOCK_SECONDS", 0)
    with locked(tmp_path / "rows" / "dive.jsonl.lock"), pytest.raises(RowError, match="another process holds"):
        try_writing(tmp_path, tmp_path / "runs", ["dive"])


def test_a_board_that_is_complete_may_be_read_only(tmp_path):
    (tmp_path / "file").touch()
    try_writing(tmp_path / "file", tmp_path / "file", [])
    with pytest.raises(UsageError, match="is a file; name a folder"):
        try_writing(tmp_path / "file" / "board", tmp_path / "runs", ["clip"])
    with pytest.raises(ZsadError, match=r"--runs .* is a file"):
        try_writing(tmp_path / "board", tmp_path / "file", ["clip"])
