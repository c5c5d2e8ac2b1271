"""One rule from whatever Pillow opens to 8-bit RGB, and to the values that a mask marks with.

Nothing is clipped. What is wider than 8 bits keeps the upper eight of the bits that its type has; floating point is
read as 0 to 1; what fits neither is refused. Colour profiles and gamma are not applied, as in the published
evaluations. `docs/datasets.md` has the rule as a table; whoever changes what comes out raises `PIXEL_RULE`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from PIL import TiffImagePlugin

PIXEL_RULE = 2  # in data hashes and image caches: other pixels of the same files are other data

_WITH_ALPHA = {"LA": "LA", "La": "LA", "RGBA": "RGBA", "RGBa": "RGBA", "PA": "RGBA"}
_SPACES = ("CMYK", "YCbCr", "LAB", "HSV")
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLES, _PLANAR, _SAMPLE_FORMAT = 258, 262, 277, 284, 339  # TIFF tags
# How Pillow reads the upper bytes of 16-bit colours -> how it would read the lower ones.
_LOWER = {
    "RGB;16B": "RGB;16L",
    "RGB;16L": "RGB;16B",
    "RGBX;16B": "RGBX;16L",
    "RGBX;16L": "RGBX;16B",
    "RGBA;16B": "RGBA;16L",
    "RGBA;16L": "RGBA;16B",
    "LA;16B": "RGBA",  # upper and lower byte of grey, then of alpha
}


class RefusedError(ValueError):
    """The file is complete, but no rule defines its pixels. remedy: what to do about it."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.remedy = remedy


class Form(NamedTuple):
    """What a file says of its samples, which Pillow's mode does not.

    bits: of a sample, 0 where the format does not say what the range is. raw: Pillow's word for their order.
    """

    bits: int = 8
    signed: bool = False
    white_is_zero: bool = False
    raw: str = ""

    @property
    def range(self) -> int:
        """Bits of the largest value."""
        return self.bits - self.signed


def tiff_tags(file: Image.Image) -> TiffImagePlugin.ImageFileDirectory_v2:
    """The tags of the current page of a TIFF."""
    return cast("TiffImagePlugin.TiffImageFile", file).tag_v2


def form_of(file: Image.Image) -> Form:
    """Of an opened file that is not loaded yet; loading forgets it.

    Raises:
        RefusedError: Pillow would read other pixels than the file has.
    """
    tile = getattr(file, "tile", None)
    args = tile[0][3] if tile else ""
    raw = str(args[0] if isinstance(args, tuple) else args)
    deep = file.mode.startswith("I")
    if file.format == "TIFF":
        tags = tiff_tags(file)
        bits = max(tags.get(_BITS_PER_SAMPLE, (1,)))
        if tags.get(_PLANAR, 1) == 2 and bits > 8 and tags.get(_SAMPLES, 1) > 1 and tile and tile[0][0] == "raw":
            raise RefusedError(
                f"{bits}-bit colours in separate planes are not read", "save it with interleaved colours"
            )
        return Form(bits, 2 in tags.get(_SAMPLE_FORMAT, (1,)), tags.get(_PHOTOMETRIC, 1) == 0, raw)
    if file.format == "PPM":
        return Form(16 if deep or (isinstance(args, tuple) and args[1] > 255) else 8, raw=raw)
    if file.format == "PNG":
        small = {"1": 1, "L;2": 2, "L;4": 4}.get(raw, 8)
        return Form(16 if deep or ";16" in raw else small, raw=raw)
    if file.format == "JPEG2000":
        return Form(16 if deep else 8, raw=raw)
    if file.format is None and file.mode.startswith("I;16"):  # of no file: then the mode says it
        return Form(16)
    return Form(0 if deep else 8, raw=raw)


def rgb(file: Image.Image, form: Form) -> tuple[Image.Image, list[str]]:
    """(the loaded file in RGB at its size, what was done: keys of `decode.SAID`).

    Of transparent pixels the stored colours are kept.

    Raises:
        RefusedError: its range is not known, or values lie outside of it.
    """
    if file.mode == "F":
        return _grey(np.rint(_unit(file, form) * 255)), ["float"]
    if file.mode.startswith("I"):
        return _deep_grey(file, form)
    _require_known(file, form)
    done = [*(["colours16"] if form.bits > 8 else []), *(["space"] if file.mode in _SPACES else [])]
    # By way of alpha where there is some: straight to RGB, Pillow keeps premultiplied colours, or warns.
    keyed = "transparency" in file.info and (file.mode == "P" or (file.mode == "RGB" and form.bits == 8))
    through = _WITH_ALPHA.get(file.mode, "RGBA" if keyed else None)
    image = file.convert(through) if through else file
    if through:
        transparent = _extremes(image.getchannel("A"))[0] < 255
    else:
        key = _key(file, form) if file.mode in ("1", "L") else None
        transparent = "transparency" in file.info if key is None else not key.all()
    return image.convert("RGB"), [*done, *(["alpha"] if transparent else [])]


def _deep_grey(file: Image.Image, form: Form) -> tuple[Image.Image, list[str]]:
    values = _integers(file, form)
    low, high = int(values.min()), int(values.max())
    if form.range > 16 and low < high < 1 << form.range - 8:
        raise RefusedError(
            f"it holds {low} to {high} in {form.bits} bits, which would all come out black",
            "save it in 8 or 16 bits, with white as their largest value",
        )
    dim = form.range == 16 and low < high < 1 << 12
    transparent = file.info.get("transparency") in (values if "transparency" in file.info else ())
    done = [f"grey{form.bits}", *(["dim"] if dim else []), *(["alpha"] if transparent else [])]
    return _grey(values >> form.range - 8), done


def rgb_of_array(array: np.ndarray) -> tuple[Image.Image, list[str]]:
    """The same of an array: grey (H,W) or (H,W,1), colours (H,W,3), or colours and opacity (H,W,4).

    Booleans are black and white; uint8 and uint16 are read by their full range, floating point as 0 to 1.

    Raises:
        RefusedError: another shape or type, or values outside of its range.
    """
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        planes = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        raise RefusedError(
            f"it is an array of shape {array.shape}, expected (H,W), (H,W,1), (H,W,3) or (H,W,4)",
            "move the colours last: array.transpose(1, 2, 0)" if planes else "give each image by itself",
        )
    if not array.size:
        raise RefusedError(f"it has no pixel (shape {array.shape})", "leave it out")
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
    elif array.dtype not in (np.bool_, np.uint8, np.uint16):
        raise RefusedError(
            f"it is an array of {array.dtype}, and nothing says what the range of its values is",
            "give uint8, uint16, or floating point from 0 to 1",
        )
    if array.ndim == 2:
        return rgb(Image.fromarray(array.astype(array.dtype.newbyteorder("="))), Form(16 if array.itemsize == 2 else 8))
    done = []
    if array.dtype == np.float32:
        array, done = np.rint(_within_one(array) * 255).astype(np.uint8), ["float"]
    elif array.dtype == np.uint16:
        array, done = (array >> 8).astype(np.uint8), ["colours16"]
    elif array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    image, further = rgb(Image.fromarray(np.ascontiguousarray(array)), Form())
    return image, done + further


def marked(
    file: Image.Image, form: Form, threshold: int, again: Callable[[str], Image.Image]
) -> tuple[np.ndarray, list[str]]:
    """((H,W) bool, where the loaded file marks; what was done: keys of `decode.SAID`).

    A pixel's value is its largest channel, times its opacity; it is marked where that is above threshold/255 of the
    type's full range, exactly: at 0 that is every pixel that is neither black nor transparent. Of floating point the
    range is 1, or 255 where values are above 1. again: opens the file anew, to be read in another order of bytes.

    Raises:
        RefusedError: its range is not known, or values lie outside of it.
    """
    if file.mode == "F":
        values = _finite(np.asarray(file))
        full = 1 if values.max() <= 1 else 255
        if values.max() > full:
            raise _outside(values, "0 to 1 or 0 to 255")
        values = full - values if form.white_is_zero else values
        return values > np.float32(threshold * full / 255), []
    if file.mode.startswith("I"):
        values = _integers(file, form).astype(np.int64)
        full, alpha, done = (1 << form.range) - 1, None, []
        if isinstance(key := file.info.get("transparency"), int):
            alpha, done = values != key, ["mask_alpha"]
            values = values * alpha
        return values * 255 > threshold * full, done
    _require_known(file, form)
    colours, alpha, full = _sixteen(file, form, again) if form.bits > 8 else _eight(file, form)
    values, done = colours[0], []
    for colour in colours[1:]:
        if "mask_colour" not in done and (colour != colours[0]).any():
            done.append("mask_colour")
        values = np.maximum(values, colour)
    if file.mode == "P" and not values.any():
        index = np.asarray(file)
        if index.min() != index.max():  # the palette paints all of it black, so it is not what was meant to be seen
            values, done = index, ["mask_index"]
    if alpha is not None and (alpha < full).any():
        return values.astype(np.int64) * alpha * 255 > threshold * full * full, [*done, "mask_alpha"]
    return (values > threshold if full == 255 else values.astype(np.int64) * 255 > threshold * full), done


def is_two_tone(image: Image.Image) -> bool:
    """Whether an RGB image has black and white pixels and no others, as masks have."""
    colours = image.getcolors(2)
    return colours is not None and {colour for _, colour in colours} == {(0, 0, 0), (255, 255, 255)}


def is_uniform(image: Image.Image) -> bool:
    """Whether an RGB or L image is of one colour everywhere; looks at all of it only where its corners agree."""
    right, bottom = image.width - 1, image.height - 1
    first = image.getpixel((0, 0))
    if any(image.getpixel(at) != first for at in ((right, 0), (0, bottom), (right, bottom), (right // 2, bottom // 2))):
        return False
    extrema = image.getextrema()
    return all(low == high for low, high in (extrema if isinstance(extrema[0], tuple) else (extrema,)))


def _grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")


def _integers(file: Image.Image, form: Form) -> np.ndarray:
    """(H,W) of 0 to 2**range - 1, as the file means them."""
    if not form.bits:
        raise RefusedError(
            f"nothing says what the range of its values is ({file.format}, mode {file.mode})",
            "save it as PNG or TIFF in 8 or 16 bits",
        )
    values = np.asarray(file)
    if form.bits == 32 and not form.signed:
        values = values.view(np.uint32)
    if form.signed and values.min() < 0:
        raise RefusedError(
            f"it holds {values.min()} to {values.max()}, and nothing says what black is where values are negative",
            "shift it to 0 and above and save it without sign",
        )
    return (1 << form.range) - 1 - values if form.white_is_zero else values


def _unit(file: Image.Image, form: Form) -> np.ndarray:
    """(H,W) float32 in 0 to 1."""
    values = _within_one(np.asarray(file))
    return 1 - values if form.white_is_zero else values


def _within_one(values: np.ndarray) -> np.ndarray:
    """The values, all of them in 0 to 1."""
    if _finite(values).max() > 1:
        raise _outside(values, "0 to 1")
    return values


def _finite(values: np.ndarray) -> np.ndarray:
    """The values, all of them finite and 0 or above."""
    if wrong := int((~np.isfinite(values)).sum()):
        raise RefusedError(f"{wrong} of its {values.size} values are nan or infinite", "replace them")
    if values.min() < 0:
        raise _outside(values, "0 to 1")
    return values


def _outside(values: np.ndarray, expected: str) -> RefusedError:
    return RefusedError(
        f"it holds floating-point values from {values.min():.6g} to {values.max():.6g}, expected {expected}",
        "bring it to 0 to 1, or save it in 8 or 16 bits",
    )


def _extremes(channel: Image.Image) -> tuple[float, float]:
    """The lowest and the highest value of an image of one channel."""
    return cast("tuple[float, float]", channel.getextrema())


def _require_known(file: Image.Image, form: Form) -> None:
    """Refuses what Pillow would read in silence as something else."""
    if form.signed:
        raise RefusedError("it holds signed 8-bit values", "save it without sign")
    if file.mode in ("P", "PA"):
        if file.palette is None:
            raise RefusedError("its palette is missing", "save it in grey or RGB")
        colours = len(file.palette.palette) // max(1, len(file.palette.mode))
        highest = _extremes(file.getchannel(0))[1]
        if highest >= colours:
            raise RefusedError(
                f"it has a pixel of colour {highest} and a palette of {colours}", "save it in grey or RGB"
            )


def _key(file: Image.Image, form: Form) -> np.ndarray | None:
    """(H,W) 255 where a grey file is not of the value that it calls transparent, else 0; None when it names none."""
    key = file.info.get("transparency")
    if not isinstance(key, int):
        return None
    # Pillow scales samples of two and four bits to 8, and leaves their metadata as it was.
    scaled = key * 255 // ((1 << form.bits) - 1) if form.bits in (2, 4) else key
    return np.where(np.asarray(file.convert("L")) == scaled, np.uint8(0), np.uint8(255))


# Both give (planes of colour (H,W), alpha (H,W) or None, the full range).


def _eight(file: Image.Image, form: Form) -> tuple[list[np.ndarray], np.ndarray | None, int]:
    if file.mode in ("1", "L"):
        return [np.asarray(file if file.mode == "L" else file.convert("L"))], _key(file, form), 255
    has_alpha = file.mode in _WITH_ALPHA or "transparency" in file.info
    image = file.convert(_WITH_ALPHA.get(file.mode, "RGBA") if has_alpha else "RGB")
    planes = [np.asarray(plane) for plane in image.split()]
    return (planes[:-1], planes[-1], 255) if has_alpha else (planes, None, 255)


def _sixteen(
    file: Image.Image, form: Form, again: Callable[[str], Image.Image]
) -> tuple[list[np.ndarray], np.ndarray | None, int]:
    lower = _LOWER.get(form.raw)
    if lower is None or "transparency" in file.info:
        raise RefusedError("16-bit colours of this kind are not read in a mask", "save it in 8 bits or in grey")
    other = np.moveaxis(np.asarray(again(lower)).astype(np.uint16), 2, 0)
    if form.raw == "LA;16B":
        planes = list(other[0::2] << 8 | other[1::2])
    else:
        planes = list(np.moveaxis(np.asarray(file).astype(np.uint16), 2, 0) << 8 | other)
    has_alpha = file.mode == "RGBA"
    return (planes[:-1], planes[-1], 65535) if has_alpha else (planes, None, 65535)
