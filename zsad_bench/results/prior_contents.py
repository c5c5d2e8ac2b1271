"""What a prior kept, beside the rows of what learned from it: which classes, and how many images of which types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from zsad_bench.atomic import write_whole
from zsad_bench.errors import RowError

FOLDER = "auxiliary"  # beside `rows` and `scores`


@dataclass(frozen=True)
class Kept:
    """prior, draw: as rows name them. classes: dataset -> category -> anomaly type -> images ("good": normal ones)."""

    prior: str
    draw: int
    classes: Mapping[str, Mapping[str, Mapping[str, int]]]

    @property
    def types(self) -> frozenset[str]:
        """The anomaly types that occur, one by one."""
        labels = {label for of in self.classes.values() for types in of.values() for label in types if label != "good"}
        return frozenset(part.strip() for label in labels for part in label.split(","))


def kept_path(board: str | Path, prior_hash: str) -> Path:
    """The file that says what a prior of this hash kept."""
    return Path(board) / FOLDER / f"{prior_hash[:16]}.json"


def write_kept(board: str | Path, prior_hash: str, kept: Kept) -> Path:
    """The file written; the same content for the same hash, whoever writes it.

    Raises:
        RowError: it cannot be written.
    """
    content = {"prior_hash": prior_hash, **asdict(kept)}
    return write_whole(kept_path(board, prior_hash), (json.dumps(content, sort_keys=True) + "\n").encode())


def read_kept(board: str | Path, prior_hash: str) -> Kept | None:
    """What the prior kept; None where nobody has written it.

    Raises:
        RowError: a damaged file.
    """
    path = kept_path(board, prior_hash)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Kept(content["prior"], content["draw"], content["classes"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RowError(f"{path}: cannot read what a prior kept ({error}); delete it and run again") from error
