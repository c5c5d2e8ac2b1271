"""No test of the mirror reaches beyond this machine, reads the user's login, or leaves files outside its folder."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.tracking.offline import nobody_is_logged_in
from zsad_bench.console import Console

KEY = "k" * 40
Answer = Callable[[bytes], tuple[int, bytes]]


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path) -> None:
    nobody_is_logged_in(monkeypatch, tmp_path / "home")


@pytest.fixture
def record() -> dict[str, Any]:
    """The fields of a row that the mirror looks at."""
    return {
        "suite": "demo", "method": "dive", "method_version": "1", "variant": "", "prior": "limited", "prior_hash": "ab",
        "auxiliary": "demo_limited", "draw": 0, "seed": 1, "backbone": "tiny", "weights_hash": "cd", "image_size": 96,
        "config_hash": "ef", "precision": "float32", "metric_version": "1", "target": "demo_textures",
        "category": "carpet", "metric": "image_auroc", "value": 0.5, "data_options": "", "n_images": 4,
        "n_anomalous": 2, "key": "0123", "started": "2026-01-01T00:00:00Z", "package_version": "0.1.0", "commit": "",
        "torch": "2", "device": "cpu",
    }  # fmt: skip


@pytest.fixture
def server(monkeypatch) -> Iterator[Callable[[Answer], list[bytes]]]:
    """server(answer): a wandb server on this machine that answers so, with a key to it; returns what it was asked."""
    started: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> list[bytes]:
        asked: list[bytes] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked.append(self.rfile.read(int(self.headers["Content-Length"])))
                status, content = answer(asked[-1])
                self.send_response(status)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        started.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        Thread(target=started[-1].serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{started[-1].server_port}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        return asked

    yield start
    for each in started:
        each.shutdown()
        each.server_close()


@pytest.fixture
def no_folder(tmp_path) -> Path:
    """A place that nobody can write below, root included."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "runs"


@pytest.fixture
def quiet() -> Console:
    """A console that is no terminal; what it printed is in `quiet.file`."""
    return Console(file=io.StringIO(), width=40, force_terminal=False)
