"""HeadCT: computed tomography slices of heads with and without a haemorrhage; image level only."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from zsad_bench.data import complete, files
from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.public import PublicDataModule, holdout25
from zsad_bench.errors import DatasetError
from zsad_bench.types import Sample


class Line(NamedTuple):
    """One line of labels.csv; stem: of the image's name, "007" for id 7."""

    stem: str
    label: int


class Headct(PublicDataModule):
    """variant: `all` tests every image; `openset25` a seeded quarter of the normal ones, drawn in labels.csv order.

    The root is the folder that holds the images themselves, so that samples and hashes do not depend on how deep the
    archive nests; labels.csv lies in it or one or two folders above.
    """

    title = "HeadCT"
    domain = "medical"
    level = "image"
    licence = "not established"
    redistribute = False
    url = "https://www.kaggle.com/datasets/felipekitamura/head-ct-hemorrhage"
    citation = "Kitamura, Head CT - hemorrhage, Kaggle (2018)"
    category_cards = (CategoryCard("brain", "brain", "organ"),)
    category_aliases = dict.fromkeys(("headct", "headct2", "head_ct"), "brain")
    anomaly_types = {"brain": ("hemorrhage",)}
    variants = {"all": Expected(100, 100, "V"), "openset25": Expected(25, 100, "S")}
    root_names = ("head_ct", "HeadCT", "HeadCT_anomaly_detection")  # not `archive`: Kaggle calls every download so
    how_to_get = "download the zip from its Kaggle page (an account is needed) and unpack it"
    raw_looks_like = "head_ct/head_ct/000.png, … with labels.csv beside or above"

    @classmethod
    def is_raw(cls, root: Path) -> bool:
        return any(_stem(name).isdecimal() for name in files.images(root))

    def read_raw(self, root: Path) -> list[Sample]:
        labels = self._labels_of(root)
        names = {_stem(name): name for name in files.images(root)}
        lines = read_labels(labels)
        missing = [line.stem for line in lines if line.stem not in names]
        if missing and not self.partial:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise DatasetError(
                f"headct: {labels} lists {missing[0]}.png{more}, not found in {root}; {complete.remedy()}"
            )
        names = {line.stem: f"{line.stem}.png" for line in lines} | names  # what is not there is left out by name
        if extra := sorted(names.keys() - {line.stem for line in lines}):
            more = f" and {len(extra) - 1} more" if len(extra) > 1 else ""
            self.notes.append(f"{root}: {names[extra[0]]}{more} without a line in {labels.name}, left out")
        normal = [Sample(names[line.stem], (), 0, "brain", "good", "test") for line in lines if line.label == 0]
        anomalous = [Sample(names[line.stem], (), 1, "brain", "hemorrhage", "test") for line in lines if line.label]
        return (holdout25(normal) if self.variant == "openset25" else normal) + anomalous

    @staticmethod
    def _labels_of(root: Path) -> Path:
        places = (root, *root.parents[:2])  # the zip holds labels.csv beside head_ct/head_ct/, two above the images
        found = next((place / "labels.csv" for place in places if (place / "labels.csv").is_file()), None)
        if found is None:
            raise DatasetError(f"headct: no labels.csv in {root} or the two folders above; put it beside the images")
        return found


def read_labels(path: Path) -> list[Line]:
    """The lines of labels.csv in file order, by position: the second column is headed " hemorrhage", with a space.

    Raises:
        DatasetError: not text, or a line that is not `id,0` or `id,1`; names the line.
    """
    try:
        rows = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"headct: cannot read {path} ({error}); restore the file") from None
    lines = []
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row.split(",")]
        if (number == 1 and not cells[0].isdecimal()) or cells == [""]:
            continue  # the header, or an empty line
        if len(cells) != 2 or not cells[0].isdecimal() or cells[1] not in ("0", "1"):
            raise DatasetError(
                f"headct: {path} line {number} is '{row[:60]}', expected `id,0` or `id,1`; restore the file"
            )
        lines.append(Line(f"{int(cells[0]):03d}", int(cells[1])))
    return lines


def _stem(name: str) -> str:
    return files.stem_and_suffix(name)[0]
