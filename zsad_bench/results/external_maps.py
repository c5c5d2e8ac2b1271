"""What is known of saved maps and scores that rows were computed from: a file beside the rows, named by their key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from zsad_bench.atomic import write_whole
from zsad_bench.errors import RowError

FOLDER = "external"  # beside `rows` and `scores`
PREFIX = "external:"  # of what rows call the method


@dataclass(frozen=True)
class External:
    """Where numbers came from whose method was not run here.

    name, by, prior: as whoever hands the maps in says them; nothing of it can be checked. dataset, data_hash: what they
    were compared with. image_size: of the masks, to which maps were resized, `resized` of them.
    files: sample id -> name of its map and sha256. kinds, sizes: of the maps -> how many. low, high: their smallest and
    largest value; None without maps. scores: name and sha256 of the table of scores; () where the maxima of the maps
    are the scores. missing: samples that were left out, having no map or no score. unused: names of maps or scores of
    no sample.
    """

    name: str
    by: str
    prior: str
    dataset: str
    data_hash: str
    image_size: int
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    kinds: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    resized: int = 0
    low: float | None = None
    high: float | None = None
    scores: tuple[str, ...] = ()
    missing: Sequence[str] = ()
    unused: Sequence[str] = ()


def external_path(board: str | Path, key: str) -> Path:
    """The file that tells of the maps behind the rows of this key: the same maps may be handed in under two names."""
    return Path(board) / FOLDER / f"{key}.json"


def write_external(board: str | Path, key: str, maps_hash: str, external: External) -> Path:
    """The file written.

    Raises:
        RowError: it cannot be written.
    """
    content = {"maps_hash": maps_hash, **asdict(external)}
    return write_whole(external_path(board, key), (json.dumps(content, indent=1) + "\n").encode())


def read_external(board: str | Path, key: str) -> External | None:
    """What is known of the maps behind the rows of this key; None where nobody has written it.

    Raises:
        RowError: a damaged file.
    """
    path = external_path(board, key)
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        files = {sample: (name, sha256) for sample, (name, sha256) in content["files"].items()}
        lists = {key: tuple(content[key]) for key in ("scores", "missing", "unused")}
        return External(**{key: content[key] for key in content if key != "maps_hash"} | lists | {"files": files})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RowError(f"{path}: cannot read what is known of saved maps ({error}); evaluate them again") from error
