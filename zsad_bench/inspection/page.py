"""The page of a prediction: one HTML file beside its pictures, which asks no network for anything."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote


def page(title: str, content: Mapping[str, Any]) -> str:
    """The page as text. content: as predictions.json has it."""
    style, script = _asset("page.css"), f'"use strict";\n(() => {{\n{_asset("page.js")}}})();\n'
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
    parts = {
        # Only these two may act: what a file is called cannot become a script.
        "policy": (
            f"default-src 'none'; img-src 'self' file:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
            "base-uri 'none'; form-action 'none'"
        ),
        "title": html.escape(title),
        "style": style,
        "data": json.dumps(shown).replace("<", "\\u003c"),
        "script": script,
    }
    head, *rest = _asset("page.html").split("{{")
    return head + "".join(parts[name] + after for name, _, after in (piece.partition("}}") for piece in rest))


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


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
