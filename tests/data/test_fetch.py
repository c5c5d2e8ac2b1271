# pytest tests/data/test_fetch.py
"""Fetching from a server of the test's own on 127.0.0.1: resumed, checked, unpacked safely, placed whole or not."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from zsad_bench.data import fetch as fetching
from zsad_bench.data.fetch import _CHUNK, RECORD, Download, fetch
from zsad_bench.errors import DatasetError, UsageError, ZsadError

# --- a server ---------------------------------------------------------------------------------------------------------


class Server:
    """files: what is served, by path. cut: the connection ends after so many bytes of a body. asked: Range headers.

    etag: of every file; None names no version. ranges: whether parts of a file are served.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: int | None = None
        self.etag: str | None = '"first"'
        self.ranges = True
        self.asked: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda *_: None  # clients that go away are part of the tests
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body, wanted = self.files.get(request.path), request.headers["Range"]
        self.asked.append(wanted)
        if body is None:
            request.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if request.headers.get("If-Range", self.etag) != self.etag:
            start = 0
        if start and start >= len(body):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(body)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206 if start else 200)
        if self.etag is not None:
            request.send_header("ETag", self.etag)
        request.send_header("Content-Length", str(len(body) - start))
        request.end_headers()
        sent, self.cut = body[start:][: self.cut], None
        request.wfile.write(sent)
        request.close_connection = len(sent) < len(body) - start

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/{path}"

    def offer(self, path: str, body: bytes, kind="zip", folder: str = "", known: bool = True) -> Download:
        self.files[f"/{path}"] = body
        return Download(self.url(path), hashlib.sha256(body).hexdigest() if known else None, kind, folder)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def zipped(members: dict[str, bytes], mode: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            file.writestr(info, content)
    return buffer.getvalue()


def tarred(*members: tarfile.TarInfo | tuple[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as file:
        for member in members:
            info, content = (
                (member, b"") if isinstance(member, tarfile.TarInfo) else (tarfile.TarInfo(member[0]), member[1])
            )
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


CONTENT = {"set/a.txt": b"a" * 5 * _CHUNK, "set/b/c.txt": bytes(range(256)) * 20}


# --- whole downloads --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.xz"])
def test_an_archive_is_downloaded_unpacked_placed_and_recorded(server, tmp_path, kind):
    body = zipped(CONTENT) if kind == "zip" else tarred(*CONTENT.items(), mode="w:xz" if "xz" in kind else "w")
    download = server.offer("set.archive", body, kind[:3])
    said = []
    (fetched,) = fetch("x", [download], tmp_path / "Set", ["set"], "CC0", lambda *line: said.append(line))
    assert below(tmp_path) == {"Set/a.txt", "Set/b/c.txt", f"Set/{RECORD}"}, "the folder around all is left out"
    assert (tmp_path / "Set/b/c.txt").read_bytes() == CONTENT["set/b/c.txt"]
    assert fetched == (download.url, download.sha256, len(body), True)
    record = json.loads((tmp_path / "Set" / RECORD).read_text())
    assert record["licence"] == "CC0"
    assert record["files"] == [fetched._asdict()]
    assert ("downloading", len(body), len(body)) in said
    assert said[-1][:2] == ("unpacking", sum(map(len, CONTENT.values())))


def test_a_folder_around_everything_that_is_not_the_datasets_own_is_kept(server, tmp_path):
    fetch("x", [server.offer("a.zip", zipped(CONTENT))], tmp_path / "X", ["other"])
    assert below(tmp_path / "X") == {"set/a.txt", "set/b/c.txt", RECORD}


def test_several_archives_each_find_their_folder_whether_they_hold_it_or_not(server, tmp_path):
    with_folder = zipped({"images/1.txt": b"1", "__MACOSX/images/1": b"junk"})
    downloads = [
        server.offer("one.zip", with_folder, folder="images"),
        server.offer("two.zip", zipped({"1.txt": b"2"}), folder="masks"),
    ]
    fetch("x", downloads, tmp_path / "X")
    assert below(tmp_path / "X") == {"images/1.txt", "masks/1.txt", RECORD}


def test_an_unknown_hash_is_taken_and_said(server, tmp_path):
    body = zipped(CONTENT)
    (fetched,) = fetch("x", [server.offer("a.zip", body, known=False)], tmp_path / "X")
    assert fetched.sha256 == hashlib.sha256(body).hexdigest()
    assert not fetched.verified
    assert json.loads((tmp_path / "X" / RECORD).read_text())["files"][0]["verified"] is False


def test_an_empty_folder_may_be_the_destination(server, tmp_path):
    (tmp_path / "X").mkdir()
    fetch("x", [server.offer("a.zip", zipped(CONTENT))], tmp_path / "X")
    assert (tmp_path / "X/set/a.txt").is_file()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_an_existing_destination_is_refused_and_left_alone(server, tmp_path, kind):
    there = tmp_path / "X" / "mine" if kind == "folder" else tmp_path / "X"
    there.parent.mkdir(exist_ok=True)
    there.write_text("mine")
    with pytest.raises(DatasetError, match="is there already and is left as it is"):
        fetch("x", [server.offer("a.zip", zipped(CONTENT))], tmp_path / "X")
    assert there.read_text() == "mine"
    assert not server.asked, "it was downloaded in vain"


def test_two_processes_do_not_fetch_into_one_folder(server, tmp_path):
    import filelock

    (tmp_path / ".X.fetch").mkdir()
    with (
        filelock.FileLock(tmp_path / ".X.fetch" / "lock"),
        pytest.raises(DatasetError, match="another process is fetching it"),
    ):
        fetch("x", [server.offer("a.zip", zipped(CONTENT))], tmp_path / "X")


# --- what goes wrong on the way ---------------------------------------------------------------------------------------


def cut_then_again(server: Server, download: Download, place: Path) -> list[int]:
    """Bytes reported by a second try, after a first one whose connection ended."""
    server.cut = 3 * _CHUNK + 1000
    with pytest.raises(DatasetError, match="the same command again: it resumes where it stopped") as error:
        fetch("x", [download], place, ["set"])
    assert download.url in str(error.value)
    assert not place.exists(), "half a dataset was taken for whole"
    seen = []
    fetch("x", [download], place, ["set"], report=lambda what, done, total: seen.append(done))
    assert below(place) == {"a.txt", "b/c.txt", RECORD}
    assert (place / "b/c.txt").read_bytes() == CONTENT["set/b/c.txt"]
    assert not list(place.parent.glob(".*")), "the folder of the work was left behind"
    return seen


@pytest.mark.parametrize("known", [True, False])
def test_half_a_download_is_resumed(server, tmp_path, known):
    download = server.offer("a.zip", zipped(CONTENT), known=known)
    seen = cut_then_again(server, download, tmp_path / "X")
    assert server.asked == [None, f"bytes={3 * _CHUNK}-"], "it began anew"
    assert seen[0] > 3 * _CHUNK


def test_a_server_without_ranges_or_versions_sends_all_again(server, tmp_path):
    server.ranges = False
    cut_then_again(server, server.offer("a.zip", zipped(CONTENT)), tmp_path / "X")
    server.ranges, server.etag, server.asked = True, None, []
    cut_then_again(server, server.offer("b.zip", zipped(CONTENT)), tmp_path / "Y")
    assert server.asked == [None, None], "halves of what may be two files were put together"


def test_a_file_that_changed_on_the_server_is_not_glued_to_the_old_half(server, tmp_path):
    server.offer("a.zip", b"old!" * 2 * _CHUNK)
    server.cut = 3 * _CHUNK + 1000
    with pytest.raises(DatasetError, match="again"):
        fetch("x", [Download(server.url("a.zip"), None, "zip")], tmp_path / "X")
    server.etag = '"second"'
    server.offer("a.zip", zipped(CONTENT))
    fetch("x", [Download(server.url("a.zip"), None, "zip")], tmp_path / "X")
    assert (tmp_path / "X/set/a.txt").read_bytes() == CONTENT["set/a.txt"]
    assert server.asked == [None, f"bytes={3 * _CHUNK}-"], "the test did not come to a half that is too old"


def test_a_download_that_was_whole_but_not_yet_in_its_place_is_not_repeated(server, tmp_path):
    download = server.offer("a.zip", zipped(CONTENT))
    work = tmp_path / ".X.fetch"
    work.mkdir()
    (work / "a.zip.part").write_bytes(server.files["/a.zip"])
    (work / "a.zip.part.version").write_text('"first"')
    fetch("x", [download], tmp_path / "X")
    assert (tmp_path / "X/set/a.txt").is_file()
    assert server.asked == [f"bytes={len(server.files['/a.zip'])}-"]


def test_a_wrong_hash_keeps_nothing_and_names_both(server, tmp_path):
    body = zipped(CONTENT)
    download = server.offer("a.zip", body)._replace(sha256="0" * 64)
    with pytest.raises(DatasetError, match="is not the file that was expected") as error:
        fetch("x", [download], tmp_path / "X")
    assert "0" * 64 in str(error.value)
    assert hashlib.sha256(body).hexdigest() in str(error.value)
    assert not below(tmp_path) - {".X.fetch/a.zip.part.version", ".X.fetch/lock"}, "the wrong file was kept"
    fetch("x", [download._replace(sha256=hashlib.sha256(body).hexdigest())], tmp_path / "X")
    assert server.asked == [None, None]


def test_a_missing_file_is_told_with_the_answer(server, tmp_path):
    with pytest.raises(DatasetError, match="answers 404 Not Found; the link may have moved"):
        fetch("x", [Download(server.url("gone.zip"), None, "zip")], tmp_path / "X")
    assert not list(tmp_path.iterdir()), "something was left behind"


def test_a_server_that_is_down_is_told_at_once(server, tmp_path):
    download = server.offer("a.zip", zipped(CONTENT))
    server.http.shutdown()
    server.http.server_close()
    started = time.perf_counter()
    with pytest.raises(DatasetError, match=r"cannot download http://127.*refused.*check the network"):
        fetch("x", [download], tmp_path / "X")
    assert time.perf_counter() - started < 20, "a refused connection was tried for long"
    assert not list(tmp_path.iterdir()), "something was left behind"


def test_a_server_that_never_answers_is_given_up_soon(monkeypatch, server, tmp_path):
    """No timeout of a connection covers the look-up of a name; the limit on the first answer does."""
    import requests

    assert fetching._FIRST_ANSWER < 10
    monkeypatch.setattr(fetching, "_FIRST_ANSWER", 0.2)
    released = threading.Event()
    monkeypatch.setattr(requests, "get", lambda *_, **__: released.wait(60))
    started = time.perf_counter()
    with pytest.raises(DatasetError, match="no answer within"):
        fetch("x", [server.offer("a.zip", zipped(CONTENT))], tmp_path / "X")
    assert time.perf_counter() - started < 20
    released.set()


def test_too_little_room_is_told_before_the_download(monkeypatch, server, tmp_path):
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(DatasetError, match="bytes do not fit into"):
        fetch("x", [server.offer("a.zip", zipped(CONTENT))], tmp_path / "X")


# --- archives that are damaged or mean harm ---------------------------------------------------------------------------

OUTSIDE = "outside/secret.txt"
HARMFUL = {
    "zip with ..": ("zip", zipped({"a.txt": b"a", f"../{OUTSIDE}": b"x"})),
    "zip with .. inside": ("zip", zipped({f"a/../../{OUTSIDE}": b"x"})),
    "zip with ..\\": ("zip", zipped({"a\\..\\..\\x.txt": b"x"})),
    "zip with an absolute path": ("zip", zipped({"/etc/zsad_test": b"x"})),
    "zip with a drive": ("zip", zipped({"C:\\x.txt": b"x"})),
    "zip with a link": ("zip", zipped({"a": b"../outside"}, stat.S_IFLNK | 0o777)),
    "tar with ..": ("tar", tarred((f"../{OUTSIDE}", b"x"))),
    "tar with an absolute path": ("tar", tarred(("/etc/zsad_test", b"x"))),
    "tar with a link out": ("tar", tarred(special("a", tarfile.SYMTYPE, "../../outside"), ("a/secret.txt", b"x"))),
    "tar with an absolute link": ("tar", tarred(special("a", tarfile.SYMTYPE, "/etc"))),
    "tar with a hard link out": ("tar", tarred(special("a", tarfile.LNKTYPE, f"../{OUTSIDE}"))),
    "tar with a device": ("tar", tarred(special("a", tarfile.CHRTYPE))),
    "tar with a pipe": ("tar", tarred(special("a", tarfile.FIFOTYPE))),
}


@pytest.mark.parametrize("what", HARMFUL)
def test_an_unsafe_archive_is_refused_and_writes_nothing_outside(server, tmp_path, what):
    secret = tmp_path / OUTSIDE
    secret.parent.mkdir()
    secret.write_text("mine")
    kind, body = HARMFUL[what]
    with pytest.raises(DatasetError, match=r"is unsafe and was not unpacked: its member \S+") as error:
        fetch("x", [server.offer("a.archive", body, kind)], tmp_path / "X")
    assert "\n" not in str(error.value)
    assert secret.read_text() == "mine"
    assert not (tmp_path / "X").exists()
    assert not Path("/etc/zsad_test").exists()
    outside = {name for name in below(tmp_path) if not name.startswith(".X.fetch/")}
    assert outside == {OUTSIDE}, f"written outside: {outside}"


def test_a_link_inside_the_archive_is_kept(server, tmp_path):
    body = tarred(("a/1.txt", b"1"), special("a/2.txt", tarfile.SYMTYPE, "1.txt"))
    fetch("x", [server.offer("a.tar", body, "tar")], tmp_path / "X")
    assert (tmp_path / "X/a/2.txt").read_bytes() == b"1"


def _corrupt(body: bytes) -> bytes:
    at = body.index(b"aaaa")
    return body[:at] + b"b" + body[at + 1 :]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("zip", zipped(CONTENT)[:_CHUNK]),
        ("zip", _corrupt(zipped(CONTENT))),
        ("zip", b"<html>Please log in</html>"),
        ("tar", tarred(*CONTENT.items())[:_CHUNK]),
        ("tar", b"<html>Please log in</html>"),
        ("tar", tarred(*CONTENT.items(), mode="w:xz")[:100]),
    ],
)
def test_a_damaged_archive_is_told_and_nothing_is_placed(server, tmp_path, kind, body):
    with pytest.raises(DatasetError, match=r"cannot unpack .*a\.archive"):
        fetch("x", [server.offer("a.archive", body, kind, known=False)], tmp_path / "X")
    assert not (tmp_path / "X").exists()


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch, tmp_path):
    """fetch(name, **options) of the command line, with ZSAD_DATA in a folder of the test's own."""
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()

    def run(name: str, into: str | None = None, **options):
        from zsad_bench.commands import data_fetch

        data_fetch.run(data_fetch.Options(name=name, into=into, **options))

    return run


def miniature(name: str, layout: str, folder: Path, only: str = "") -> bytes:
    from tests.data import miniatures

    miniatures.load(name).write(folder, layout)
    return zipped({path: (folder / path).read_bytes() for path in sorted(below(folder)) if path.startswith(only)})


@pytest.mark.parametrize("into", [None, "elsewhere/btad"])
def test_btad_is_fetched_once_its_licence_is_accepted(command, server, monkeypatch, tmp_path, capsys, into):
    from zsad_bench import registry

    btad = registry.load("datasets", "btad")
    body = miniature("btad", "mvtec_style", tmp_path / "mini")
    monkeypatch.setattr(btad, "downloads", (server.offer("btad.zip", body),))
    into = into and str(tmp_path / into)
    with pytest.raises(UsageError, match=r"CC BY-NC-SA 4\.0.*add --accept-licence"):
        command("btad", into)
    assert "licence: CC BY-NC-SA 4.0" in capsys.readouterr().out
    assert not server.asked, "downloaded before the licence was accepted"
    command("btad", into, accept_licence=True)
    place = Path(into) if into else tmp_path / "data" / "BTech_Dataset_transformed"
    assert (place / "01/test/ko").is_dir()
    said = capsys.readouterr().out
    assert str(place) in said
    assert "6 normal and 6 anomalous test images" in said
    assert "as expected" in said
    if not into:
        with pytest.raises(DatasetError, match="is there already"):
            command("btad", accept_licence=True)


def test_isic_says_that_its_hash_is_not_known(command, server, monkeypatch, tmp_path, capsys):
    from zsad_bench import registry

    isic = registry.load("datasets", "isic")
    miniature("isic", "raw", tmp_path / "mini")
    (root,) = {path.parents[1] for path in (tmp_path / "mini").rglob("*_Segmentation.png")}
    assert all(link.sha256 is None for link in isic.downloads)
    offered = []
    for link in isic.downloads:
        content = {path.name: path.read_bytes() for path in (root / link.folder).iterdir() if path.is_file()}
        offered.append(server.offer(link.file_name, zipped(content), folder=link.folder, known=False))
    monkeypatch.setattr(isic, "downloads", tuple(offered))
    command("isic")
    said = capsys.readouterr().out
    assert said.count("NOT verified: no hash of this file is published") == 2
    for link in offered:
        assert hashlib.sha256(server.files[f"/{link.file_name}"]).hexdigest() in said
    assert "0 normal and" in said


def test_a_link_is_given_by_hash_only_where_the_licence_asks_no_more(command):
    """Every card with a link: https, a hash or a licence that frees the files, and consent where the licence binds."""
    from zsad_bench import registry

    cards = {name: registry.load("datasets", name) for name in registry.names("datasets")}
    linked = {name: card for name, card in cards.items() if card.downloads}
    assert set(linked) >= {"visa", "btad", "isic", "sdd"}
    for name, card in linked.items():
        assert all(link.url.startswith("https://") for link in card.downloads), name
        assert card.ask_consent == ("NC" in card.licence), f"{name}: {card.licence}"
        assert all(link.sha256 is None or len(link.sha256) == 64 for link in card.downloads), name
        assert len(card.downloads) == 1 or all(link.folder for link in card.downloads), name
    assert not any(card.ask_consent and not card.downloads for card in cards.values())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mvtec", ["https://www.mvtec.com/", "mvtec_anomaly_detection.tar.xz", "bottle/test/good/", "CC BY-NC-SA"]),
        ("elpv", ["pip install elpv-dataset", "labels.csv", "CC BY-NC-SA"]),
        ("lag", ["password", "re-upload forbidden"]),
        ("tn3k", ["test-image/ beside test-mask/", "data/tn3k"]),
    ],
)
def test_without_a_link_the_steps_are_printed(command, capsys, tmp_path, name, says):
    with pytest.raises(DatasetError, match=f"{name} cannot be fetched by a program") as error:
        command(name)
    assert error.value.exit_code == 1
    said = capsys.readouterr().out
    for words in (*says, str(tmp_path / "data"), f"zsad-bench data check {name}", "licence: "):
        assert words in said, f"{name}: nothing about {words} in\n{said}"


@pytest.mark.parametrize(("name", "says"), [("demo_rich", "make-demo"), ("folder", "nothing to download")])
def test_what_is_not_downloaded_says_where_it_comes_from(command, name, says):
    with pytest.raises(UsageError, match=says):
        command(name)


def test_without_a_place_the_options_are_named(command, monkeypatch):
    monkeypatch.delenv("ZSAD_DATA")
    with pytest.raises(UsageError, match=r"set ZSAD_DATA .* or give --into"):
        command("visa")


def test_every_dataset_of_the_papers_answers(command, capsys, monkeypatch):
    """Either steps by hand or a link, for each of them; nothing is downloaded here."""
    from zsad_bench import registry
    from zsad_bench.commands import data_fetch
    from zsad_bench.data.public import PublicDataModule
    from zsad_bench.planning.suite import PAPER

    monkeypatch.setattr(data_fetch.downloading, "fetch", lambda *_: (_ for _ in ()).throw(DatasetError("a link")))
    public = [n for n in registry.names("datasets") if issubclass(registry.load("datasets", n), PublicDataModule)]
    assert set(public) >= set(PAPER.targets)
    for name in public:
        with pytest.raises(ZsadError, match=r"a link|cannot be fetched|accept-licence"):
            command(name)
