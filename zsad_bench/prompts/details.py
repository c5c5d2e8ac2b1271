"""Detail lists: what may be wrong with the things of a class, class by class, in YAML.

A user's own file has one mapping, `details`, from the name of a class to a list of texts; other keys are notes.
`prompts/filo.yaml` has one too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from zsad_bench import yaml12
from zsad_bench.errors import UsageError

Details = Mapping[str, tuple[str, ...]]  # name of a class, blanks for underscores -> its details, in their order


def class_key(name: str) -> str:
    """The name under which lists have a class: blanks for underscores."""
    return name.replace("_", " ")


def read_details(path: str) -> Details:
    """The lists of a file, in the order of its classes.

    Raises:
        UsageError: no such file; or with the class: not a mapping of lists of texts, or an empty list.
    """
    what = f"details {path}"
    try:
        content = yaml12.load(Path(path).read_text(encoding="utf-8"))
    except OSError:
        raise UsageError(f"{what}: no such file; give the path of a .yaml file with one mapping, `details:`") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{what}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise UsageError(f"{what}, line {line}: not YAML ({getattr(error, 'problem', error)})") from None
    lists = content.get("details") if isinstance(content, dict) else None
    if not isinstance(lists, dict) or not lists:
        raise UsageError(f"{what}: found no mapping `details:`; write a list of texts under the name of each class")
    return checked(lists, what)


def checked(lists: Mapping[object, object], what: str) -> Details:
    """The lists with their classes' names spelled alike. what: their source, for messages.

    Raises:
        UsageError: as `read_details`, for the first class that does not fit.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, texts in lists.items():
        if not isinstance(name, str):
            raise UsageError(f"{what}: the class {name!r} is not a text; quote it")
        if class_key(name) in found:
            raise UsageError(f"{what}: class '{name}' is there twice, underscores and blanks being alike; remove one")
        if not isinstance(texts, Sequence) or isinstance(texts, str) or not texts:
            raise UsageError(f"{what}: class '{name}' has no list of texts; write one, or leave the class out")
        for text in texts:
            if not isinstance(text, str) or not text.strip():
                raise UsageError(f"{what}: class '{name}': {text!r} is not a text; quote it, or remove it")
        found[class_key(name)] = tuple(texts)
    return found


def details_hash(lists: Details, generic: Sequence[str] = ()) -> str:
    """Twelve digits that change with any text, class or order."""
    text = json.dumps([[[name, *texts] for name, texts in lists.items()], list(generic)])
    return hashlib.sha256(text.encode()).hexdigest()[:12]
