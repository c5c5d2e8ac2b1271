"""The generated datasets on disk: written once into the cache, MVTec style, and never half-written.

Free of torch, so that the processes that draw start at once. A dataset is a folder:
`{category}/test/{good,<defect>}/NNN.png`, `{category}/ground_truth/<defect>/NNN_mask.png`, and `complete.json`, which
is written last, before the folder gets its name. Decoded pixels depend on dataset, seed, generator and the versions of
numpy and OpenCV; on another kind of processor a few of them differ by one grey level, where a rounding falls otherwise.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy

from zsad_bench.data import locations
from zsad_bench.data.demo import classes
from zsad_bench.data.demo.drawing import Draw, draw_all
from zsad_bench.errors import DatasetError, UnknownNameError
from zsad_bench.locks import locked
from zsad_bench.registry import did_you_mean
from zsad_bench.types import Sample

VERSION = 1  # of the folder layout and of the counts below; the generator's own version is the digest of its files
MARKER = "complete.json"
_INLINE = 64  # fewer images than this are drawn in this process: starting others would take longer
_MOST_PROCESSES = 8
_ANOMALOUS_OFFSET = 1_000_000  # anomalous images take other draws than normal ones: no image has its clean twin here

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """A generated dataset. normal, anomalous: images over all categories, shared out as evenly as possible.

    defects: the only ones that occur, or None for whatever each class can have.
    """

    categories: tuple[str, ...]
    normal: int
    anomalous: int
    defects: tuple[str, ...] | None = None


# Targets: 50 + 50 per class. Auxiliary: 400 images each, so that only the prior's breadth differs.
# Held back: classes like the auxiliary ones, to judge candidates of the tiny CLIP on; never trained on, never a target.
PARTS: dict[str, Part] = {
    "demo_textures": Part(("perforated", "terrazzo", "carpet"), 150, 150),
    "demo_objects": Part(("bottle", "screw", "key", "hazelnut", "cable"), 250, 250),
    "demo_medical": Part(("brain", "colon", "cell"), 150, 150),
    "demo_rich": Part(("leather", "mesh", "capsule", "nut", "chip", "retina"), 200, 200),
    "demo_limited": Part(("leather", "mesh"), 200, 200, ("stain", "discoloration")),
    "demo_heldback": Part(("linen", "gravel", "gasket", "cracker", "lung"), 200, 200),
}


def draws(name: str, seed: int = 0, scale: float = 1.0) -> list[Draw]:
    """Every image of a dataset, in the order of its categories; defects take turns within a category."""
    part = _part(name)
    planned = []
    for position, category in enumerate(part.categories):
        defects = part.defects or classes.CLASSES[category].defects
        normal, anomalous = (_share(total, scale, position, part) for total in (part.normal, part.anomalous))
        planned += [Draw(name, category, i, i, seed, None) for i in range(normal)]
        planned += [
            Draw(name, category, i, _ANOMALOUS_OFFSET + i, seed, defects[i % len(defects)]) for i in range(anomalous)
        ]
    return planned


def location(name: str, seed: int = 0, scale: float = 1.0) -> Path:
    """The folder in the cache that this dataset has or would have."""
    _part(name)
    suffix = "" if scale == 1.0 else f"-x{scale:g}"
    return locations.cache_root() / "demo" / f"v{VERSION}-{_generator_digest()}-s{seed}{suffix}" / name


def read_marker(folder: Path) -> dict | None:
    """What `complete.json` says, or None when the folder is not a complete dataset.

    Keys: dataset, seed, scale, generator, libraries, counts {category: [normal, anomalous]}, sha256 (of all decoded
    pixels), pixels {path: sha256 of the decoded pixels, 16 hex digits}, files {path: sha256 of the file}.
    """
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        complete = all((folder / path).stat().st_size > 0 for path in marker["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return marker if complete else None


def ensure(
    name: str,
    seed: int = 0,
    *,
    scale: float = 1.0,
    processes: int | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Path:
    """The folder of a complete generated dataset, drawn now if it is not there yet.

    scale: share of the usual number of images, for tests. report: called with (images drawn, of how many).
    A second process that asks at the same time waits for the first. About 10 s for 1,000 images on two cores.

    Raises:
        UnknownNameError: no generated dataset of that name. DatasetError: the cache cannot be written.
    """
    folder = location(name, seed, scale)
    if read_marker(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.parent / f"{name}.lock"):
            if not read_marker(folder):
                _generate(name, seed, scale, folder, processes, report)
    except OSError as error:
        raise DatasetError(
            f"{name}: cannot write the generated images to {folder} ({error}); free space or set ZSAD_CACHE to a "
            "folder that can be written"
        ) from None
    return folder


def index(folder: Path) -> list[Sample]:
    """The samples of a generated folder, by path; masks for the anomalous ones."""
    samples = []
    for path in sorted(folder.glob("*/test/*/*.png")):
        category, _, kind, file = path.relative_to(folder).parts
        normal = kind == "good"
        masks = () if normal else (f"{category}/ground_truth/{kind}/{Path(file).stem}_mask.png",)
        samples.append(Sample(f"{category}/test/{kind}/{file}", masks, int(not normal), category, kind, "test"))
    return samples


def _generate(
    name: str, seed: int, scale: float, folder: Path, processes: int | None, report: Callable[[int, int], None] | None
) -> None:
    planned = draws(name, seed, scale)
    _log.info("drawing %d images of %s into %s", len(planned), name, folder)
    for left in folder.parent.glob(f".{name}-*"):  # of a generation that was killed; the lock is ours
        shutil.rmtree(left)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
    try:
        pixels: dict[str, str] = {}
        for written in draw_all(planned, unfinished, _processes(len(planned), processes)):
            pixels |= written
            if report is not None:
                report(sum("/test/" in path for path in pixels), len(planned))
        pixels = dict(sorted(pixels.items()))
        marker = {
            "dataset": name,
            "seed": seed,
            "scale": scale,
            "generator": f"v{VERSION}-{_generator_digest()}",
            "libraries": f"numpy {numpy.__version__}, opencv {cv2.__version__}",
            "counts": _counts(planned),
            "sha256": hashlib.sha256(json.dumps(pixels).encode()).hexdigest(),
            "pixels": pixels,
            "files": {path: hashlib.sha256((unfinished / path).read_bytes()).hexdigest() for path in pixels},
        }
        (unfinished / MARKER).write_text(json.dumps(marker, indent=1), encoding="utf-8")
        unfinished.chmod(0o755)  # mkdtemp makes it private; a cache may be shared
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _part(name: str) -> Part:
    if name not in PARTS:
        raise UnknownNameError(did_you_mean("generated dataset", name, PARTS))
    return PARTS[name]


def _share(total: int, scale: float, position: int, part: Part) -> int:
    scaled = max(round(total * scale), len(part.categories))  # a category without one label has no AUROC
    each, rest = divmod(scaled, len(part.categories))
    return each + (position < rest)


def _counts(planned: Sequence[Draw]) -> dict[str, list[int]]:
    counts: dict[str, list[int]] = {}
    for draw in planned:
        counts.setdefault(draw.category, [0, 0])[draw.defect is not None] += 1
    return counts


def _processes(images: int, asked: int | None) -> int:
    if asked is not None:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1 if images < _INLINE else min(cores, _MOST_PROCESSES)


@cache
def _generator_digest() -> str:
    """8 hex digits of the generator's sources: a changed drawing never meets yesterday's cached images."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        if file.name not in ("suite.py", "module.py", "drawing.py"):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:8]
