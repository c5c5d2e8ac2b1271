"""Whether a dataset is whole: every file is opened as a run would open it, and each problem is reported, file by file.

Pixels of at most `workers` images are in memory at a time, whatever the dataset's size; of each file stay its size,
mode, hashes and signature. Runs use cached values (`data/content.py`); a check reads every file each time.
"""

from __future__ import annotations

import copy
import os
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple, cast

from PIL import Image

from zsad_bench.data import decode, looks, transforms
from zsad_bench.data.base import Expected, ZeroShotDataModule
from zsad_bench.data.content import Stamp, index_of, sha256, troubles
from zsad_bench.errors import DatasetError, DatasetLayoutError
from zsad_bench.types import Sample

Verdict = Literal["clean", "findings", "not_found", "not_recognised"]
Kind = Literal[
    "not_found", "not_recognised", "broken", "counts", "unreadable", "empty_file", "missing_mask", "blank_mask",
    "mask_size", "inverted_masks", "mask_among_images", "uniform", "duplicate", "contradiction",
]  # fmt: skip

LARGE = 60_000_000  # pixels: read and reported, since each takes some 10 bytes of memory while it is read
_WINDOW = 64  # files handed out at a time, so that results do not pile up


class Finding(NamedTuple):
    """Something that changes numbers or stops a run. message: one line that names the file."""

    kind: Kind
    message: str


@dataclass(frozen=True)
class Report:
    """What a check found; counts are of samples (crops), `images` and `masks` of files.

    unmasked: anomalous samples with no mask.

    categories: name -> (normal, anomalous). sizes: "width x height" -> images. duplicates: images that repeat another.
    notes: what a user should know and nothing is wrong with. manifest_hash: None where the table cannot be used.
    """

    dataset: str
    title: str
    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    expected: Expected | None = None
    root: Path | None = None
    layout: str | None = None
    variant: str | None = None
    manifest_hash: str | None = None
    normal: int = 0
    anomalous: int = 0
    categories: dict[str, tuple[int, int]] = field(default_factory=dict)
    images: int = 0
    masks: int = 0
    unmasked: int = 0
    bytes: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    formats: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    large: int = 0

    @property
    def exit_code(self) -> int:
        return {"clean": 0, "findings": 1}.get(self.verdict, 2)


class _Image(NamedTuple):
    """What one image file and its masks showed; header is (size, mode, format), None when it cannot be read.

    same: what it has in common with a copy of it: the pixels; of a flat image the bytes. done: what decoding them did,
    as `decode.said` takes it.
    """

    path: str
    labels: frozenset[int]
    same: str
    file_size: int
    header: tuple[tuple[int, int], str, str] | None
    findings: tuple[Finding, ...]
    signature: bytes | None = None
    done: tuple[tuple[str, str], ...] = ()


def check(
    module: ZeroShotDataModule, workers: int | None = None, progress: Callable[[int, int], None] | None = None
) -> Report:
    """The state of a dataset; the module's own table is what is looked at, its split and options included.

    workers: threads that decode; None is the number of cores, at most four. progress: called with (files done, files).
    Wrong data is a finding and never raised.
    """
    report = Report(module.name, module.title, "clean", expected=module.expected)
    try:
        _ = module._folder  # what is missing is another verdict than what is broken
    except (DatasetError, OSError) as error:
        return failed(report, "not_found", error)
    try:
        readable, samples = _table(module)
    except DatasetLayoutError as error:
        return failed(report, "not_recognised", error)
    except (DatasetError, OSError) as error:
        return failed(report, "broken", error)
    report = replace(
        report,
        expected=module.expected,
        root=readable.root,
        layout=getattr(readable, "layout", None),
        variant=getattr(readable, "variant", None),
    )
    return _opened(report, readable, samples, workers or min(4, os.cpu_count() or 1), progress, readable is module)


def failed(report: Report, kind: Literal["not_found", "not_recognised", "broken"], error: Exception) -> Report:
    """The report on a dataset of which no table can be made."""
    verdict: Verdict = "findings" if kind == "broken" else kind
    return replace(report, verdict=verdict, findings=(Finding(kind, " ".join(str(error).split())),))


def _table(module: ZeroShotDataModule) -> tuple[ZeroShotDataModule, list[Sample]]:
    """(the module, its samples); where masks are missing, a copy that accepts it, so that all can be named."""
    try:
        return module, module.samples()
    except DatasetLayoutError:
        raise
    except DatasetError:
        looser = copy.copy(module)
        looser.notes, looser.allow_missing_masks = list(module.notes), True
        try:
            samples = looser.samples()
        except DatasetError:
            pass
        else:
            looser.allow_missing_masks = False
            return looser, samples
        raise


def _opened(
    report: Report,
    module: ZeroShotDataModule,
    samples: Sequence[Sample],
    workers: int,
    progress: Callable[[int, int], None] | None,
    usable: bool,
) -> Report:
    of_image: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        of_image[sample.image].append(sample)
    empty = [module.root / path for path in module.unused.empty]
    findings = [Finding("empty_file", f"{path} is empty (0 bytes) and left out; restore it") for path in empty]
    sizes: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    formats: Counter[str] = Counter()
    same: dict[str, list[_Image]] = defaultdict(list)
    done_to: set[tuple[str, str]] = set()
    total = large = 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # on large images and odd metadata; the report covers them
        looked = _each(lambda group: _look(module, group), list(of_image.values()), workers)
        for done, seen in enumerate(looked, 1):
            findings += seen.findings
            total += seen.file_size
            done_to.update(seen.done)
            same[seen.same].append(seen._replace(findings=(), done=()))
            if seen.header is not None:
                (width, height), mode, format = seen.header
                sizes[f"{width}x{height}"] += 1
                modes[mode] += 1
                formats[format] += 1
                large += width * height > LARGE
            if progress is not None:
                progress(done, len(of_image))
    labels = Counter((sample.category, sample.label) for sample in samples)
    counted = Expected(
        sum(n for (_, label), n in labels.items() if label == 0),
        sum(n for (_, label), n in labels.items() if label == 1),
        "",
    )
    said = [note for note in module.notes if note != module.unused.lines(module.root).get("empty")]
    if not module.unlabelled:  # of the counts, which stand below
        said = [note for note in said if not note.startswith(f"{module.name} holds ")]
    as_published = counted[:2] == module.expected[:2]
    for finding, is_note in (*_counts(module, counted), *_repeated(module, same, as_published)):
        said.append(finding.message) if is_note else findings.append(finding)
    said += decode.said(done_to)
    masks = {mask for sample in samples for mask in sample.masks}
    findings += [Finding(kind, line) for kind, line in decode.doubts(done_to, len(of_image), len(masks)).items()]
    if large:
        said.append(f"{large} images have more than {LARGE // 10**6} megapixels: they are read, at a cost in memory")
    said += _look_alikes(same)
    said += [f"it shares images with {other}: do not count both as evidence" for other in _relatives(module)]
    manifest_hash = module.manifest_hash if usable else None
    index_of(module.root).save()
    said += troubles()
    return replace(
        report,
        verdict="findings" if findings else "clean",
        findings=tuple(findings),
        notes=tuple(dict.fromkeys(said)),
        manifest_hash=manifest_hash,
        normal=counted.normal,
        anomalous=counted.anomalous,
        categories={c.name: (labels[c.name, 0], labels[c.name, 1]) for c in module.categories()},
        images=len(of_image),
        masks=len(masks),
        unmasked=sum(sample.label == 1 and not (sample.masks or sample.generated) for sample in samples),
        bytes=total,
        sizes=dict(sizes.most_common()),
        modes=dict(modes.most_common()),
        formats=dict(formats.most_common()),
        duplicates=sum(len(group) - 1 for group in same.values()),
        large=large,
    )


def _each(look: Callable[[list[Sample]], _Image], groups: Sequence[list[Sample]], workers: int) -> Iterator[_Image]:
    """Results in order; decoding and hashing release the interpreter, so threads are enough."""
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(groups), _WINDOW):
            yield from pool.map(look, groups[start : start + _WINDOW])


def _look(module: ZeroShotDataModule, samples: Sequence[Sample]) -> _Image:
    """One image file, with the samples that are read from it."""
    name, path = samples[0].image, module.root / samples[0].image
    labels = frozenset(sample.label for sample in samples)
    try:
        before, stamp = time.time_ns(), Stamp.of(path)
        digest, size = sha256(path), stamp.size
        if size == 0:
            return _Image(
                name, labels, name, 0, None, (Finding("empty_file", f"{path} is empty (0 bytes); restore it"),)
            )
        image, stored, mode, format, converted = decode.read_image(path)
    except (DatasetError, OSError) as error:
        return _Image(name, labels, name, 0, None, (Finding("unreadable", " ".join(str(error).split())),))
    seen = looks.look(image)
    index_of(module.root).learn(name, stamp, before, digest, seen)
    same = digest if seen.signature is None else seen.pixels
    findings, done = [], [(key, str(path)) for key in converted if key != "uniform"]
    if "uniform" in converted:
        colour = ", ".join(map(str, cast("tuple[int, ...]", image.getpixel((0, 0)))))
        findings.append(
            Finding("uniform", f"image {path} is of one colour everywhere ({colour}); look at it, restore it")
        )
    if module.has_masks:
        findings += _masks(module, samples, image.size, stored, done)
    header = image.size, mode, format
    return _Image(name, labels, same, size, header, tuple(dict.fromkeys(findings)), seen.signature, tuple(done))


def _masks(
    module: ZeroShotDataModule,
    samples: Sequence[Sample],
    size: tuple[int, int],
    stored: tuple[int, int],
    done: list[tuple[str, str]],
) -> Iterator[Finding]:
    """What is wrong with the masks of an image; adds what decoding them did to `done`."""
    unions: dict[tuple[str, ...], Image.Image] = {}
    for sample in samples:
        where = module.root / sample.image
        if not sample.masks:
            if sample.label == 1 and not sample.generated and not module.allow_missing_masks:
                yield Finding("missing_mask", f"{where} is anomalous and has no mask; restore the mask")
            continue
        if sample.masks not in unions:
            paths = [module.root / mask for mask in sample.masks]
            try:
                unions[sample.masks], other, did = transforms.open_masks(paths, module.mask_threshold, size, stored)
                done += did
            except transforms.GeometryError as error:
                yield Finding("mask_size", str(error))
                continue
            except (DatasetError, OSError) as error:
                yield Finding("unreadable", " ".join(str(error).split()))
                continue
            for mask, its in other.items():
                yield Finding(
                    "mask_size",
                    f"mask {mask} is {its[0]}x{its[1]} wide and high, its image {size[0]}x{size[1]}; restore both",
                )
        union = unions[sample.masks] if sample.crop is None else unions[sample.masks].crop(sample.crop)
        if sample.label == 1 and union.getbbox() is None:
            yield Finding(
                "blank_mask",
                f"{where} is anomalous and its mask {' + '.join(sample.masks)} marks no pixel "
                f"({_above(module.mask_threshold)}); restore the mask",
            )


def _above(threshold: int | None) -> str:
    if threshold is None:
        return f"above 0, above {decode.LOSSY_THRESHOLD} in a JPEG"
    return f"above {threshold}"


# Each yields (finding, whether it is only a note).


def _counts(module: ZeroShotDataModule, counted: Expected) -> Iterator[tuple[Finding, bool]]:
    expected = module.expected
    if module.split != "test" or module.unlabelled or not expected.known or counted[:2] == expected[:2]:
        return
    line = (
        f"{module.name} holds {counted.normal} normal and {counted.anomalous} anomalous {module.split} samples, "
        f"expected {expected.normal} and {expected.anomalous} (evidence {expected.evidence})"
    )
    known = [name for name, expected_of in getattr(module, "variants", {}).items() if expected_of[:2] == counted[:2]]
    if known:
        line += f"; {known[0]} is published with these counts"
    # Counts that nobody verified on files are not a reason to call a copy broken.
    yield Finding("counts", line), bool(known) or expected.evidence != "V"


def _repeated(
    module: ZeroShotDataModule, same: dict[str, list[_Image]], as_published: bool
) -> Iterator[tuple[Finding, bool]]:
    public = hasattr(module, "variants")
    quiet = 0
    for group in same.values():
        if len(group) < 2:
            continue
        names = ", ".join(str(module.root / image.path) for image in group)
        if len(frozenset.union(*(image.labels for image in group))) > 1 and all(len(i.labels) == 1 for i in group):
            yield Finding("contradiction", f"the same image is labelled normal and anomalous: {names}; keep one"), False
        elif public and as_published:
            quiet += len(group) - 1
        else:
            yield Finding("duplicate", f"the same image is there {len(group)} times: {names}; keep one"), False
    if quiet:
        # The published counts hold them, so leaving them out would make numbers that compare with nobody's.
        yield Finding("duplicate", f"{quiet} images repeat another one; the published counts include them"), True


def _look_alikes(same: dict[str, list[_Image]]) -> Iterator[str]:
    """A note when images of one label look like images of the other: copies, or photographs that all look alike."""
    textured = [group[0] for group in same.values() if group[0].signature is not None]
    normal, anomalous = ([image for image in textured if image.labels == {label}] for label in (0, 1))
    if not normal or not anomalous:
        return
    matches = looks.match(*(looks.as_array([i.signature for i in images]) for images in (anomalous, normal)))
    pairs = [(anomalous[at].path, normal[matches.closest[at]].path) for at in matches.copies.nonzero()[0]]
    if pairs:
        (one, other), more = pairs[0], len(pairs) - 1
        yield (
            f"{len(pairs)} anomalous images look like a normal one (encoded again, resized or mirrored?): {one} like "
            f"{other}{f' and {more} more' if more else ''}; look whether their labels are right"
        )


def _relatives(module: ZeroShotDataModule) -> tuple[str, ...]:
    return getattr(module, "shares_images_with", ())
