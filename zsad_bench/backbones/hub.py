"""Weights of a named checkpoint: from the local cache, else from the model hub, else a quick clear error."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from zsad_bench.errors import BackboneError
from zsad_bench.locks import Held, locked

Report = Callable[[int, "int | None"], None]  # bytes so far, bytes in all if known
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PART = ".part"  # behind the hash of what is not complete
_BLOCK = 1 << 16  # bytes; what a broken connection may cost
_TIMEOUT = (8.0, 30.0)  # seconds to connect, and without a byte
PROBE_SECONDS = 6.0  # a hub that cannot be reached would otherwise cost most of a minute in retries


def find_weights(hub: str, default_names: Sequence[str], title: str) -> Path:
    """Path of a weight file, downloaded when it is not in a cache.

    hub: "owner/model/" or "owner/model/file". default_names: file names in the order of preference, where `hub` has
    none. title: its name in messages.

    Raises:
        BackboneError: not cached and the hub is off, out of reach or without the file; within ten seconds.
    """
    cached = cached_weights(hub, default_names, title)
    if cached is not None:
        return cached
    repo, names, advice = _asked(hub, default_names, title)
    return _download(repo, names, title, advice)


def fetch_weights(
    hub: str, default_names: Sequence[str], title: str, report: Report = lambda done, total: None
) -> Path:
    """As `find_weights`, with a transfer that resumes where an earlier one ended, and whose hash is checked.

    The hub's own library begins anew with each call. report: called with the bytes so far and in all.

    Raises:
        BackboneError: as `find_weights`; the connection ended, or the content is not what the hub has.
    """
    cached = cached_weights(hub, default_names, title)
    if cached is not None:
        return cached
    repo, names, advice = _asked(hub, default_names, title)
    return _download(repo, names, title, advice, lambda name: _transfer(repo, name, title, report))


def _asked(hub: str, default_names: Sequence[str], title: str) -> tuple[str, list[str], str]:
    """Repository, file names and advice, of a hub that answers.

    Raises:
        BackboneError: it is off or out of reach.
    """
    from huggingface_hub import constants

    repo, names = _candidates(hub, default_names, title)
    advice = f"give a local copy with --weights PATH: {names[0]} of {repo}, or a folder that holds it"
    if constants.HF_HUB_OFFLINE:
        raise BackboneError(f"{title} is not on this machine and the model hub is switched off; {advice}")
    if not reachable(constants.ENDPOINT):
        raise BackboneError(f"{title} is not on this machine and {constants.ENDPOINT} cannot be reached; {advice}")
    return repo, names, advice


def cached_weights(hub: str, default_names: Sequence[str], title: str) -> Path | None:
    """Path of the weight file if it is in the hub's cache on this machine; the network is not asked."""
    from huggingface_hub import try_to_load_from_cache

    repo, names = _candidates(hub, default_names, title)
    found = (try_to_load_from_cache(repo, name) for name in names)
    return next((Path(path) for path in found if isinstance(path, str)), None)


class HubHash(NamedTuple):
    """A file's hash as the hub gives it: sha256 of a large file, git's object id of a small one."""

    kind: Literal["sha256", "git"]
    digits: str


def hub_hash(path: Path) -> HubHash | None:
    """What the hub says of a file in its cache, by whose hash the cache names it; None for any other file."""
    name = path.resolve().name
    return _kind(name) if path.resolve().parent.name == "blobs" and _HASH.fullmatch(name) else None


def check_download(path: Path, title: str) -> HubHash | None:
    """The hub's hash of a file in its cache, which the content has; None where the hub gives none.

    Raises:
        BackboneError: the content has another hash.
    """
    expected = hub_hash(path)
    if expected is not None:
        _compare(path, expected, title)
    return expected


def _kind(digits: str) -> HubHash:
    return HubHash("sha256" if len(digits) == 64 else "git", digits)


def _compare(path: Path, expected: HubHash, title: str) -> None:
    with path.open("rb") as file:
        if expected.kind == "sha256":
            found = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
            while block := file.read(_BLOCK):
                digest.update(block)
            found = digest.hexdigest()
    if found != expected.digits:
        raise BackboneError(
            f"{title} is damaged: {path} has {expected.kind} {found[:12]}, the hub says {expected.digits[:12]}; remove "
            f"{path.resolve()} and download it again"
        )


def reachable(url: str, seconds: float = PROBE_SECONDS) -> bool:
    """Whether any answer comes from `url` within that time, name look-up included; honours proxy settings."""
    answers: list[bool] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds):
                answers.append(True)
        except urllib.error.HTTPError:
            answers.append(True)  # a refusal is an answer
        except (OSError, ValueError, HTTPException):
            answers.append(False)

    # A thread, because a name look-up does not respect the timeout of a socket.
    probe = threading.Thread(target=ask, daemon=True)
    probe.start()
    probe.join(seconds)
    return any(answers)


def _candidates(hub: str, default_names: Sequence[str], title: str) -> tuple[str, list[str]]:
    """Repository and file names, safetensors first."""
    repo, _, name = hub.rpartition("/")
    if not repo:
        raise BackboneError(f"{title} is not on the model hub; download it and give it with --weights PATH")
    if not name:
        return repo, list(default_names)
    safe = str(Path(name).with_suffix(".safetensors"))
    return repo, list(dict.fromkeys([safe, name]))


def _download(
    repo: str, names: list[str], title: str, advice: str, before: Callable[[str], None] = lambda name: None
) -> Path:
    """The first of the files that there is, in the hub's cache. before: called with each name that is tried."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    for name in names:
        try:
            before(name)
            return Path(hf_hub_download(repo, name))
        except EntryNotFoundError:
            continue
        except BackboneError:
            raise
        except Exception as error:  # network, disk, rights: all end in the same advice
            reason = str(error).split("\n")[0][:160] or type(error).__name__
            raise BackboneError(f"{title} could not be downloaded ({reason}); {advice}") from error
    raise BackboneError(f"{title}: {repo} holds none of {', '.join(names)}; {advice}")


def _transfer(repo: str, name: str, title: str, report: Report) -> None:
    """Puts the content of a file where the hub's library keeps it, so that the library finds it there.

    What was transferred stays beside it under the content's hash until it is complete: the same hash is the same file.

    Raises:
        BackboneError: the connection ended, or another process does the same. EntryNotFoundError: no such file.
    """
    import requests
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import repo_folder_name

    found = get_hf_file_metadata(hf_hub_url(repo, name))
    if not found.etag or not _HASH.fullmatch(found.etag):
        return  # nothing to know the content by: left to the library
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model") / "blobs"
    blob, part = folder / found.etag, folder / f"{found.etag}{_PART}"
    if blob.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder / f"{found.etag}.lock", 0):
            try:
                _receive(str(found.location), part, found.size, report)
            except requests.HTTPError as error:
                raise _ended(title, part, found.size, str(error)[:80]) from None
            except requests.RequestException:
                raise _ended(title, part, found.size, "the connection ended") from None
            if found.size is not None and part.stat().st_size != found.size:
                raise _ended(title, part, found.size, "the connection ended")
            try:
                _compare(part, _kind(found.etag), title)
            except BackboneError:
                part.unlink()
                raise
            os.replace(part, blob)
    except Held:
        raise BackboneError(f"{title}: another process is fetching it; wait for it") from None


def _receive(url: str, part: Path, size: int | None, report: Report) -> None:
    """Adds to `part` what comes behind its bytes."""
    import requests
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers

    have = part.stat().st_size if part.exists() else 0
    if size is not None and have > size:
        part.unlink()
        have = 0
    if have == size:
        return
    same_host = urlsplit(url).netloc == urlsplit(constants.ENDPOINT).netloc
    # A token is for the hub alone.
    headers = {"Accept-Encoding": "identity", **(build_hf_headers() if same_host else {})}
    headers |= {"Range": f"bytes={have}-"} if have else {}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
        answer.raise_for_status()
        with part.open("ab" if answer.status_code == 206 else "wb") as file:
            for block in answer.iter_content(_BLOCK):
                file.write(block)
                report(file.tell(), size)


def _ended(title: str, part: Path, size: int | None, why: str) -> BackboneError:
    have = part.stat().st_size if part.exists() else 0
    of = f" of {size:,}" if size is not None else ""
    return BackboneError(
        f"{title} could not be downloaded ({why} after {have:,}{of} bytes); run the same command again: it resumes"
    )
