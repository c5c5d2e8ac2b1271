"""The page of a prediction: one HTML file beside its pictures, which asks no network for anything."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from zsad_bench.html_page import fill


def page(title: str, content: Mapping[str, Any]) -> str:
    """The page as text. content: as predictions.json has it."""
    images = [
        {key: value for key, value in image.items() if key not in ("path", "files")}
        | {"urls": {kind: quote(os.fsencode(path)) for kind, path in image["files"].items()}}
        for image in content["images"]
    ]
    # The page may be given to others: no path of this machine is on it.
    unread = [{"reason": each["reason"].replace(each["path"], each["image"])} for each in content["unread"]]
    kept = ("threshold", "colours", "notes", "warning")
    shown = {
        **{key: content.get(key) for key in kept},
        "images": images, "unread": unread, "title_line": _title_line(content),
    }  # fmt: skip
    return fill(_asset("page.html"), title, _asset("page.css"), _asset("page.js"), shown, images="'self' file:")


def _title_line(content: Mapping[str, Any]) -> str:
    scorer, tile = content["scorer"], content["setting"].get("tile_size")
    parts = [
        f"backbone {scorer['backbone']}",
        *([f"checkpoint {Path(scorer['checkpoint']).name}"] if scorer.get("checkpoint") else []),
        f"in prompts: {scorer['name']}",
        *([f"tiles of {tile} pixels"] if tile else []),
        *(["within a region"] if content["setting"].get("region") else []),
    ]
    return " · ".join(parts)


def _asset(name: str) -> str:
    return (files("zsad_bench.inspection") / "assets" / name).read_text(encoding="utf-8")
