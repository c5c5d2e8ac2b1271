"""Which mask belongs to which image: by their names, never by the order of files.

Rules are tried one after the other, each on what the ones before left over:

1. the name of the image, whole or as a stem: `3.jpg` or `3.png` of `3.jpg`, also `3.jpg.png`;
2. the stem with a word for masks behind or before it: `3_mask.png`, `3-GT.png`, `3_label2.png`, `mask_3.png`;
3. a folder called as the image, whatever lies in it: `3/000.png`, `3/001.png` (MVTec LOCO), united;
4. numbered parts: `3_0.png`, `3_1.png`, united;
5. the same once more for masks that lie higher up: `masks/3.png` of `crack/3.png`;
6. where no name fits: equal numbers, `drawing3.png` of `photo_003.jpg`, with a note.

Folders count: `crack/3.png` of the masks is never the mask of `hole/3.png` of the images. Names are compared as they
are, then in Unicode's composed form (macOS writes decomposed ones), then in any letter case.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from zsad_bench.data import files
from zsad_bench.errors import DatasetError

WORDS = ("mask", "masks", "gt", "ground_truth", "label", "labels", "seg", "segmentation", "annotation", "annotations")
_WORD = f"(?:{'|'.join(WORDS).replace('_', '[ _-]?')})"
_BEHIND = re.compile(rf"(.+?)([ _.-]{_WORD})[ _.-]?(\d*)", re.IGNORECASE | re.DOTALL)
_BEFORE = re.compile(rf"{_WORD}[ _.-](.+)", re.IGNORECASE | re.DOTALL)
_PART = re.compile(r"(.+)[ _.-]\d+", re.DOTALL)
_FOLDERS = frozenset("groundtruth gt mask masks label labels segmentation segmentations annotation annotations".split())

Key = tuple[str, ...]
Rule = Callable[[PurePosixPath], Key | None]
_FORMS: tuple[Callable[[str], str], ...] = (
    lambda text: text,
    lambda text: unicodedata.normalize("NFC", text),
    lambda text: unicodedata.normalize("NFC", text).casefold(),
)


@dataclass
class Pairing:
    """masks: image -> its masks, united; images without one are not in it. unused: masks of no image.

    notes: the guesses, one line each, to be printed after the name of the masks' folder.
    """

    masks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def is_mask_folder(name: str) -> bool:
    """Whether a folder of this name holds masks: `ground_truth`, `Masks`, `GT`, `labels`…"""
    return files.plain(name) in _FOLDERS


def masks_among(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Image -> the masks that lie beside it in one folder, as `3_mask.png` beside `3.png`; nothing else is a mask."""
    stems: dict[str, list[str]] = defaultdict(list)
    for name in names:
        stems[files.stem_and_suffix(name)[0]].append(name)
    masks_of: dict[str, tuple[str, ...]] = {}
    for name in names:
        stem = files.stem_and_suffix(name)[0]
        word = _BEHIND.fullmatch(stem) or _BEFORE.fullmatch(stem)
        if word and (images := stems.get(word[1])):
            if len(images) > 1:
                raise DatasetError(_ambiguous(name, images))
            masks_of[images[0]] = (*masks_of.get(images[0], ()), name)
    return masks_of


def pair(images: Iterable[str], masks: Iterable[str]) -> Pairing:
    """The masks of each image. images, masks: POSIX paths, each below its own folder.

    Raises:
        DatasetError: a mask that fits several images, or several masks of which an image can have one.
    """
    result, open_images, open_masks = Pairing(), dict.fromkeys(images), dict.fromkeys(masks)
    if whole := _one_ending(list(open_images), list(open_masks)):
        result.masks = whole
        return result
    for image_rule, mask_rule, unite in _rules():
        for form in _FORMS:
            _claim(result, open_images, open_masks, image_rule, mask_rule, form, unite)
    _pair_higher_up(result, open_images, open_masks)
    if not result.masks:
        _pair_by_numbers(result, open_images, open_masks)
    result.unused = list(open_masks)
    return result


def _one_ending(images: list[str], masks: list[str]) -> dict[str, tuple[str, ...]] | None:
    """Every mask to its image if all are called alike, with nothing over: then `3_mask` may be an image as well."""
    ends = {behind[2] if (behind := _BEHIND.fullmatch(PurePosixPath(m).stem)) and not behind[3] else "" for m in masks}
    if len(ends) != 1 or not (end := ends.pop()):
        return None
    mask_of = {str(PurePosixPath(m).with_suffix("")).removesuffix(end): m for m in masks}
    stems = {str(PurePosixPath(image).with_suffix("")): image for image in images}
    if len(mask_of) == len(masks) and len(stems) == len(images) and mask_of.keys() == stems.keys():
        return {image: (mask_of[stem],) for stem, image in stems.items()}
    return None


def _rules() -> list[tuple[Rule, Rule, bool]]:
    """(key of an image, key of a mask, whether masks of one key are united), in the order of the docstring above."""

    def word(path: PurePosixPath) -> Key | None:
        match = _BEHIND.fullmatch(path.stem) or _BEFORE.fullmatch(path.stem)
        return (*path.parts[:-1], match[1]) if match else None

    def numbered_word(path: PurePosixPath) -> Key | None:
        match = _BEHIND.fullmatch(path.stem)
        return (*path.parts[:-1], match[1]) if match and match[3] else None

    def part(path: PurePosixPath) -> Key | None:
        match = _PART.fullmatch(path.stem)
        return (*path.parts[:-1], match[1]) if match else None

    name: Rule = lambda path: path.parts  # noqa: E731
    stem: Rule = lambda path: (*path.parts[:-1], path.stem)  # noqa: E731
    inside: Rule = lambda path: path.parts[:-1] or None  # noqa: E731
    return [
        (name, name, False),
        (name, stem, False),
        (stem, stem, False),
        (name, word, False),
        (stem, numbered_word, True),
        (stem, word, False),
        (stem, inside, True),
        (name, inside, True),
        (stem, part, True),
    ]


def _claim(
    result: Pairing,
    images: dict[str, None],
    masks: dict[str, None],
    image_rule: Rule,
    mask_rule: Rule,
    form: Callable[[str], str],
    unite: bool,
) -> None:
    """Pairs what has equal keys and takes it out of what is left over."""
    wanted = _by_key(images, image_rule, form)
    for key, found in _by_key(masks, mask_rule, form).items():
        if key not in wanted:
            continue
        if len(wanted[key]) > 1:
            raise DatasetError(_ambiguous(found[0], wanted[key]))
        (image,) = wanted[key]
        if len(found) > 1 and not unite:
            raise DatasetError(
                f"{' and '.join(found[:3])} could each be the mask of {image}; leave one, or number them "
                f"{PurePosixPath(image).stem}_0, {PurePosixPath(image).stem}_1, … to have them united"
            )
        result.masks[image] = tuple(found)
        del images[image]
        for mask in found:
            del masks[mask]


def _by_key(paths: Iterable[str], rule: Rule, form: Callable[[str], str]) -> dict[Key, list[str]]:
    keyed: dict[Key, list[str]] = defaultdict(list)
    for path in paths:
        if key := rule(PurePosixPath(path)):
            keyed[tuple(form(part) for part in key)].append(path)
    return keyed


def _pair_higher_up(result: Pairing, images: dict[str, None], masks: dict[str, None]) -> None:
    """Pairs masks that lie in the folder of no image, but above one: as if they lay beside it."""
    above = defaultdict(list)
    for mask in masks:
        above[PurePosixPath(mask).parent.parts].append(mask)
    last = _FORMS[-1]
    for folder, inside in sorted(above.items(), key=lambda item: -len(item[0])):
        start = tuple(map(last, folder))
        below = [
            image
            for image in (*images, *result.masks)
            if tuple(map(last, PurePosixPath(image).parent.parts))[: len(start)] == start
            and len(PurePosixPath(image).parent.parts) > len(start)
        ]
        by_name: dict[str, list[str]] = defaultdict(list)
        for image in below:
            by_name[PurePosixPath(image).name].append(image)
        found = pair(by_name, [PurePosixPath(mask).name for mask in inside]) if below else Pairing()
        of = {PurePosixPath(mask).name: mask for mask in inside}
        for name, names in found.masks.items():
            if not any(image in images for image in by_name[name]):
                continue  # they have masks of their own
            if len(by_name[name]) > 1:
                raise DatasetError(_ambiguous(of[names[0]], by_name[name]))
            (image,) = by_name[name]
            result.masks[image] = tuple(of[each] for each in names)
            del images[image]
            for each in names:
                del masks[of[each]]
        result.notes += found.notes


def _pair_by_numbers(result: Pairing, images: dict[str, None], masks: dict[str, None]) -> None:
    """Pairs by the numbers in the names, where they tell all images of a folder apart, and all masks."""
    images_by_number, masks_by_number = (_by_key(paths, _numbers, _FORMS[-1]) for paths in (images, masks))
    for key in images_by_number.keys() & masks_by_number.keys():
        if len(images_by_number[key]) > 1 or len(masks_by_number[key]) > 1:
            return
    for key in images_by_number:
        if key in masks_by_number:
            (image,), (mask,) = images_by_number[key], masks_by_number[key]
            if not result.masks:
                result.notes.append(
                    "no mask is named as its image; they are paired by the numbers in their names "
                    f"({image} with {mask})"
                )
            result.masks[image] = (mask,)
            del images[image], masks[mask]


def _numbers(path: PurePosixPath) -> Key | None:
    numbers = tuple(number.lstrip("0") or "0" for number in re.findall(r"\d+", path.stem))
    return (*path.parts[:-1], "#", *numbers) if numbers else None


def _ambiguous(mask: str, images: Sequence[str]) -> str:
    folders = dict.fromkeys(PurePosixPath(image).parent.as_posix() for image in images)
    todo = f"put it into a folder called as its image's, {' or '.join(folders)}, below the masks"
    if len(folders) == 1:
        todo = f"give masks the whole names of their images ({PurePosixPath(images[0]).name}.png), or rename the images"
    return f"{mask} could be the mask of {' or of '.join(images[:3])}; {todo}"
