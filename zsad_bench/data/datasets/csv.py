"""Images of your own in a table: columns image and label, mask and category where there are any."""

from __future__ import annotations

import csv
import io
import posixpath
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath

from zsad_bench.data.user_data import OwnDataModule
from zsad_bench.errors import DatasetError
from zsad_bench.types import Sample

_LABELS = {"0": 0, "normal": 0, "good": 0, "1": 1, "anomalous": 1, "bad": 1}
_NEEDED, _KNOWN = ("image", "label"), ("image", "label", "mask", "category")


class Csv(OwnDataModule):
    """The root is the table. Paths in it are relative to its folder and stay inside.

    Columns: in any order and letter case, separated by comma, semicolon or tab; other columns are ignored. label: 0,
    normal or good; 1, anomalous or bad. Without a column `category` all images are of one, named after the folder.
    """

    title = "Own table"
    example = "/path/to/table.csv"
    how_to_get = "give a table with the columns image and label"

    @cached_property
    def _folder(self) -> Path:
        """That of the table."""
        if self._asked_root.is_dir():
            raise DatasetError(f"csv: {self._asked_root} is a folder; give the table, or the folder as folder:PATH")
        if not self._asked_root.is_file():
            raise DatasetError(f"csv: {self._asked_root} does not exist; give the path of the table")
        return self._asked_root.parent

    def read(self, root: Path) -> list[Sample]:
        table = self._asked_root
        text = self._text(table)
        separator, header = _header(table, text)
        if rest := [name for name in header if name not in _KNOWN]:
            self.notes.append(f"{table}: columns that are not read: {', '.join(rest)}")
        samples: list[Sample] = []
        lines: dict[str, int] = {}
        dropped = 0
        for number, cells in _rows(table, text, separator, header):
            where = f"csv: {table} line {number}"
            label = _LABELS.get(cells["label"].strip().lower())
            if label is None:
                raise DatasetError(f"{where}: label '{cells['label'][:40]}'; write one of {', '.join(_LABELS)}")
            image = _file(root, cells["image"], where, "image")
            if image in lines:
                raise DatasetError(f"{where}: {image} is listed twice, first in line {lines[image]}; keep one of them")
            lines[image] = number
            masks = (_file(root, cells["mask"], where, "mask"),) if cells.get("mask", "").strip() else ()
            dropped += label == 0 and bool(masks)
            category = cells.get("category", root.name).strip()
            if not category:
                raise DatasetError(f"{where}: no category; name it, or leave the column out")
            kind = "anomalous" if label else "good"
            samples.append(Sample(image, masks if label else (), label, category, kind, "test"))
        if dropped:
            self.notes.append(f"{table}: the masks of {dropped} normal images are not read")
        labels = {sample.label for sample in samples}
        if labels != {0, 1} and not (0 in labels and self.painter is not None):
            raise DatasetError(
                f"csv: {table} lists {sum(s.label == 0 for s in samples)} normal and "
                f"{sum(s.label == 1 for s in samples)} anomalous images; a test needs both"
            )
        return samples

    def folders_of_images(self, samples: Sequence[Sample]) -> list[str]:
        """Those that the table's images lie in: the table itself may well lie in a home folder."""
        return list(dict.fromkeys(PurePosixPath(sample.image).parent.as_posix() for sample in samples))

    def _text(self, table: Path) -> str:
        try:
            content = table.read_bytes()
        except OSError as error:
            raise DatasetError(f"csv: cannot read {table} ({error.strerror}); correct its permissions") from None
        for encoding in ("utf-8-sig", "cp1252"):
            try:
                text = content.decode(encoding)
            except UnicodeDecodeError:
                continue
            if "\0" in text:
                break
            if encoding == "cp1252":
                self.notes.append(f"{table} is not UTF-8 and is read as cp1252 (Western European)")
            return text
        raise DatasetError(f"csv: {table} line 1: not a text in UTF-8 or cp1252; save the table as CSV in UTF-8")


def _header(table: Path, text: str) -> tuple[str, list[str]]:
    """(separator, column names in lower case): the first separator that gives the columns that are needed."""
    first = re.split("[\r\n]+", text.lstrip("\r\n"), maxsplit=1)[0]
    for separator in ",;\t":
        names = [name.strip().lower() for name in next(csv.reader([first], delimiter=separator), [])]
        if set(_NEEDED) <= set(names):
            break
    else:
        raise DatasetError(
            f"csv: {table} line 1: '{first[:80]}' lacks the columns image and label; its first line names the columns, "
            "apart by comma, semicolon or tab"
        )
    if twice := [name for name in _KNOWN if names.count(name) > 1]:
        raise DatasetError(f"csv: {table} line 1: the column {twice[0]} occurs twice; keep one of them")
    return separator, names


def _rows(table: Path, text: str, separator: str, header: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, column -> cell) of every line after the header that is not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        seen_header = False
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not seen_header:
                seen_header = True
            elif len(cells) == len(header):
                yield reader.line_num, dict(zip(header, cells, strict=True))
            else:
                raise DatasetError(
                    f"csv: {table} line {reader.line_num}: {len(cells)} cells, but {len(header)} columns; put a name "
                    f'that holds the separator in quotes, as in "a{separator}b.png"'
                )
    except csv.Error as error:
        raise DatasetError(f"csv: {table} line {reader.line_num}: {error}; save the table as CSV again") from None


def _file(root: Path, cell: str, where: str, what: str) -> str:
    """The POSIX path below the root that a cell means, as it stands or as another system would write it."""
    if not cell.strip():
        raise DatasetError(f"{where}: no {what}; give its path")
    for text in dict.fromkeys(
        each
        for written in (cell, cell.strip(), cell.strip().replace("\\", "/"))
        for each in (written, *(unicodedata.normalize(form, written) for form in ("NFC", "NFD")))
    ):
        path = posixpath.normpath(text)
        outside = PurePosixPath(path).is_absolute() or PurePosixPath(path).parts[:1] == ("..",)
        try:
            if not outside and (root / path).is_file():
                return path
        except OSError:  # a name longer than any file's
            continue
        if outside or PureWindowsPath(path).drive:
            raise DatasetError(
                f"{where}: {what} {cell.strip()} leads out of {root}; give paths relative to the table's folder"
            )
    raise DatasetError(
        f"{where}: {what} {cell.strip()[:200]} is not a file in {root}; correct the path or restore the file"
    )
