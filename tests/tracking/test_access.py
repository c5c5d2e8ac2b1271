# pytest tests/tracking/test_access.py
"""On, off or into files: decided in seconds, with at most one line of warning, and never with the key in it."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from tests.tracking.conftest import KEY
from zsad_bench.errors import UnknownNameError
from zsad_bench.tracking import access
from zsad_bench.tracking.access import Access, decide

GOOD = b'{"data": {"viewer": {"id": "me"}}}'


@pytest.mark.parametrize(
    ("asked", "wandb_mode", "mode"),
    [
        ("auto", None, "off"),
        ("auto", "disabled", "off"),
        ("auto", "offline", "offline"),
        ("auto", "dryrun", "offline"),
        ("off", "online", "off"),
        ("offline", "disabled", "offline"),
    ],
)
def test_what_is_asked_and_wandb_mode(monkeypatch, tmp_path, asked, wandb_mode, mode):
    if wandb_mode:
        monkeypatch.setenv("WANDB_MODE", wandb_mode)
    assert decide(asked, tmp_path) == Access(mode)


def test_off_leaves_nothing_behind(tmp_path):
    decide("auto", tmp_path / "runs")
    assert not (tmp_path / "runs").exists(), "a folder was made though nothing will be written"


def test_a_wrong_value_is_refused(tmp_path):
    with pytest.raises(UnknownNameError, match=r"value of --track.*offline"):
        decide("ofline", tmp_path)


def test_logged_in_and_reachable_is_online(server, tmp_path):
    asked = server(lambda question: (200, GOOD))
    assert decide("auto", tmp_path) == Access("online")
    assert len(asked) == 1, "one question is enough"


def test_a_login_is_found_in_netrc_too(monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text(f"machine wandb.example.org\n  login user\n  password {KEY}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not access.is_logged_in(), "that key is another server's"
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings").write_text("[default]\nbase_url = https://wandb.example.org/\n")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv("WANDB_BASE_URL")
    assert access.api_key() == KEY


@pytest.mark.parametrize(
    ("status", "content", "says"),
    [
        (401, b"", "refuses the key"),
        (200, b'{"data": {"viewer": null}}', "refuses the key"),
        (503, b"", "status 503"),
        (200, b"<html>log in to the hotel</html>", "not a wandb server"),
        (200, b"[]", "not a wandb server"),
    ],
)
def test_a_server_that_refuses_gives_offline_files_and_one_line(server, tmp_path, status, content, says):
    server(lambda question: (status, content))
    found = decide("auto", tmp_path)
    assert found.mode == "offline"
    assert says in found.warning, found.warning
    assert "\n" not in found.warning
    assert KEY not in found.warning, "the key was printed"


def test_nobody_answers(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    found = decide("auto", tmp_path)
    assert found.mode == "offline"
    assert "cannot be reached" in found.warning, found.warning


@pytest.mark.parametrize(("asked", "wandb_mode"), [("auto", "online"), ("online", "disabled")])
def test_online_without_a_login(monkeypatch, tmp_path, asked, wandb_mode):
    monkeypatch.setenv("WANDB_MODE", wandb_mode)
    found = decide(asked, tmp_path)
    assert found.mode == "offline"
    assert "not logged in" in found.warning, found.warning


def test_a_silent_server_is_waited_for_briefly(server, monkeypatch, tmp_path):
    monkeypatch.setattr(access, "PATIENCE_SECONDS", 0.2)
    released = threading.Event()
    server(lambda question: released.wait(60) and (200, GOOD))
    started = time.monotonic()
    assert decide("auto", tmp_path).mode == "offline"
    assert time.monotonic() - started < 30, "it waited for the answer"
    released.set()


@pytest.mark.parametrize("online", [False, True])
def test_a_folder_that_cannot_be_written_turns_it_off(server, monkeypatch, no_folder, online):
    server(lambda question: (200, GOOD) if online else (401, b""))
    found = decide("auto", no_folder)
    assert found.mode == "off"
    assert "cannot be written" in found.warning, found.warning
    assert "\n" not in found.warning


def test_wandb_dir_names_the_folder(monkeypatch, tmp_path, no_folder):
    monkeypatch.setenv("WANDB_DIR", str(no_folder))
    assert decide("offline", tmp_path).mode == "off", "WANDB_DIR was not looked at"


def test_deciding_does_not_import_wandb(monkeypatch, server, tmp_path):
    server(lambda question: (200, GOOD))
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it would raise
    assert decide("auto", tmp_path).mode == "online"
