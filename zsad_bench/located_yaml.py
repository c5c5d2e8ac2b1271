"""A YAML file whose every value knows its line, so that what is wrong with it can be pointed at."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from zsad_bench import registry, yaml12
from zsad_bench.errors import UnknownNameError, UsageError

YamlPath = tuple[str | int, ...]


@dataclass(frozen=True)
class LocatedYaml:
    """content: of the whole file, plain dicts, lists and values. lines: path in it ("methods", 0) -> line, from 1."""

    file: Path
    content: Any
    lines: dict[YamlPath, int] = field(default_factory=dict)

    def line(self, path: YamlPath) -> int:
        """The line of a path, or of the nearest one around it."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]

    def refuse(self, path: YamlPath, why: str, error: type[UsageError] = UsageError) -> NoReturn:
        """Raises the error with file and line in front."""
        raise error(f"{self.file}:{self.line(path)}: {why}")

    def at(self, path: YamlPath) -> Any:
        """The value at a path that there is."""
        content = self.content
        for step in path:
            content = content[step]
        return content

    def mapping(self, path: YamlPath, what: str = "") -> dict[str, Any]:
        """The mapping at a path. what: it is called, where the path has no name.

        Raises:
            UsageError: something else is there.
        """
        content = self.at(path)
        if not isinstance(content, dict):
            self.refuse(path, f"{path[-1] if path else what}: expected `key: value` lines, found {content!r}")
        return content

    def only(self, path: YamlPath, keys: Collection[str]) -> None:
        """Nothing, when a mapping has no other keys than these.

        Raises:
            UnknownNameError: another key; lists the nearest ones.
        """
        for key in self.at(path):
            if key not in keys:
                self.refuse((*path, key), registry.did_you_mean("key", key, keys), UnknownNameError)

    def list_at(self, path: YamlPath) -> list[Any]:
        """The list at a path, with something in it.

        Raises:
            UsageError: something else is there, or an empty list.
        """
        content = self.at(path)
        if not isinstance(content, list):
            self.refuse(path, f"{path[-1]}: expected a list, found {content!r}")
        if not content:
            self.refuse(path, f"{path[-1]}: an empty list; nothing would run")
        return content

    def names(self, path: YamlPath) -> tuple[str, ...]:
        """The texts of a list, each once.

        Raises:
            UsageError: as `list_at`, or an entry that is not a text.
        """
        content = self.list_at(path)
        for number, entry in enumerate(content):
            if not isinstance(entry, str):
                self.refuse((*path, number), f"{path[-1]}: expected names, found {entry!r}")
        return tuple(dict.fromkeys(content))

    def text(self, path: YamlPath) -> str | None:
        """The text at a path; None where its mapping has no such key, or null.

        Raises:
            UsageError: something else is there.
        """
        value = self.at(path[:-1]).get(path[-1])
        if value is not None and not isinstance(value, str):
            self.refuse(path, f"{path[-1]}: expected a text, found {value!r}")
        return value


def read_yaml(file: Path) -> LocatedYaml:
    """The content of a YAML file with lines.

    Raises:
        UsageError: missing, unreadable, not YAML, or a key that is given twice; with the line where there is one.
    """
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), yaml12.Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UsageError(f"{file}{line}: not YAML ({getattr(error, 'problem', None) or error})") from None
    source = LocatedYaml(file, None, {(): 1})
    content = None if node is None else _value(node, (), source)
    return LocatedYaml(file, content, source.lines)


def _value(node: yaml.Node, path: YamlPath, source: LocatedYaml) -> Any:
    source.lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        content: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            inner = (*path, key)
            if key in content:
                source.lines[inner] = key_node.start_mark.line + 1
                source.refuse(inner, f"'{key}' is given twice; keep one")
            content[key] = _value(value_node, inner, source)
            source.lines[inner] = key_node.start_mark.line + 1
        return content
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, at), source) for at, item in enumerate(node.value)]
    loader = yaml12.Loader("")
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError):
        source.refuse(path, f"'{node.value}' is not a YAML value; quote it")
    finally:
        loader.dispose()
