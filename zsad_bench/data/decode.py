"""From a file to a picture: whole or refused, upright, in RGB or as a mask; and what was done on the way, in words.

Everything that decodes an image of a dataset does it here, so that `data check` and a run see and say the same.
"""

from __future__ import annotations

import functools
import io
import re
import struct
import threading
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from zsad_bench.data import pixels
from zsad_bench.data.pixels import RefusedError
from zsad_bench.data.whole import require_whole, require_whole_tiff
from zsad_bench.errors import DatasetError

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import TiffImageFile

Size = tuple[int, int]  # width, height

LOSSY_THRESHOLD = 127  # of masks in a lossy format, where none is given: ringing is a few grey levels on either side

# The line that reports a step of decoding, by its key, for [one file|several]. `data check` and runs print these words.
Doubt = Literal["inverted_masks", "mask_among_images"]

SAID = {
    "turned": "image[s] carr[ies|y] an EXIF orientation and [is|are] turned upright",
    "grey12": "image[s] [is|are] 12-bit grey and scaled by the full range of [its|their] type",
    "grey16": "image[s] [is|are] 16-bit grey and scaled by the full range of [its|their] type",
    "grey32": "image[s] [is|are] 32-bit grey and scaled by the full range of [its|their] type",
    "dim": (
        "16-bit image[s] hold[s|] nothing above 4095 and come[s|] out nearly black; if the camera has 12 bits or "
        "fewer, scale [it|them] to the full range"
    ),
    "colours16": "image[s] [has|have] 16-bit colours, of which the upper eight bits are read",
    "float": "image[s] [is|are] floating point and read as 0 to 1",
    "space": "image[s] [is|are] CMYK, YCbCr or LAB and converted to RGB without a colour profile",
    "alpha": "image[s] [has|have] transparent pixels, of which the stored colours are read",
    "extra": "image file[s] hold[s|] further pictures (a preview, a second view), which are not read",
    "uniform": "image[s] [is|are] of one colour everywhere",
    "mask_turned": "mask[s] carr[ies|y] an EXIF orientation and [is|are] turned upright",
    "mask_lossy": f"mask[s] [is|are] JPEG or another lossy format and mark[s|] what is above {LOSSY_THRESHOLD} of 255",
    "mask_pages": "mask[s] [has|have] several pages, which are united",
    "mask_alpha": "mask[s] [has|have] transparent pixels, which are not marked",
    "mask_colour": "mask[s] [is|are] in colour and mark[s|] every pixel that is not black",
    "mask_index": "mask[s] [has|have] a palette that paints everything black and [is|are] read by [its|their] indices",
}
_NAMED = ("dim", "uniform")  # the first file is named
_FULL = 0.9  # share of its pixels from which a mask is full, and of a dataset's masks from which they look inverted

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION, _WIDTH, _SUBFILE, _OLD_SUBFILE, _SUB_IFDS = 274, 256, 254, 255, 330  # TIFF tags
_LOSSY = ("JPEG", "MPO", "JPEG2000", "AVIF")
_COMPRESSION, _PLAIN = 259, 1  # a TIFF tag, and its value for none
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
_LAYERED = ("MPO", "PSD")  # the first picture is the whole; what follows are other views, or layers

# What Pillow raises on files that are truncated, mangled, or no images at all.
_UNREADABLE = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError,
    RuntimeError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


class UnreadableError(DatasetError):
    """A file that is there and cannot be decoded."""


class Decoded(NamedTuple):
    """A picture, upright, and what the file said.

    image: RGB, or L of 0 and 255 of a mask. stored: width and height before it was turned. mode, format: of the file,
    in Pillow's words. done: keys of `SAID`, each once.
    """

    image: Image.Image
    stored: Size
    mode: str
    format: str
    done: tuple[str, ...]


def read_image(path: Path, whole: bool = True) -> Decoded:
    """The image at its native size, turned as its EXIF orientation says; the content decides the format.

    whole: False shows of a damaged file what Pillow makes of it, for eyes and never for numbers.

    Further pictures of a camera's file (MPO: a second eye, a preview) and smaller copies in a TIFF are passed over and
    said; several pages or frames of equal standing are refused, since nothing says which one is meant.

    Raises:
        DatasetError: missing, or (UnreadableError) damaged, unknown, or of a range that no rule covers; one line.
    """
    with _opened(path, "image", whole) as (file, data):
        return _decoded(file, data, whole)


def from_pil(image: Image.Image, what: str) -> Decoded:
    """A picture that Pillow has opened or made, as `read_image` would give its file; the picture itself stays as it is.

    what: how a message calls it.

    Raises:
        UnreadableError: damaged, or of a range that no rule covers; one line.
    """
    with _errors(what, "image"), _strict:
        _require_image(image)
        if not all(image.size):
            raise RefusedError("it has no pixel", "leave it out")
        return _decoded(image, b"", whole=False)


def from_array(array: np.ndarray, what: str) -> Decoded:
    """A picture that is an array, by `pixels.rgb_of_array`. what: how a message calls it.

    Raises:
        UnreadableError: of a shape, type or range that no rule covers; one line.
    """
    with _errors(what, "image"):
        image, done = pixels.rgb_of_array(array)
        return Decoded(image, image.size, str(array.dtype), "array", tuple(done))


def _decoded(file: Image.Image, data: bytes, whole: bool) -> Decoded:
    done = _to_the_page(file)
    mode = file.mode
    form, orientation = _load(file, data, whole)
    image, converted = pixels.rgb(file, form)
    image = _upright(image, file, orientation)
    done += [*(["turned"] if orientation != 1 else []), *converted]
    done += ["uniform"] if pixels.is_uniform(image) else ["two_tone"] if pixels.is_two_tone(image) else []
    return Decoded(image, _stored_size(file), mode, file.format or "unknown", tuple(done))


def read_mask(path: Path, threshold: int | None = 0) -> Decoded:
    """The mask at its native size, turned as its own EXIF orientation says: L, 255 where it marks, else 0.

    threshold: `pixels.marked` says what it is compared with; None is 0, or 127 where the file is of a lossy format
    (JPEG, whatever its suffix says). Pages and frames are united.

    Raises:
        DatasetError: missing, or (UnreadableError) damaged, unknown, or of a range that no rule covers; one line.
    """
    with _opened(path, "mask") as (file, data):
        pages, _ = _pages(file)
        mode, lossy = file.mode, threshold is None and _is_lossy(file, data)
        cut = LOSSY_THRESHOLD if lossy else threshold or 0
        done = [*(["mask_lossy"] if lossy else []), *(["mask_pages"] if len(pages) > 1 else [])]
        of_pages: list[np.ndarray] = []
        for page in pages:
            if file.tell() != page:
                file.seek(page)
            form, orientation = _load(file, data)
            marked, converted = pixels.marked(file, form, cut, functools.partial(_again, data, page))
            image = _upright(Image.fromarray(marked.astype(np.uint8) * np.uint8(255)), file, orientation)
            done += [*(["mask_turned"] if orientation != 1 else []), *converted]
            of_pages.append(np.asarray(image))
            if of_pages[-1].shape != of_pages[0].shape:
                sizes = " and ".join(f"{a.shape[1]} x {a.shape[0]}" for a in (of_pages[0], of_pages[-1]))
                raise RefusedError(f"its pages are {sizes} wide and high", "give all of them one size")
        united = functools.reduce(np.bitwise_or, of_pages)
        done += ["mask_full"] if np.count_nonzero(united) > _FULL * united.size else []
        stored = _stored_size(file)
        return Decoded(Image.fromarray(united), stored, mode, file.format or "unknown", tuple(dict.fromkeys(done)))


def stored_values(path: Path, data: bytes) -> tuple[np.ndarray, str]:
    """((H,W) the values of one channel as the file stores them, what it is: "png 16-bit"): for numbers, not for eyes.

    data: the bytes of the file; path: how a message calls it. Integers stay integers of their type.

    Raises:
        UnreadableError: damaged, no image, of several pages or channels, or stored so that values are not what they
            seem (a palette, white as zero, an EXIF orientation).
    """
    with _errors(path, "map"):
        require_whole(data)
        with _strict, Image.open(io.BytesIO(data)) as file:
            _require_image(file)
            _to_the_page(file)
            if _is_lossy(file, data):
                raise RefusedError("it is of a lossy format, which changes values", "save it as NPY, PNG or TIFF")
            if file.mode not in ("1", "L", "F") and not file.mode.startswith("I"):
                kind = "a palette" if file.mode == "P" else f"{len(file.getbands())} channels ({file.mode})"
                raise RefusedError(
                    f"it has {kind}; a coloured picture of a map is not the map", "save its values, one per pixel"
                )
            form, orientation = _load(file, data)
            if form.white_is_zero or orientation != 1:
                said = "white is its zero" if form.white_is_zero else "it carries an EXIF orientation"
                raise RefusedError(said, "save its values as they are meant")
            values = np.asarray(file)
            if form.bits == 32 and values.dtype == np.int32 and not form.signed:
                values = values.view(np.uint32)
            elif form.signed and values.dtype == np.uint8:
                values = values.view(np.int8)
            return values, f"{(file.format or 'image').lower()} {'float32' if file.mode == 'F' else f'{form.bits}-bit'}"


def size_of(path: Path, is_mask: bool = False) -> Size:
    """Width and height of an image or a mask as it stands upright, from its header.

    Raises:
        DatasetError: missing, or (UnreadableError) no image, or one of several pages; names the file.
    """
    return _header(path, is_mask)[0]


def stored_size_of(path: Path) -> Size:
    """Width and height of an image before its EXIF orientation is applied, from its header.

    Raises:
        DatasetError: as `size_of`.
    """
    return _header(path)[1]


def said(done: Iterable[tuple[str, str]]) -> list[str]:
    """Lines on what was done, with the number of files, from pairs (key of `SAID`, path of the file)."""
    files: dict[str, set[str]] = defaultdict(set)
    for key, path in done:
        files[key].add(path)
    lines = []
    for key in SAID:
        if count := len(files[key]):
            first = min(files[key])
            named = "" if key not in _NAMED else f": {first}" if count == 1 else f", the first of them {first}"
            lines.append(f"{count} {_worded(SAID[key], count)}{named}")
    return lines


def doubts(done: Iterable[tuple[str, str]], images: int, masks: int) -> dict[Doubt, str]:
    """What looks wrong of a dataset as a whole: `inverted_masks`, `mask_among_images` -> one line.

    done: as `said` takes it. images, masks: how many files were decoded.
    """
    full, drawn = ({path for key, path in done if key == asked} for asked in ("mask_full", "two_tone"))
    lines: dict[Doubt, str] = {}
    if full and len(full) >= _FULL * masks:
        lines["inverted_masks"] = (
            f"{len(full)} of {masks} masks mark more than {_FULL:.0%} of their image ({min(full)}); if what they leave "
            "out is the defect they are inverted: invert them"
        )
    if 0 < len(drawn) < images:
        lines["mask_among_images"] = (
            f"{len(drawn)} of {images} images are of black and white alone, as masks are ({min(drawn)}); if they are "
            "masks, put them into masks/"
        )
    return lines


def _worded(text: str, count: int) -> str:
    def chosen(found: re.Match[str]) -> str:
        one, bar, several = found[1].partition("|")
        return (one if count == 1 else several) if bar else ("" if count == 1 else one)

    return re.sub(r"\[(.*?)\]", chosen, text)


def _header(path: Path, is_mask: bool = False) -> tuple[Size, Size]:
    """(upright size, stored size)."""
    with _errors(path, "mask" if is_mask else "image"), _strict, Image.open(path) as file:
        _require_image(file)
        _pages(file) if is_mask else _to_the_page(file)
        if file.format == "PNG" and "exif" not in file.info and _has_late_exif(path):
            file.load()
        stored = _stored_size(file)
        return (stored[::-1] if _orientation(file) >= 5 else stored), stored


@contextmanager
def _opened(path: Path, what: str, whole: bool = True) -> Iterator[tuple[Image.Image, bytes]]:
    """The file as Pillow opens it, and its bytes: read once, and whole as far as they can tell."""
    with _errors(path, what):
        data = path.read_bytes()
        if whole:
            require_whole(data)
        with _strict, Image.open(io.BytesIO(data)) as file:
            _require_image(file)
            yield file, data


@contextmanager
def _errors(path: Path | str, what: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DatasetError(f"{what} {path} does not exist; restore the file or fetch the dataset again") from None
    except RefusedError as error:
        raise UnreadableError(f"cannot read {what} {path} ({error}); {error.remedy}") from None
    except UnidentifiedImageError:
        raise UnreadableError(
            f"cannot read {what} {path} (no image, or of a kind that is not known); replace the file or fetch the "
            "dataset again"
        ) from None
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableError(
            f"cannot read {what} {path} ({reason}); replace the file or fetch the dataset again"
        ) from None


class _Strict:
    """While a thread is within, Pillow does not fill in missing pixels, even if another library allows it."""

    def __init__(self) -> None:
        self._lock, self._within, self._before = threading.Lock(), 0, False

    def __enter__(self) -> None:
        with self._lock:
            if self._within == 0:
                self._before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
            self._within += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._within -= 1
            if self._within == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = self._before


_strict = _Strict()


def _require_image(file: Image.Image) -> None:
    if file.format == "EPS":  # Pillow would have Ghostscript run it
        raise RefusedError("it is EPS, a program that draws", "save it as PNG")


def _load(file: Image.Image, data: bytes, whole: bool = True) -> tuple[pixels.Form, int]:
    """Decodes the current page; (what its samples are, its orientation)."""
    if file.format == "TIFF":
        if whole:
            require_whole_tiff(cast("TiffImageFile", file), data)
        _require_order(cast("TiffImageFile", file))
    form, before = pixels.form_of(file), _orientation(file)
    file.load()
    return form, before if file.format == "TIFF" else _orientation(file)


def _require_order(file: TiffImageFile) -> None:
    """Raises RefusedError for a TIFF whose numbers Pillow reads with their bytes exchanged.

    libtiff has exchanged those of a compressed big-endian file by then, and for numbers of modes I and F Pillow 13.0
    does so again (16-bit grey, mode I;16B, is read right).
    """
    compression = file.tag_v2.get(_COMPRESSION, _PLAIN)
    if file.tag_v2.prefix == b"MM" and compression != _PLAIN and file.mode in ("I", "F"):
        raise RefusedError(
            "it is a compressed big-endian TIFF of 32-bit or signed numbers, whose bytes would be exchanged",
            "save it without compression, or little-endian",
        )


def _again(data: bytes, page: int, raw: str) -> Image.Image:
    """A page read with another order of bytes within its samples."""
    file = Image.open(io.BytesIO(data))
    if page:
        file.seek(page)
    file.tile = [
        tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw) for tile in file.tile
    ]
    file.load()
    return file


def _to_the_page(file: Image.Image) -> list[str]:
    """Brings the file to the page that is the image; what was passed over."""
    pages, others = _pages(file)
    if len(pages) > 1:
        what = "pages" if file.format == "TIFF" else "frames"
        raise RefusedError(
            f"it holds {len(pages)} {what} and nothing says which is meant", "save each as a separate file"
        )
    if file.tell() != pages[0]:
        file.seek(pages[0])
    return ["extra"] if others else []


def _pages(file: Image.Image) -> tuple[list[int], int]:
    """(pages of equal standing, number of other pictures in the file).

    A TIFF says of each page whether it is a smaller copy or a mask of transparency; where all are, the first counts.
    """
    count = getattr(file, "n_frames", 1)
    if file.format in _LAYERED:
        return [file.tell()], count - 1 if file.format == "MPO" else 0
    if file.format != "TIFF":
        return list(range(count)), 0
    full = []
    for page in range(count):
        file.seek(page)
        tags = pixels.tiff_tags(file)
        kind, old = tags.get(_SUBFILE, 0), tags.get(_OLD_SUBFILE, 1)
        if not kind & 5 and old != 2:  # bit 0: smaller copy, bit 2: mask of transparency
            full.append(page)
        elif count == 1 and _SUB_IFDS in tags:
            raise RefusedError("it is a camera's raw file, of which only a preview can be read", "develop it first")
    file.seek(full[0] if full else 0)
    return full or [0], count - len(full or [0])


def _orientation(file: Image.Image) -> int:
    """1 to 8, by the EXIF alone; what XMP says of an orientation is not followed by viewers.

    A TIFF says it until it is loaded, a PNG perhaps only from then on.
    """
    if file.format == "TIFF":
        orientation = pixels.tiff_tags(file).get(_ORIENTATION, 1)
    else:
        exif = Image.Exif()
        try:
            exif.load(file.info.get("exif") or b"")
            orientation = exif.get(_ORIENTATION, 1)
        except Exception:  # Pillow raises anything; an EXIF that is broken says nothing, and the pixels are whole
            orientation = 1
    return orientation if orientation in _TURNS else 1


def _upright(image: Image.Image, file: Image.Image, orientation: int) -> Image.Image:
    """Turned, unless the file is a TIFF, which Pillow turns as it loads it."""
    return image if file.format == "TIFF" or orientation == 1 else image.transpose(_TURNS[orientation])


def _stored_size(file: Image.Image) -> Size:
    if file.format != "TIFF":
        return file.size
    tags = pixels.tiff_tags(file)
    return tags[_WIDTH], tags[_WIDTH + 1]


def _has_late_exif(path: Path) -> bool:
    """Whether a PNG has an EXIF behind its pixels, where Pillow sees it only after decoding them."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            if head[4:] == b"eXIf":
                return True
            file.seek(int.from_bytes(head[:4], "big") + 4, 1)
    return False


def _is_lossy(file: Image.Image, data: bytes) -> bool:
    if file.format == "TIFF":
        return file.info.get("compression") in _LOSSY_TIFF
    return file.format in _LOSSY or (file.format == "WEBP" and _is_lossy_webp(data))


def _is_lossy_webp(data: bytes) -> bool:
    at = 12
    while at + 8 <= len(data):
        name = data[at : at + 4]
        if name in (b"VP8 ", b"VP8L"):
            return name == b"VP8 "
        # A frame of an animation holds chunks of its own, behind 16 bytes on where it belongs.
        at += 24 if name == b"ANMF" else 8 + (int.from_bytes(data[at + 4 : at + 8], "little") + 1 & ~1)
    return False
