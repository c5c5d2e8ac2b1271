# pytest tests/backbones/test_hub.py
"""The model hub: its cache is used without a network, and its absence is told in seconds (all on this machine)."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError

from zsad_bench.backbones import hub
from zsad_bench.backbones.load import load_backbone
from zsad_bench.errors import BackboneError

REPO, NAMES = "nobody/mini/", ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
CLOSED = "http://127.0.0.1:9"  # nothing listens there: refused at once


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", CLOSED)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def put_in_cache(name):
    root = hub.Path(constants.HF_HUB_CACHE) / "models--nobody--mini"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("abc")
    path = root / "snapshots" / "abc" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    return path


def test_no_network_is_told_in_seconds():
    started = time.perf_counter()
    with pytest.raises(BackboneError) as caught:
        load_backbone("ViT-L-14-336-quickgelu", "openai")
    assert time.perf_counter() - started < 10, "an unreachable hub must be reported within ten seconds"
    said = str(caught.value)
    assert said.startswith(f"ViT-L-14-336-quickgelu/openai is not on this machine and {CLOSED} cannot be reached")
    assert "--weights PATH" in said, "the way out is named"
    assert "open_clip_model.safetensors of timm/vit_large_patch14_clip_336.openai" in said, "and what to fetch"


def test_a_hub_that_is_switched_off(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "reachable", lambda *a: pytest.fail("the network was asked although it is off"))
    with pytest.raises(BackboneError, match="the model hub is switched off; give a local copy with --weights PATH"):
        hub.find_weights(REPO, NAMES, "mini/tag")


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_the_cache_needs_no_network(monkeypatch, name):
    path = put_in_cache(name)
    monkeypatch.setattr(hub, "reachable", lambda *a: pytest.fail("the network was asked for a cached file"))
    assert hub.find_weights(REPO, NAMES, "mini/tag") == path
    assert hub.cached_weights(REPO, NAMES, "mini/tag") == path


def test_a_silent_server_does_not_hold_us_up():
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, never answers
        started = time.perf_counter()
        assert not hub.reachable(f"http://127.0.0.1:{server.getsockname()[1]}", seconds=0.3)
        assert time.perf_counter() - started < 20, "the probe outlived its limit"


def test_a_slow_name_lookup_does_not_hold_us_up(monkeypatch):
    given_up = threading.Event()

    def lookup(*args, **kwargs):
        given_up.wait(60)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setenv("no_proxy", "hub.invalid")
    started = time.perf_counter()
    assert not hub.reachable("http://hub.invalid", seconds=0.2)
    assert time.perf_counter() - started < 20, "the probe waited for the name"
    given_up.set()


def test_download_prefers_safetensors_and_falls_back(monkeypatch):
    asked = []

    def download(repo, name):
        asked.append((repo, name))
        if name.endswith(".safetensors"):
            raise EntryNotFoundError("no such file")
        return "here.bin"

    monkeypatch.setattr(hub, "reachable", lambda *a: True)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert hub.find_weights(REPO, NAMES, "mini/tag") == hub.Path("here.bin")
    assert asked == [("nobody/mini", "open_clip_model.safetensors"), ("nobody/mini", "open_clip_pytorch_model.bin")]
    asked.clear()
    hub.find_weights("nobody/mini/own.bin", NAMES, "mini/tag")
    assert asked == [("nobody/mini", "own.safetensors"), ("nobody/mini", "own.bin")], "a record that names its file"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (EntryNotFoundError("no"), "mini/tag: nobody/mini holds none of open_clip_model"),
        (OSError("disk full\nmore"), r"mini/tag could not be downloaded \(disk full\); give a local copy"),
    ],
)
def test_a_download_that_fails(monkeypatch, error, said):
    def download(repo, name):
        raise error

    monkeypatch.setattr(hub, "reachable", lambda *a: True)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(BackboneError, match=said):
        hub.find_weights(REPO, NAMES, "mini/tag")


def test_a_record_without_a_hub():
    with pytest.raises(BackboneError, match="mini/tag is not on the model hub"):
        hub.find_weights("", NAMES, "mini/tag")


# --- a hub of the test's own ------------------------------------------------------------------------------------------

BODY = bytes(range(256)) * 4096  # 1 MiB
FILE = "/nobody/mini/resolve/main/open_clip_model.safetensors"


class Hub:
    """Answers as the model hub does for one file; `cut` bytes of it and then nothing more, where that is set."""

    def __init__(self) -> None:
        self.body, self.said, self.cut = BODY, hashlib.sha256(BODY).hexdigest(), None
        self.ranges: list[str | None] = []
        hub_of_test = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                hub_of_test.answer(self, head=True)

            def do_GET(self):
                hub_of_test.answer(self, head=False)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda *_: None
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    def answer(self, request, head: bool) -> None:
        if request.path not in (FILE, "/"):
            request.send_response(404)
            request.send_header("X-Error-Code", "EntryNotFound")
            request.send_header("X-Repo-Commit", "c" * 40)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        wanted = request.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        request.send_response(206 if wanted else 200)
        request.send_header("ETag", f'"{self.said}"')
        request.send_header("X-Linked-ETag", f'"{self.said}"')
        request.send_header("X-Linked-Size", str(len(self.body)))
        request.send_header("X-Repo-Commit", "c" * 40)
        request.send_header("Content-Length", str(len(self.body) - start))
        if wanted:
            request.send_header("Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(self.body)}")
        request.end_headers()
        if head:
            return
        self.ranges.append(wanted)
        if self.cut is not None and start >= self.cut:
            return  # not one byte more
        request.wfile.write(self.body[start : self.cut])


@pytest.fixture
def served(monkeypatch):
    own = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", own.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", own.url + "/{repo_id}/resolve/{revision}/{filename}")
    yield own
    own.http.shutdown()
    own.http.server_close()


def fetched(seen=None):
    calls = [] if seen is None else seen
    return hub.fetch_weights(REPO, NAMES, "mini/tag", lambda *of: calls.append(of))


@pytest.mark.parametrize("fetch", [hub.find_weights, hub.fetch_weights])
def test_a_download_is_checked_against_the_hash_that_the_hub_gives(served, fetch):
    path = fetch(REPO, NAMES, "mini/tag")
    assert path.read_bytes() == BODY
    assert hub.cached_weights(REPO, NAMES, "mini/tag") == path, "it is not where the hub's library looks"
    assert hub.check_download(path, "mini/tag") == ("sha256", served.said)
    before = len(served.ranges)
    assert hub.find_weights(REPO, NAMES, "mini/tag") == fetched() == path
    assert len(served.ranges) == before, "what is in the cache is not downloaded again"


def test_an_interrupted_download_resumes(served):
    served.cut = 4 << 16
    said = r"\(the connection ended after 262,144 of 1,048,576 bytes\); run the same command again: it resumes"
    with pytest.raises(BackboneError, match=said):
        fetched()
    assert hub.cached_weights(REPO, NAMES, "mini/tag") is None
    served.cut, seen = None, []
    path = fetched(seen)
    assert path.read_bytes() == BODY
    assert served.ranges == [None, "bytes=262144-"], "bytes that were there came again"
    assert (seen[0][0] > 4 << 16, seen[-1]) == (True, (1 << 20, 1 << 20))
    blobs = path.resolve().parent
    assert [one.name for one in blobs.iterdir() if one.suffix != ".lock"] == [served.said], "a part was left behind"


def test_other_content_than_the_hub_says_is_never_in_the_cache(served):
    served.body = BODY[:-1] + b"!"
    with pytest.raises(BackboneError, match=r"mini/tag is damaged: .* the hub says "):
        fetched()
    assert hub.cached_weights(REPO, NAMES, "mini/tag") is None
    served.body = BODY
    assert fetched().read_bytes() == BODY
    assert served.ranges == [None, None], "the damaged content was kept"


def test_content_that_was_damaged_later_is_found(served):
    path = fetched()
    path.resolve().chmod(0o644)
    path.resolve().write_bytes(BODY[:-1] + b"!")
    with pytest.raises(BackboneError, match=r"mini/tag is damaged: .* the hub says .*; remove .*blobs"):
        hub.check_download(path, "mini/tag")


def test_small_files_have_gits_hash(served):
    served.body = b"[CLS]\n"
    served.said = hashlib.sha1(b"blob 6\0[CLS]\n", usedforsecurity=False).hexdigest()
    assert hub.check_download(fetched(), "mini/tag") == ("git", served.said)


def test_a_server_that_stops_answering(served):
    served.http.shutdown()
    served.http.server_close()
    with pytest.raises(BackboneError, match=r"mini/tag is not on this machine and .* cannot be reached"):
        fetched()


def test_two_processes_do_not_fetch_one_file(served):
    from zsad_bench.locks import locked

    blobs = hub.Path(constants.HF_HUB_CACHE) / "models--nobody--mini" / "blobs"
    blobs.mkdir(parents=True)
    with locked(blobs / f"{served.said}.lock", 0), pytest.raises(BackboneError, match="another process is fetching it"):
        fetched()


def test_a_file_outside_the_cache_has_no_hash_of_the_hub(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"x")
    assert hub.hub_hash(tmp_path / "w.safetensors") is None
    assert hub.check_download(tmp_path / "w.safetensors", "mine") is None
