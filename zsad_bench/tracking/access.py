"""Whether runs are mirrored, and how: online, into files, or not at all. Decided in seconds and without wandb."""

from __future__ import annotations

import configparser
import netrc
import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit

from zsad_bench.errors import UnknownNameError
from zsad_bench.registry import did_you_mean

Mode = Literal["online", "offline", "off"]
ASKED = ("auto", "online", "offline", "off")
PATIENCE_SECONDS = 6.0  # for a server's answer, names and proxies included
_OF_WANDB: dict[str, Mode] = {"disabled": "off", "offline": "offline", "dryrun": "offline"}  # values of WANDB_MODE


@dataclass(frozen=True)
class Access:
    """How runs are mirrored. warning: what went wrong on the way, in one line, or ""."""

    mode: Mode
    warning: str = ""


def decide(asked: str, folder: Path) -> Access:
    """What to do about `--track asked`, with offline files below `folder` (or WANDB_DIR).

    auto obeys WANDB_MODE, else is online where someone logged in, else off. Online becomes offline where nobody is
    logged in, or the server does not answer or refuses the key; all becomes off where files cannot be written.

    Raises:
        UnknownNameError: no such value.
    """
    check(asked)
    if asked == "auto":
        setting = os.environ.get("WANDB_MODE", "")
        mode = _OF_WANDB.get(setting, "online" if setting or is_logged_in() else "off")
    else:
        mode = cast(Mode, asked)
    warning = ""
    if mode == "online":
        trouble = probe()
        if trouble:
            mode, warning = "offline", f"wandb: {trouble}; going on with offline files (`wandb sync` sends them later)"
    if mode != "off":
        parent = files_below(folder)
        trouble = _cannot_write(parent)
        if trouble:
            why = f"wandb: {parent} cannot be written ({trouble}); going on without tracking (WANDB_DIR names another)"
            return Access("off", why)
    return Access(mode, warning)


def check(asked: str) -> None:
    """Raises UnknownNameError for anything but a value of --track."""
    if asked not in ASKED:
        raise UnknownNameError(did_you_mean("value of --track", asked, ASKED))


def files_below(folder: Path) -> Path:
    """The folder whose `wandb/` takes the files of runs."""
    return Path(os.environ.get("WANDB_DIR") or folder)


def base_url() -> str:
    """The server: WANDB_BASE_URL, else the one stored by `wandb login --host`, else wandb's own."""
    remembered = configparser.ConfigParser()
    folder = os.environ.get("WANDB_CONFIG_DIR") or Path.home() / ".config" / "wandb"
    try:
        remembered.read(Path(folder) / "settings", encoding="utf-8")
        url = remembered.get("default", "base_url", fallback="")
    except (configparser.Error, UnicodeDecodeError, OSError):
        url = ""
    return (os.environ.get("WANDB_BASE_URL") or url or "https://api.wandb.ai").rstrip("/")


def api_key() -> str:
    """The key of whoever is logged in (WANDB_API_KEY, else netrc), or ""."""
    if os.environ.get("WANDB_API_KEY"):
        return os.environ["WANDB_API_KEY"]
    files = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    for file in files:
        try:
            login = netrc.netrc(Path(file).expanduser()).authenticators(urlsplit(base_url()).netloc)
        except (OSError, netrc.NetrcParseError):
            continue
        if login and login[2]:
            return login[2]
    return ""


def is_logged_in() -> bool:
    return bool(api_key() or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"))


def probe() -> str:
    """Why nothing can be sent to the server right now, or "" when it can."""
    if not is_logged_in():
        return "not logged in; run `wandb login`, or set WANDB_API_KEY"
    answers = [f"{base_url()} does not answer within {PATIENCE_SECONDS:.0f} s"]
    thread = threading.Thread(target=lambda: answers.append(_ask()), daemon=True)  # looking up a name has no time-out
    thread.start()
    thread.join(PATIENCE_SECONDS)
    return answers[-1]


def _ask() -> str:
    import requests

    url, key = base_url(), api_key()
    try:
        answer = requests.post(
            f"{url}/graphql",
            json={"query": "query { viewer { id } }"},
            auth=("api", key) if key else None,
            timeout=PATIENCE_SECONDS,
        )
        viewer = answer.json()["data"]["viewer"] if answer.ok else None
    except (requests.JSONDecodeError, KeyError, TypeError):
        return f"{url} is not a wandb server"
    except Exception as error:  # of the network, or an address or key that cannot be sent
        return f"{url} cannot be reached ({type(error).__name__})"
    if answer.status_code in (401, 403) or (key and answer.ok and not viewer):
        return f"{url} refuses the key; run `wandb login --relogin`"
    return "" if answer.ok else f"{url} answers with status {answer.status_code}"


def _cannot_write(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or type(error).__name__
