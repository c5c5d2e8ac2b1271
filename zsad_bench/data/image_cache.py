"""Resized images kept on disk, so that only the first pass over a dataset decodes its photographs.

One file per image, of uint8 pixels and packed mask bits, uncompressed. At 518 px a file takes 805,238 bytes without a
mask and 839,019 with one: 1.4 GB for the 1,725 test images of MVTecAD. What comes back is bit for bit what decoding
gives. What a file holds decides, not where it lies: data that was moved is not decoded again. Nothing is ever removed;
the folder may be deleted at any time.

Groups of a sweep that run side by side on one machine share such a folder for as long as the sweep runs
(`sweep/decoded_images.py`). Of those that need an image at the same time one decodes it, and the others wait.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from zsad_bench.atomic import whole_file
from zsad_bench.data.content import UNREADABLE
from zsad_bench.data.pixels import PIXEL_RULE
from zsad_bench.errors import DatasetError
from zsad_bench.locks import locked
from zsad_bench.printable import say

SHARED = "ZSAD_DECODED"  # environment variable of processes that share what they decode: as `SharedImages.to_text`
_FORMAT = 2
# What numpy raises on files that are cut short, mangled, or something else; zip archives check their content.
_DAMAGED = (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile)

Arrays = tuple[np.ndarray, "np.ndarray | None", tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class ImageCache:
    """What was made of files: pixels (S,S,3) uint8, mask (S,S) bool or None, and what decoding did, as `decode.said`
    takes it. Safe to share by processes.
    """

    folder: Path

    def place(
        self, contents: Sequence[str], crop: tuple[int, int, int, int] | None, size: int, mask_threshold: int | None
    ) -> Path | None:
        """Where the arrays of an image file and its masks belong; None when one of them may not be read.

        contents: their sha256. It depends on these, on everything done to the files, on the rule by which they become
        pixels, and on the version of Pillow, whose resize may change.
        """
        if UNREADABLE in contents:
            return None
        key = repr((_FORMAT, PIXEL_RULE, PIL.__version__, list(contents), crop, size, mask_threshold))
        digest = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest}.npz"

    def read(self, place: Path, size: int, masked: bool) -> Arrays | None:
        """The arrays, or None when the file is missing or damaged."""
        try:
            with np.load(place, allow_pickle=False) as kept:
                pixels, bits = kept["pixels"], kept["mask"] if masked else None
                mask = None if bits is None else np.unpackbits(bits, count=size * size).reshape(size, size).astype(bool)
                done = tuple((str(key), str(path)) for key, path in kept["done"]) if "done" in kept else ()
        except _DAMAGED:
            return None
        fits = pixels.shape == (size, size, 3) and pixels.dtype == np.uint8
        return (pixels, mask, done) if fits else None

    @contextmanager
    def claimed(self, place: Path) -> Iterator[bool]:
        """Within, whoever asks for it makes the arrays. True: somebody else may have made them meanwhile."""
        yield False

    def write(
        self, place: Path, pixels: np.ndarray, mask: np.ndarray | None, done: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Keeps the arrays; the file appears whole or not at all.

        Raises:
            DatasetError: the folder cannot be written, or the disk is full.
        """
        try:
            _put(place, pixels, mask, done)
        except OSError as error:
            raise DatasetError(
                f"cannot write the image cache {self.folder} ({error.strerror or error}); make room there, set "
                "ZSAD_CACHE to another folder, or run without the image cache"
            ) from None


@dataclass(frozen=True)
class SharedImages(ImageCache):
    """What several processes of one machine decode for each other, for as long as they run.

    floor: bytes that stay free where the folder lies; when there are fewer, nothing more is written, and each process
    decodes for itself.
    """

    floor: int = 0

    @classmethod
    def of_environment(cls) -> SharedImages | None:
        """What the process was told to share; None: nothing, or the folder is gone."""
        floor, _, folder = os.environ.get(SHARED, "").partition(":")
        if not folder or not floor.isdecimal() or not Path(folder).is_dir():
            return None
        return cls(Path(folder), int(floor))

    def to_text(self) -> str:
        """What `of_environment` reads."""
        return f"{self.floor}:{self.folder}"

    @contextmanager
    def claimed(self, place: Path) -> Iterator[bool]:
        """One process at a time makes what lies in a folder of places; one that is killed gives its claim up."""
        with ExitStack() as held:
            try:
                place.parent.mkdir(exist_ok=True)
                held.enter_context(locked(place.parent / "lock"))
            except OSError as error:
                _say_alone(self.folder, error.strerror or str(error))
            yield True

    def write(
        self, place: Path, pixels: np.ndarray, mask: np.ndarray | None, done: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Keeps the arrays, where there is room. A folder that cannot be written is no error: each decodes again."""
        try:
            if shutil.disk_usage(self.folder).free >= self.floor:
                _put(place, pixels, mask, done)
        except OSError as error:
            _say_alone(self.folder, error.strerror or str(error))


def _put(place: Path, pixels: np.ndarray, mask: np.ndarray | None, done: Sequence[tuple[str, str]]) -> None:
    arrays: dict[str, Any] = {"pixels": pixels}
    if mask is not None:
        arrays["mask"] = np.packbits(mask)
    if done:
        arrays["done"] = np.array(done, dtype=np.str_)
    with whole_file(place, durable=False) as file:
        np.savez(file, **arrays)


@cache
def _say_alone(folder: Path, why: str) -> None:
    say(f"zsad-bench: decoded images cannot be shared in {folder} ({why}); each group decodes for itself", error=True)
