"""Downloads that state the label by folder alone: one of normal images, one of anomalous ones, no split, no masks."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from zsad_bench.data import files
from zsad_bench.errors import DatasetError
from zsad_bench.types import Sample


class TwoFolders(NamedTuple):
    """How a dataset lays out such a download; normal, anomalous: folders below its root, with `/` between levels."""

    normal: str
    anomalous: str
    category: str
    anomaly_type: str

    def lies_in(self, root: Path) -> bool:
        """Whether at least one of the two is there, so that `read` can name the other when it is missing."""
        return (root / self.normal).is_dir() or (root / self.anomalous).is_dir()

    def read(self, name: str, root: Path, notes: list[str]) -> tuple[list[Sample], list[Sample]]:
        """Normal and anomalous samples, each in byte order of their paths; nothing below the two folders is read.

        Raises:
            DatasetError: a folder is missing or has no image in it; names it.
        """
        return (
            self._samples(name, root, self.normal, 0, "good", notes),
            self._samples(name, root, self.anomalous, 1, self.anomaly_type, notes),
        )

    def _samples(self, name: str, root: Path, folder: str, label: int, kind: str, notes: list[str]) -> list[Sample]:
        images = files.images(root / folder, notes)
        if not images:
            state = "has no image directly inside" if (root / folder).is_dir() else "is missing"
            raise DatasetError(
                f"{name}: {root / folder} {state}, expected the {'anomalous' if label else 'normal'} images there; "
                "the copy is partial, restore it"
            )
        return [Sample(f"{folder}/{image}", (), label, self.category, kind, "test") for image in images]
