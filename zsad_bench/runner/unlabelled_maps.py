"""Maps of a test set whose labels are not public: what such a run is for, beside the scores."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from zsad_bench.atomic import write_whole
from zsad_bench.metrics.functional.checks import as_array
from zsad_bench.types import Category, Prediction

FOLDER = "maps"  # beside `rows` and `scores`


class UnlabelledMaps:
    """Writes each map as float32 `.npy`, as `zsad-bench evaluate` reads it, named by the path of its image.

    folders: label of a method -> where its maps go. due: label -> the categories that are wanted of it. written: maps
    so far; bytes: their size.
    """

    def __init__(self, folders: Mapping[str, Path], due: Mapping[str, Collection[str]]) -> None:
        self.folders, self.due, self.written, self.bytes = folders, due, 0, 0

    def __call__(self, label: str, category: Category, ids: list[str], prediction: Prediction) -> None:
        """Writes the maps of a method that has any; ids: `dataset/path` of the images.

        Raises:
            RowError: a map cannot be written.
        """
        if prediction.map is None or category.name not in self.due[label]:
            return
        for image, map_HW in zip(ids, as_array(prediction.map), strict=True):
            content = io.BytesIO()
            np.save(content, np.ascontiguousarray(map_HW, np.float32), allow_pickle=False)
            path = PurePosixPath(image.partition("/")[2])
            write_whole(self.folders[label] / path.with_name(path.name + ".npy"), content.getvalue())
            self.written, self.bytes = self.written + 1, self.bytes + content.tell()

    def line(self, dataset: str, why: str) -> str:
        """What a run says of it."""
        folders = ", ".join(str(folder) for folder in self.folders.values())
        size = f"{self.bytes / 1e9:.2f} GB"
        where = f"{self.written} maps ({size}) are in {folders}" if self.written else "there is no map"
        return f"{dataset}: {why}: no metric is defined, scores are written, {where}"
