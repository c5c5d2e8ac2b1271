"""Downloads that state the label by folder alone: one of normal images, one of anomalous ones, no split, no masks."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from zsad_bench.data import complete, files
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
        return any(files.any_case(root, folder) for folder in (self.normal, self.anomalous))

    def anomalous_in(self, root: Path) -> list[str]:
        """Names of the images in the folder of anomalous ones; [] when it is missing."""
        folder = files.any_case(root, self.anomalous)
        return files.images(root / folder) if folder else []

    def read(self, name: str, root: Path, partial: list[str] | None = None) -> tuple[list[Sample], list[Sample]]:
        """Normal and anomalous samples, each in byte order of their paths; nothing below the two folders is read.

        partial: takes a line about a folder that is missing, which is then no error.

        Raises:
            DatasetError: a folder is missing or has no image in it; names it.
        """
        return (
            self._samples(name, root, self.normal, 0, "good", partial),
            self._samples(name, root, self.anomalous, 1, self.anomaly_type, partial),
        )

    def _samples(
        self, name: str, root: Path, folder: str, label: int, kind: str, partial: list[str] | None
    ) -> list[Sample]:
        spelt = files.any_case(root, folder)
        images = files.images(root / spelt) if spelt else []
        if not images:
            state = "has no image directly inside" if spelt else "is missing"
            if partial is None:
                raise DatasetError(
                    f"{name}: {root / folder} {state}, expected the {'anomalous' if label else 'normal'} images "
                    f"there; {complete.remedy()}"
                )
            partial.append(f"partial: {name} is used as it is: {root / folder} {state}")
        return [Sample(f"{spelt}/{image}", (), label, self.category, kind, "test") for image in images]
