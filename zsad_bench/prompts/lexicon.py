"""Lexicons: lists of abnormal and normal sentences in YAML, checked line by line.

A user's own file looks like `prompts/dive_lexicon.yaml`: two lists, `abnormal` and `normal`; other keys are notes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from zsad_bench import yaml12
from zsad_bench.errors import UsageError

LISTS = ("abnormal", "normal")


@dataclass(frozen=True)
class Lexicon:
    """Sentences of two kinds, in the order of their file, none of them twice."""

    abnormal: tuple[str, ...]
    normal: tuple[str, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of them, the abnormal ones first."""
        return self.abnormal + self.normal

    @property
    def hash(self) -> str:
        """Twelve digits that change with any sentence, its kind or its place."""
        text = "\n".join(["abnormal", *self.abnormal, "normal", *self.normal])
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def read_lexicon(name: str) -> Lexicon:
    """The lexicon of `prompts/<name>.yaml`, or of a file anywhere when `name` ends in .yaml or .yml.

    Raises:
        UsageError: no such file; or with the line: not YAML, a list that is missing or empty, an entry that is
            not a sentence, a sentence that stands there twice.
    """
    shipped = not name.endswith((".yaml", ".yml"))
    path = Path(__file__).parent / f"{name}.yaml" if shipped else Path(name)
    if not path.is_file():
        raise UsageError(f"lexicon {name}: no such file; give the path of a .yaml file, or leave the option out")
    try:
        return _parsed(name, path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(f"lexicon {name}: byte {error.start} is not UTF-8; save the file as UTF-8") from None


@cache
def _parsed(name: str, text: str) -> Lexicon:
    """The lexicon of a file's text; once per text, for every run of a plan reads it."""
    try:
        root = yaml.compose(text, Loader=yaml12.Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise UsageError(f"lexicon {name}, line {line}: not YAML ({getattr(error, 'problem', error)})") from None
    seen: dict[str, int] = {}
    abnormal, normal = (_sentences(name, root, kind, seen) for kind in LISTS)
    return Lexicon(abnormal, normal)


def _sentences(name: str, root: yaml.Node | None, kind: str, seen: dict[str, int]) -> tuple[str, ...]:
    """The list under one key; `seen` remembers the line of every sentence of the file."""
    if not isinstance(root, yaml.MappingNode):
        line = root.start_mark.line + 1 if root else 1
        raise UsageError(f"lexicon {name}, line {line}: expected two lists, `abnormal:` and `normal:`")
    lists = [(key, value) for key, value in root.value if key.value == kind]
    if len(lists) != 1:
        line = lists[1][0].start_mark.line + 1 if lists else root.end_mark.line + 1
        raise UsageError(f"lexicon {name}, line {line}: expected one list `{kind}:`, found {len(lists)}")
    ((key, entries),) = lists
    if not isinstance(entries, yaml.SequenceNode) or not entries.value:
        raise UsageError(
            f"lexicon {name}, line {key.start_mark.line + 1}: `{kind}` is not a list of sentences, or it is empty"
        )
    sentences = []
    for node in entries.value:
        line = node.start_mark.line + 1
        if node.tag != "tag:yaml.org,2002:str" or not node.value.strip():
            raise UsageError(f"lexicon {name}, line {line}: expected a sentence; quote it if YAML reads something else")
        sentence = " ".join(node.value.split())
        if sentence.lower() in seen:
            first = seen[sentence.lower()]
            raise UsageError(f"lexicon {name}, line {line}: '{sentence}' is in line {first} already; remove one")
        seen[sentence.lower()] = line
        sentences.append(sentence)
    return tuple(sentences)
