"""A dataset's archives from their links into a folder: resumed when interrupted, checked, placed whole or not at all.

Everything happens in a hidden folder beside the destination, which keeps what was downloaded until the dataset is in
its place. pooch checks the hashes and puts a finished file in its place; it does not resume, so the transfer is ours.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from zsad_bench.atomic import whole_file
from zsad_bench.data.unpack import Kind, unpack
from zsad_bench.errors import DatasetError
from zsad_bench.locks import Held, locked

if TYPE_CHECKING:
    from requests import Response

RECORD = "zsad_fetched.json"  # beside the data: where it came from, and the hashes seen
_FIRST_ANSWER = 9.0  # seconds: looking up a name can take longer than any timeout of the connection
_TIMEOUT = (8.0, 30.0)  # seconds to connect, and without a byte
_CHUNK = 1 << 16  # bytes; what a broken connection may cost
_AGAIN = "run the same command again: it resumes where it stopped"

Report = Callable[[str, int, "int | None"], None]  # what is being done, bytes so far, bytes in all if known


class Download(NamedTuple):
    """A direct link. sha256: hex, None where nobody has published one; such a file is not verified, and a line says so.

    folder: where in the dataset its content belongs, whether the archive holds that folder itself or only what is in
    it; needed where a dataset has several archives.
    """

    url: str
    sha256: str | None
    kind: Kind
    folder: str = ""

    @property
    def file_name(self) -> str:
        return urlsplit(self.url).path.rpartition("/")[2] or "archive"


class Fetched(NamedTuple):
    """A file that was downloaded: its hash as seen, its size in bytes, and whether the hash was known before."""

    url: str
    sha256: str
    size: int
    verified: bool


def fetch(
    name: str,
    downloads: Sequence[Download],
    destination: Path,
    own_folders: Sequence[str] = (),
    licence: str = "",
    report: Report = lambda what, done, total: None,
) -> list[Fetched]:
    """What was downloaded, one entry per file; the dataset then lies in `destination`, with `zsad_fetched.json` in it.

    own_folders: names of the one folder that an archive may hold around everything, which is left out.

    Raises:
        DatasetError: the destination holds something, the server cannot be reached, the connection ended, a hash
            differs, an archive is damaged or unsafe, or the disk is full; one line that says what to do. The
            destination is then as it was, and what was downloaded is kept for the next try.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise DatasetError(f"{name}: {destination} is there already and is left as it is; remove it, or name another")
    work = destination.parent / f".{destination.name}.fetch"
    try:
        work.mkdir(parents=True, exist_ok=True)
        with locked(work / "lock", 0):
            fetched = [_retrieve(name, download, work, report) for download in downloads]
            whole = _unpacked(name, downloads, work, own_folders, report)
            _write_record(whole / RECORD, name, licence, fetched)
            os.replace(whole, destination)
            shutil.rmtree(work, ignore_errors=True)
    except Held:
        raise DatasetError(f"{name}: another process is fetching it into {destination}; wait for it") from None
    except DatasetError:
        if [path.name for path in work.iterdir()] in ([], ["lock"]):  # nothing worth keeping
            shutil.rmtree(work, ignore_errors=True)
        raise
    except OSError as error:
        raise DatasetError(f"{name}: cannot write {destination} ({error.strerror or error}); {_AGAIN}") from None
    return fetched


def _retrieve(name: str, download: Download, work: Path, report: Report) -> Fetched:
    """The file in `work`, downloaded unless it is there whole."""
    import pooch

    pooch.get_logger().setLevel("WARNING")

    def transfer(url: str, output: str, _: object) -> None:
        part = work / f"{download.file_name}.part"
        _transfer(name, url, part, report)
        os.replace(part, output)

    known = None if download.sha256 is None else f"sha256:{download.sha256}"
    try:
        path = Path(pooch.retrieve(download.url, known, download.file_name, work, downloader=transfer))
    except ValueError as error:  # the hash; pooch has deleted the file
        reason = " ".join(str(error).split())
        raise DatasetError(f"{name}: {download.url} is not the file that was expected: {reason}") from None
    seen = download.sha256 or pooch.file_hash(str(path))
    return Fetched(download.url, seen, path.stat().st_size, verified=download.sha256 is not None)


def _transfer(name: str, url: str, part: Path, report: Report) -> None:
    """Completes `part`, beginning after the bytes it has when the server still offers the same file.

    The file's version, as its server names it, is kept beside it; without one the transfer begins anew.
    """
    import requests

    tag = part.with_name(f"{part.name}.version")
    version = tag.read_text() if tag.exists() else ""
    have = part.stat().st_size if version and part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-", "If-Range": version} if have else {})
    try:
        with _ask(url, headers) as answer:
            if answer.status_code == 416:  # nothing lies behind the bytes we have
                if answer.headers.get("Content-Range", "").endswith(f"/{have}"):
                    return
                part.unlink()
                raise DatasetError(f"{name}: {url} has changed since the download began; run the same command again")
            if answer.status_code not in (200, 206):
                raise DatasetError(
                    f"{name}: {url} answers {answer.status_code} {answer.reason}; the link may have moved, see the "
                    "dataset's home page"
                )
            if answer.status_code == 200:
                have = 0
            tag.write_text(_version(answer))
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            if total and total - have > shutil.disk_usage(part.parent).free:
                raise DatasetError(f"{name}: {total - have:,} bytes do not fit into {part.parent.parent}; make room")
            with part.open("ab" if have else "wb") as file:
                for chunk in answer.iter_content(_CHUNK):
                    file.write(chunk)
                    have += len(chunk)
                    report("downloading", have, total)
    except requests.RequestException as error:
        size = part.stat().st_size if part.exists() else 0
        kept = f"after {size:,} bytes; " if size else ""
        raise DatasetError(
            f"{name}: cannot download {url} ({kept}{_reason(error)}); check the network, then {_AGAIN}"
        ) from None
    if total is not None and have != total:
        raise DatasetError(f"{name}: {url} ended after {have:,} of {total:,} bytes; {_AGAIN}")


def _ask(url: str, headers: dict[str, str]) -> Response:
    """The answer to a request, its body not read yet; within `_FIRST_ANSWER` seconds, or an error."""
    import requests

    answers: queue.Queue[Response | Exception] = queue.Queue()

    def ask() -> None:
        try:
            answers.put(requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=_FIRST_ANSWER)
    except queue.Empty:
        answer = requests.ConnectTimeout(f"no answer within {_FIRST_ANSWER:.0f} seconds")
    if isinstance(answer, Exception):
        raise answer
    return answer


def _version(answer: Response) -> str:
    """What `If-Range` may be given: a strong ETag, or the time of change; "" when the server names neither."""
    etag = answer.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified", "")


def _reason(error: Exception) -> str:
    """The innermost cause, without the layers that wrap it."""
    seen: BaseException = error
    while isinstance(inner := getattr(seen, "reason", None) or (seen.args[0] if seen.args else None), BaseException):
        seen = inner
    return " ".join(str(seen).split()).rpartition(">: ")[2] or type(seen).__name__


def _unpacked(name: str, downloads: Sequence[Download], work: Path, own_folders: Sequence[str], report: Report) -> Path:
    """The folder below `work` that holds the whole dataset."""
    whole = work / "whole"
    shutil.rmtree(whole, ignore_errors=True)  # of a try that was interrupted
    for download in downloads:
        scratch = work / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        unpack(name, work / download.file_name, download.kind, scratch, report)
        around = (download.folder,) if download.folder else own_folders
        (inner, *others) = [path for path in scratch.iterdir() if path.name != "__MACOSX"] or [scratch]
        content = inner if not others and inner.is_dir() and inner.name in around else scratch
        target = whole / download.folder
        target.parent.mkdir(exist_ok=True)
        os.replace(content, target)
    return whole


def _write_record(path: Path, name: str, licence: str, fetched: Sequence[Fetched]) -> None:
    files = [entry._asdict() for entry in fetched]
    record = {"dataset": name, "licence": licence, "files": files}
    with whole_file(path) as file:
        file.write(json.dumps(record, indent=2).encode() + b"\n")
