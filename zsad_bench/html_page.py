"""One HTML file from a template, a style, a script and data, which can load and run nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from typing import Any


def fill(template: str, title: str, style: str, script: str, data: Any, images: str) -> str:
    """The page. template: with {{policy}}, {{title}}, {{style}}, {{data}} and {{script}}, each once.

    script: gets a scope of its own. data: what JSON can hold; it stands inside a script element. images: where
    pictures may come from, as a content security policy says it. No other source of anything is allowed, so that
    whatever data say cannot become a script.
    """
    script = f'"use strict";\n(() => {{\n{script}}})();\n'
    policy = (
        f"default-src 'none'; img-src {images}; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {"policy": policy, "title": html.escape(title), "style": style, "data": as_data(data), "script": script}
    head, *rest = template.split("{{")
    return head + "".join(parts[name] + after for name, _, after in (piece.partition("}}") for piece in rest))


def as_data(value: Any) -> str:
    """JSON that may stand inside a script element: no `<`, `>` or `&` in it, and nothing that UTF-8 does not hold."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
