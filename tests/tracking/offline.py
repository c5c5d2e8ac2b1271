"""Reads the file that wandb leaves of an offline run: blocks of 32 KiB that hold protobuf records."""

from __future__ import annotations

import json
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK = 32768


@dataclass
class Kept:
    """What a run's file says. kinds: of its records.

    history: one dict a `log`; media are dicts of their own, with their place below `files`.
    """

    files: Path
    id: str = ""
    name: str = ""
    project: str = ""
    group: str = ""
    tags: tuple[str, ...] = ()
    exit_code: int | None = None
    host: str = ""
    kinds: set[str] = field(default_factory=set)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    axes: dict[str, str] = field(default_factory=dict)

    def table(self) -> tuple[list[str], list[list[Any]]]:
        content = json.loads((self.files / self.summary["results"]["path"]).read_text())
        return content["columns"], content["data"]

    def curve(self, name: str) -> list[float]:
        return [line[name] for line in self.history if name in line]


def runs_below(folder: Path) -> list[Kept]:
    """The ended offline runs of a folder that was given to wandb, oldest first."""
    files = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"), key=lambda file: file.parent.stat().st_ctime)
    return [_ended(file) for file in files]


def _ended(file: Path) -> Kept:
    """The run of a file; wandb's service writes the last of it a moment after it said that it is done."""
    for _ in range(6000):
        kept = read(file)
        if kept.exit_code is not None:
            return kept
        time.sleep(0.01)
    raise AssertionError(f"{file}: the run did not end")


def read(file: Path) -> Kept:
    from wandb.proto.wandb_internal_pb2 import Record

    kept = Kept(file.parent / "files")
    for content in chunks(file.read_bytes()):
        record = Record.FromString(content)
        kind = record.WhichOneof("record_type")
        kept.kinds.add(kind)
        if kind == "run":
            run = record.run
            kept.id, kept.name, kept.project = run.run_id, run.display_name, run.project
            kept.group, kept.tags, kept.host = run.run_group, tuple(run.tags), run.host
            kept.config |= {item.key: json.loads(item.value_json) for item in run.config.update}
        elif kind == "summary":
            for item in record.summary.update:
                _put(kept.summary, [item.key] if item.key else list(item.nested_key), json.loads(item.value_json))
        elif kind == "history":
            kept.history.append({})
            for item in record.history.item:
                _put(kept.history[-1], [item.key] if item.key else list(item.nested_key), json.loads(item.value_json))
        elif kind == "metric" and (record.metric.glob_name or record.metric.name):
            kept.axes[record.metric.glob_name or record.metric.name] = record.metric.step_metric
        elif kind == "exit":
            kept.exit_code = record.exit.exit_code
    return kept


def _put(place: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        place = place.setdefault(key, {})
    place[keys[-1]] = value


def chunks(content: bytes) -> list[bytes]:
    """The records; a chunk's header is checksum (4), length (2) and kind (1): 1 whole, 2 first, 3 middle, 4 last."""
    found, part, at = [], b"", 7  # the file's own header
    while at + 7 <= len(content):
        left = BLOCK - at % BLOCK
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        if at + 7 + length > len(content):  # still being written
            break
        part += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            found.append(part)
            part = b""
    return found


def nobody_is_logged_in(monkeypatch: Any, home: Path) -> None:
    """Sets the environment so that wandb knows no key, reaches no server and keeps its own files below `home`."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_DIR", "WANDB_PROJECT",
                 "WANDB_ENTITY", "WANDB_RUN_GROUP", "WANDB_RUN_ID"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    for name in ("CONFIG", "CACHE", "DATA", "ARTIFACT"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(home / name.lower()))
