"""YAML whose every value knows its line, so that what is wrong with a recipe can be pointed at."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from zsad_bench import yaml12
from zsad_bench.errors import UsageError

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Located:
    """content: of the whole file, plain dicts, lists and values. lines: place in it ("methods", 0) -> line, from 1."""

    file: Path
    content: Any
    lines: dict[Place, int] = field(default_factory=dict)

    def line(self, place: Place) -> int:
        """The line of a place, or of the nearest one around it."""
        while place not in self.lines:
            place = place[:-1]
        return self.lines[place]

    def refuse(self, place: Place, why: str, error: type[UsageError] = UsageError) -> NoReturn:
        """Raises the error with file and line in front."""
        raise error(f"{self.file}:{self.line(place)}: {why}")


def read(file: Path) -> Located:
    """The content of a YAML file with lines.

    Raises:
        UsageError: missing, unreadable, no YAML, or a key that stands twice; with the line where there is one.
    """
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), yaml12.Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UsageError(f"{file}{line}: not YAML ({getattr(error, 'problem', None) or error})") from None
    found = Located(file, None, {(): 1})
    content = None if node is None else _value(node, (), found)
    return Located(file, content, found.lines)


def _value(node: yaml.Node, place: Place, found: Located) -> Any:
    found.lines[place] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        content: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            inner = (*place, key)
            if key in content:
                found.lines[inner] = key_node.start_mark.line + 1
                found.refuse(inner, f"'{key}' stands here twice; keep one")
            content[key] = _value(value_node, inner, found)
            found.lines[inner] = key_node.start_mark.line + 1
        return content
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*place, at), found) for at, item in enumerate(node.value)]
    loader = yaml12.Loader("")
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError):
        found.refuse(place, f"'{node.value}' is not a YAML value; quote it")
    finally:
        loader.dispose()
