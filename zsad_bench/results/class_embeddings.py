"""How near classes are to each other for a backbone: embeddings of their names, beside the rows.

The distance of a class to auxiliary ones is 1 - the cosine of its name's embedding to that of the nearest of them.
Names, not images: they need no pass over data, and the question is whether a method that learns names of classes
carries over to classes far from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from zsad_bench.atomic import file_name, write_whole
from zsad_bench.errors import RowError

FOLDER = "classes"  # beside `rows` and `scores`
TEMPLATE = "a photo of a {}."
_DIGITS = 6  # of the unit vectors: far below what moves a rank


@dataclass(frozen=True)
class Classes:
    """A dataset's classes as a backbone reads them. names: category -> what a person calls it.

    embeddings: category -> unit vector of `TEMPLATE` with the name.
    """

    names: Mapping[str, str]
    embeddings: Mapping[str, Sequence[float]]


def classes_path(board: str | Path, weights_hash: str, dataset: str) -> Path:
    """Where the classes of a dataset lie, as the backbone of these weights reads them."""
    return Path(board) / FOLDER / weights_hash[:16] / f"{file_name(dataset)}.json"


def write_classes(board: str | Path, weights_hash: str, dataset: str, classes: Classes) -> Path:
    """The file written, numbers rounded to six digits.

    Raises:
        RowError: it cannot be written.
    """
    rounded = {name: [round(float(x), _DIGITS) for x in vector] for name, vector in classes.embeddings.items()}
    content = {"dataset": dataset, "weights_hash": weights_hash, "template": TEMPLATE}
    content |= asdict(Classes(dict(classes.names), rounded))
    return write_whole(classes_path(board, weights_hash, dataset), (json.dumps(content) + "\n").encode())


def read_classes(board: str | Path, weights_hash: str, dataset: str) -> Classes | None:
    """The classes of a dataset; None where nobody has written them.

    Raises:
        RowError: a damaged file.
    """
    path = classes_path(board, weights_hash, dataset)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Classes(content["names"], content["embeddings"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RowError(f"{path}: cannot read classes ({error}); delete it and run again") from error


def distance(own: Sequence[float], others: Iterable[Sequence[float]]) -> float:
    """1 - the largest cosine of a unit vector to others; in [0, 2].

    Raises:
        ValueError: no others.
    """
    return 1 - max(sum(a * b for a, b in zip(own, other, strict=True)) for other in others)
