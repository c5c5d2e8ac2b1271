"""The folder of a prediction: what was found, as files for programs and for people.

predictions.csv     a line per photo, the most anomalous first
predictions.json    the same, with what decided the scores; written last: without it the folder is incomplete
index.html          a page: gallery, threshold, download of decisions
sheet.png           the photos with the highest scores, with their overlays
photos/, overlays/  each photo, small, and with the colours of its map
maps/               the maps at the photos' own sizes, where they were asked for
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zsad_bench.data import contact_sheet, decode
from zsad_bench.errors import DatasetError, RowError, UsageError
from zsad_bench.inspection import page
from zsad_bench.inspection.decision import Calibration
from zsad_bench.inspection.inspect import Inspected
from zsad_bench.inspection.overlay import ColourRange, colour_range, overlay, reduced
from zsad_bench.inspection.reading import Unread
from zsad_bench.inspection.region import Region
from zsad_bench.inspection.tiles import resized

FORMAT = "zsad-bench predictions 1"
MapFormat = Literal["none", "npy", "png16"]
COLUMNS = ("image", "score", "p_value", "decision", "width", "height", "error")
ON_SHEET = 60  # photos
_PARTS = ("predictions.json", "predictions.csv", "index.html", "sheet.png", "photos", "overlays", "maps")
_UNFINISHED = ".predictions-"
_QUALITY = 90  # of JPEG, for small photos


@dataclass(frozen=True)
class Threshold:
    """What a photo fails by: a score above `value`. calibration: where the value comes from; None is a number given."""

    value: float
    calibration: Calibration | None = None

    def decision(self, score: float) -> str:
        return "fail" if score > self.value else "pass"

    def p_value(self, score: float) -> float | None:
        """None without a calibration: a number alone says nothing about how usual a score is."""
        return None if self.calibration is None else self.calibration.p_value(score)


@dataclass(frozen=True)
class Line:
    """What results say of a photo. files: "photo", "overlay", "map" -> path in the folder."""

    image: str
    path: str
    score: float
    width: int
    height: int
    views: int
    p_value: float | None = None
    decision: str | None = None
    map_range: MapRange | None = None
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Written:
    """lines: of the photos that were scored, the highest score first. unread: of the others. notes: what decoding and
    scaling did, in lines. colours: of the overlays; None without maps."""

    lines: list[Line]
    unread: list[Unread]
    notes: list[str]
    colours: ColourRange | None


def require_free(out: Path) -> None:
    """Raises UsageError where the folder holds anything but earlier predictions, which new ones replace."""
    others = [path for path in out.iterdir() if not path.name.startswith(_UNFINISHED)] if out.is_dir() else []
    if others and not _is_prediction(out):
        raise UsageError(f"--out {out}: it holds other files; give a new folder, or one of earlier predictions")


def write(
    out: Path,
    found: Iterable[Inspected | Unread],
    about: Mapping[str, Any],
    title: str,
    threshold: Threshold | None = None,
    region: Region | None = None,
    maps: MapFormat = "none",
) -> Written:
    """Takes the photos as they come, and leaves the folder complete; earlier predictions in it are replaced then.

    about: what decided the scores, for predictions.json. title: of sheet and page. Memory: one photo and its map; what
    overlays need later waits on disk.

    Raises:
        DatasetError: none of the photos could be read. RowError: the folder cannot be written, or the disk is full.
            What was there before stays.
    """
    require_free(out)
    with _new_folder(out) as folder:
        kept, unread, done, scaled = _first_pass(folder, found, threshold, maps)
        if not kept:
            raise DatasetError(f"none of the {len(unread)} photos can be scored; the first: {unread[0].reason}")
        kept.sort(key=lambda each: (-each.line.score, each.line.image))
        ranges = [each.range for each in kept if each.range is not None]
        colours = colour_range((of_map.median, of_map.high) for of_map in ranges) if ranges else None
        whole = (min(of_map.low for of_map in ranges), max(of_map.high for of_map in ranges)) if ranges else None
        for each in kept:
            _second_pass(folder, each, colours, region, maps, whole)
        lines = [each.line for each in kept]
        notes = decode.said(done)
        if scaled:
            notes.append(f"the region's mask is scaled to {scaled} photos of another size")
        shutil.rmtree(folder / "waiting", ignore_errors=True)
        written = Written(lines, unread, notes, colours)
        content = _content(written, about, threshold, whole if maps == "png16" else None)
        _sheet(folder, title, written)
        (folder / "predictions.csv").write_text(_csv(written), encoding="utf-8", errors="surrogateescape")
        # Names that are not UTF-8 have a "?" on the page; its links and the other files have their own bytes.
        (folder / "index.html").write_text(page.page(title, content), encoding="utf-8", errors="replace")
        (folder / "predictions.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return written


class MapRange(NamedTuple):
    """Lowest, middle and highest value of a map."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class _Kept:
    """A photo between the passes. number: of the files that wait for the second one."""

    line: Line
    number: int

    @property
    def range(self) -> MapRange | None:
        return self.line.map_range


def _first_pass(
    folder: Path, found: Iterable[Inspected | Unread], threshold: Threshold | None, maps: MapFormat
) -> tuple[list[_Kept], list[Unread], list[tuple[str, str]], int]:
    """Writes what needs no other photo; (photos, unread ones, what decoding did, how many scaled the region)."""
    kept: list[_Kept] = []
    unread: list[Unread] = []
    done: list[tuple[str, str]] = []
    scaled = 0
    (folder / "waiting").mkdir()
    for item in found:
        if isinstance(item, Unread):
            unread.append(item)
            continue
        number, name = len(kept), item.photo.name.lstrip("/")
        files = {"photo": f"photos/{name}.jpg"}
        _save(Image.fromarray(item.thumbnail), folder / files["photo"], "JPEG", quality=_QUALITY)
        done += [(key, str(item.photo.path)) for key in item.done]
        scaled += item.scaled
        of_map = None
        if item.map is not None:
            height, width = item.thumbnail.shape[:2]
            np.save(folder / "waiting" / f"{number}.npy", reduced(item.map, width, height))
            of_map = MapRange(*(float(of(item.map)) for of in (np.min, np.median, np.max)))
            files["overlay"] = f"overlays/{name}.png"
            if maps == "npy":
                files["map"] = f"maps/{name}.npy"
                _save_array(resized(item.map, item.width, item.height), folder / files["map"])
            elif maps == "png16":
                files["map"] = f"maps/{name}.png"
                np.save(folder / "waiting" / f"{number}_full.npy", item.map)
        kept.append(_Kept(Line(
            item.photo.name, str(item.photo.path), item.score, item.width, item.height, item.views,
            threshold.p_value(item.score) if threshold else None, threshold.decision(item.score) if threshold else None,
            of_map, files,
        ), number))  # fmt: skip
    return kept, unread, done, scaled


def _second_pass(
    folder: Path, each: _Kept, colours: ColourRange | None, region: Region | None, maps: MapFormat,
    whole: tuple[float, float] | None,
) -> None:  # fmt: skip
    """Writes what needs the range of all maps."""
    line = each.line
    if each.range is None or colours is None or whole is None:
        return
    with Image.open(folder / line.files["photo"]) as picture:
        photo = np.asarray(picture.convert("RGB"))
    inside = None if region is None else region.at(photo.shape[1], photo.shape[0])
    small = np.load(folder / "waiting" / f"{each.number}.npy", allow_pickle=False)
    _save(Image.fromarray(overlay(photo, small, colours, inside)), folder / line.files["overlay"], "PNG")
    if maps == "png16":
        map_ = np.load(folder / "waiting" / f"{each.number}_full.npy", allow_pickle=False)
        low, span = whole[0], whole[1] - whole[0] or 1.0
        scaled = (resized(map_, line.width, line.height).astype(np.float64) - low) / span * 65535
        _save(Image.fromarray(np.clip(scaled, 0, 65535).round().astype(np.uint16)), folder / line.files["map"], "PNG")


def _content(
    written: Written, about: Mapping[str, Any], threshold: Threshold | None, png_range: tuple[float, float] | None
) -> dict[str, Any]:
    """What predictions.json holds, and the page shows."""
    calibration = threshold.calibration if threshold else None
    images = [
        {
            "image": line.image, "path": line.path, "score": line.score, "p_value": line.p_value,
            "decision": line.decision, "width": line.width, "height": line.height, "tiles": line.views,
            "map_range": None if line.map_range is None else line.map_range._asdict(), "files": dict(line.files),
        }
        for line in written.lines
    ]  # fmt: skip
    return {
        "format": FORMAT,
        **about,
        "threshold": None if threshold is None else {
            "value": threshold.value,
            "false_alarm": None if calibration is None else {
                "asked": calibration.rate, "expected": calibration.expected_rate, "likely": calibration.likely_rate,
                "good_images": len(calibration.scores), "scores": list(calibration.scores),
            },
        },
        "colours": None if written.colours is None else {"from": written.colours.low, "to": written.colours.high},
        # value = low + pixel / 65535 * (high - low), the same for all maps
        "png16_range": None if png_range is None else list(png_range),
        "notes": written.notes,
        "unread": [{"image": each.photo.name, "path": str(each.photo.path), "reason": each.reason}
                   for each in written.unread],
        "images": images,
    }  # fmt: skip


def _csv(written: Written) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for line in written.lines:
        p_value = "" if line.p_value is None else f"{line.p_value:.6g}"
        table.writerow((line.image, repr(line.score), p_value, line.decision or "", line.width, line.height, ""))
    for each in written.unread:
        table.writerow((each.photo.name, "", "", "", "", "", each.reason))
    return text.getvalue()


def _sheet(folder: Path, title: str, written: Written) -> None:
    shown = written.lines[:ON_SHEET]
    cells = []
    for line in shown:
        with Image.open(folder / line.files.get("overlay", line.files["photo"])) as picture:
            captions = [line.image, f"{line.score:.4g}" + ("" if line.p_value is None else f" · p {line.p_value:.2g}")]
            cells.append(contact_sheet.cell(picture.convert("RGB"), None, (*captions, *filter(None, [line.decision]))))
    more = len(written.lines) - len(shown)
    subtitle = "the highest score first" + (f"; {more} more photos are not on this sheet" if more else "")
    _save(contact_sheet.grid(title, subtitle, cells, min(6, max(3, len(cells)))), folder / "sheet.png", "PNG")


def _save(picture: Image.Image, path: Path, form: str, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, form, **options)


def _save_array(array: NDArray[np.float32], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def _is_prediction(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / "predictions.json").read_text(encoding="utf-8"))["format"] == FORMAT)
    except (OSError, ValueError, KeyError, TypeError):
        return False


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A hidden folder inside `out`, whose content takes the place of earlier predictions when the block ends."""
    was_there = out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        for left in out.glob(f"{_UNFINISHED}*"):  # of a run that was killed
            _remove(left)
        folder = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=out))
        try:
            yield folder
            for name in _PARTS:  # the marker first, so that no mixture is taken for complete
                _remove(out / name)
            for name in reversed(_PARTS):
                if (folder / name).exists():
                    os.replace(folder / name, out / name)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if not was_there:
                with contextlib.suppress(OSError):  # not empty: it is complete
                    out.rmdir()
    except OSError as error:
        raise RowError(f"{out}: cannot be written ({error.strerror or error}); free its disk, or give --out") from error


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
