"""Prompt data by name: the YAML files of this folder, each with its source and licence."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from zsad_bench import yaml12


@cache
def read(name: str) -> MappingProxyType[str, Any]:
    """The content of `prompts/<name>.yaml`, read-only at its top.

    Raises:
        FileNotFoundError: no such file. ValueError: it lacks `source` or `licence`.
    """
    content: dict[str, Any] = yaml12.load((Path(__file__).parent / f"{name}.yaml").read_text(encoding="utf-8"))
    missing = [key for key in ("source", "licence") if not content.get(key)]
    if missing:
        raise ValueError(f"prompts/{name}.yaml lacks {' and '.join(missing)}: every prompt file says where it is from")
    return MappingProxyType(content)
