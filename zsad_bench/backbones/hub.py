"""Weights of a named checkpoint: from the local cache, else from the model hub, else a quick clear error."""

from __future__ import annotations

import hashlib
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Literal, NamedTuple

from zsad_bench.errors import BackboneError

PROBE_SECONDS = 6.0  # a hub that cannot be reached would otherwise cost most of a minute in retries


def find_weights(hub: str, default_names: Sequence[str], title: str) -> Path:
    """Path of a weight file, downloaded when it is not in a cache.

    hub: "owner/model/" or "owner/model/file". default_names: file names in the order of preference, where `hub` has
    none. title: its name in messages.

    Raises:
        BackboneError: not cached and the hub is off, out of reach or without the file; within ten seconds.
    """
    repo, names = _candidates(hub, default_names, title)
    advice = f"give a local copy with --weights PATH: {names[0]} of {repo}, or a folder that holds it"
    cached = cached_weights(hub, default_names, title)
    if cached is not None:
        return cached
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise BackboneError(f"{title} is not on this machine and the model hub is switched off; {advice}")
    if not reachable(constants.ENDPOINT):
        raise BackboneError(f"{title} is not on this machine and {constants.ENDPOINT} cannot be reached; {advice}")
    return _download(repo, names, title, advice)


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
    if path.resolve().parent.name != "blobs" or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", name):
        return None
    return HubHash("sha256" if len(name) == 64 else "git", name)


def check_download(path: Path, title: str) -> HubHash | None:
    """The hub's hash of a file in its cache, which the content has; None where the hub gives none.

    Raises:
        BackboneError: the content has another hash.
    """
    expected = hub_hash(path)
    if expected is None:
        return None
    with path.open("rb") as file:
        if expected.kind == "sha256":
            found = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
            while block := file.read(1 << 20):
                digest.update(block)
            found = digest.hexdigest()
    if found != expected.digits:
        raise BackboneError(
            f"{title} is damaged: {path} has {expected.kind} {found[:12]}, the hub says {expected.digits[:12]}; remove "
            f"{path.resolve()} and download it again"
        )
    return expected


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


def _download(repo: str, names: list[str], title: str, advice: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    for name in names:
        try:
            return Path(hf_hub_download(repo, name))
        except EntryNotFoundError:
            continue
        except Exception as error:  # network, disk, rights: all end in the same advice
            reason = str(error).split("\n")[0][:160] or type(error).__name__
            raise BackboneError(f"{title} could not be downloaded ({reason}); {advice}; another try resumes") from error
    raise BackboneError(f"{title}: {repo} holds none of {', '.join(names)}; {advice}")
