"""The layouts that public datasets come in, and the readers of the two that they share.

meta_json: a `meta.json` of records beside the images, as the AnomalyCLIP family of scripts writes it. mvtec_style:
`{category}/test/{type}/` with masks in `{category}/ground_truth/{type}/`. raw: as downloaded, read by the dataset's
own file. Detection takes them in this order; the choice stands in the notes and can be forced.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple, get_args

from zsad_bench.data import files
from zsad_bench.errors import DatasetError, DatasetLayoutError
from zsad_bench.types import Sample

Layout = Literal["meta_json", "mvtec_style", "raw"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
# Folders that scripts listing every folder of their root count as anomalous: unlabelled images, and Br35H's copies.
_STRAY = ("pred", "Br35H-Mask-RCNN")


class Found(NamedTuple):
    """Where and in which layout a dataset lies. also: other layouts that the same folder holds."""

    layout: Layout
    root: Path
    also: tuple[str, ...] = ()


class Rules(NamedTuple):
    """What the shared readers need to know of a dataset.

    categories: folder or class name, as anyone writes it -> our category. single: the root may itself be the one
    category. mask_folders, mask_names: candidates in order, with {type}, {stem} and {suffix}.
    """

    name: str
    categories: Mapping[str, str]
    single: bool
    normal_folders: tuple[str, ...]
    masks: bool
    mask_folders: tuple[str, ...]
    mask_names: tuple[str, ...]


def detect(
    found: Path,
    rules: Rules,
    root_names: Iterable[str],
    is_raw: Callable[[Path], bool],
    raw_looks_like: str,
    forced: Layout | None = None,
) -> Found:
    """The first layout that matches the folder or, since archives nest, a folder of a known name one or two below.

    Raises:
        DatasetLayoutError: none does; says what was looked for and what was found.
    """
    tests: dict[Layout, Callable[[Path], bool]] = {
        "meta_json": is_meta_json,
        "mvtec_style": lambda root: bool(category_folders(root, rules)),
        "raw": is_raw,
    }
    places = list(dict.fromkeys(files.nested(found, root_names)))
    matches = [Found(layout, place) for layout in LAYOUTS for place in places if tests[layout](place)]
    for match in matches:
        if forced in (None, match.layout):
            also = dict.fromkeys(other.layout for other in matches if other.layout != match.layout)
            return match._replace(also=tuple(also))
    packed = files.archives(found)
    what = f"layout {forced}" if forced else "none of its layouts"
    hint = f"; unpack {packed[0]} first" if packed else f"; see `zsad-bench data list {rules.name}`"
    raise DatasetLayoutError(
        f"{rules.name}: {found} matches {what}: looked for meta.json, {{category}}/test/{{type}}/, or "
        f"{raw_looks_like}; found {files.seen(found)}{hint}"
    )


# meta_json


def is_meta_json(root: Path) -> bool:
    return (root / "meta.json").is_file()


def read_meta_json(root: Path, rules: Rules, notes: list[str]) -> list[Sample]:
    """The samples of `root/meta.json`: `{phase: {category: [{img_path, mask_path, cls_name, specie_name, anomaly}]}}`.

    Scripts wrote their author's folder in front of some paths: a path is taken below the root, as it stands, or by the
    longest of its ends that exists below the root. Nothing outside the root is read.

    Raises:
        DatasetError: not JSON of that form, an unknown category, or a path that leads nowhere; names it.
    """
    path = root / "meta.json"
    samples, dropped = [], 0
    for phase, name, record in _records(path):
        if name not in rules.categories:
            raise DatasetError(
                f"{rules.name}: {path} names the category '{name}'; known: {', '.join(sorted(rules.categories))}"
            )
        stray = PurePosixPath(record["img_path"].replace("\\", "/"))
        if stray.parent.name in _STRAY or stray.suffix.lower() not in files.SUFFIXES:
            dropped += 1  # some scripts list whatever a folder holds
            continue
        image = _resolve(record["img_path"], root, path, rules.name)
        masks = () if record["anomaly"] == 0 or not rules.masks else _mask_of(record, root, path, rules.name)
        kind = "good" if record["anomaly"] == 0 else str(record.get("specie_name") or Path(image).parent.name)
        samples.append(Sample(image, masks, record["anomaly"], rules.categories[name], kind, phase))
    if dropped:
        stray = " or ".join(f"{name}/" for name in _STRAY)
        notes.append(f"{path}: {dropped} records are no images or of {stray}, which no test set holds, and left out")
    return samples


def _records(path: Path) -> list[tuple[Literal["train", "test"], str, dict]]:
    """(phase, category, record) of every record, checked."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        listed = [(p.lower(), c, r) for p, of in content.items() for c, rs in of.items() for r in rs]
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DatasetError(
            f"{path} is not {{phase: {{category: [record, …]}}}} in JSON ({' '.join(str(error).split())}); write it "
            "again, or remove it to have the images read as they lie"
        ) from None
    for phase, category, record in listed:
        fits = isinstance(record, dict) and isinstance(record.get("img_path"), str)
        fits = fits and record.get("anomaly") in (0, 1) and isinstance(record.get("mask_path", ""), str)
        if phase not in ("train", "test") or not fits:
            raise DatasetError(
                f"{path}: in phase '{phase}', category '{category}': expected train or test, and records with "
                f"img_path, mask_path and anomaly 0 or 1; found {json.dumps(record)[:120]}"
            )
    return listed


def _mask_of(record: dict, root: Path, path: Path, name: str) -> tuple[str, ...]:
    """The mask's path; none when it is empty or leads to a folder."""
    text = record.get("mask_path") or ""
    if not text or (root / text).is_dir() or Path(text).is_dir():
        return ()
    return (_resolve(text, root, path, name),)


def _resolve(text: str, root: Path, source: Path, name: str) -> str:
    """The path below the root that a record means."""
    asked = PurePosixPath(text.replace("\\", "/"))
    if asked.is_absolute() and asked.is_relative_to(root.as_posix()):
        asked = asked.relative_to(root.as_posix())
    parts = [part for part in asked.parts if part not in ("/", ".")]
    if ".." in parts:
        parts = parts[len(parts) - parts[::-1].index("..") :]  # what stands before belongs to the author's folders
    for start in range(len(parts)):
        candidate = PurePosixPath(*parts[start:])
        if (root / candidate).is_file():
            return candidate.as_posix()
    raise DatasetError(
        f"{name}: {source} names {text}, and no end of that path is a file below {root}; "
        "put meta.json beside its images"
    )


# mvtec_style


def category_folders(root: Path, rules: Rules) -> dict[str, str]:
    """Folder below the root ("." is the root itself) -> its name, for all that hold a `test/` of image folders."""
    if _test_folder(root) is not None:
        return {".": root.name} if rules.single else {}
    return {name: name for name in files.folders(root) if _test_folder(root / name) is not None}


def read_mvtec_style(root: Path, rules: Rules, notes: list[str]) -> list[Sample]:
    """The samples of `{category}/{train,test}/{type}/`; a mask is found by name, or by order where no name matches.

    Raises:
        DatasetError: a category that is not this dataset's.
    """
    samples: list[Sample] = []
    for folder, shown in category_folders(root, rules).items():
        category = next(iter(rules.categories.values())) if folder == "." else rules.categories.get(shown)
        if category is None:
            raise DatasetError(
                f"{rules.name}: {root / folder} is no category of it; known: {', '.join(sorted(rules.categories))}"
            )
        for split in ("train", "test"):
            top = _folder_of(root / folder, split)
            for kind in files.folders(top) if top is not None else []:
                normal = kind in rules.normal_folders
                names = files.images(top / kind, notes)
                masks = {} if normal or not rules.masks else masks_by_name(root / folder, kind, names, rules, notes)
                for name in names:
                    image = files.relative(top / kind / name, root)
                    found = tuple(files.relative(path, root) for path in masks.get(name, ()))
                    samples.append(Sample(image, found, int(not normal), category, "good" if normal else kind, split))
    return samples


def masks_by_name(
    folder: Path, kind: str, names: Sequence[str], rules: Rules, notes: list[str] | None = None
) -> dict[str, tuple[Path, ...]]:
    """Image name -> its mask, from the first of the mask folders that exists; `notes` says when names did not help."""
    places = [folder / pattern.format(type=kind) for pattern in rules.mask_folders]
    place = next((p for p in places if p.is_dir()), None)
    if place is None:
        return {}
    paired = pair(names, files.images(place), rules.mask_names)
    if notes is not None and paired and not any(_alike(name, mask) for name, mask in paired.items()):
        notes.append(f"{place}: no mask is named as its image; both are paired in the order of their names")
    return {name: (place / mask,) for name, mask in paired.items()}


def pair(images: Sequence[str], masks: Sequence[str], patterns: Sequence[str]) -> dict[str, str]:
    """Image name -> mask name: the first pattern that matches, suffixes in any case.

    Where no image has one and there are equally many of both, they are paired in sorted order, as published scripts do.
    """
    by_name = {"".join(files.stem_and_suffix(name)): name for name in reversed(masks)}
    paired = {}
    for image in images:
        stem, suffix = files.stem_and_suffix(image)
        tried = ("".join(files.stem_and_suffix(p.format(stem=stem, suffix=suffix))) for p in patterns)
        if hit := next((by_name[name] for name in tried if name in by_name), None):
            paired[image] = hit
    if not paired and len(images) == len(masks):
        return dict(zip(images, masks, strict=True))
    return paired


def _alike(image: str, mask: str) -> bool:
    return f"{files.stem_and_suffix(mask)[0]}_".startswith(f"{files.stem_and_suffix(image)[0]}_")


def _test_folder(folder: Path) -> Path | None:
    """`test/` in any case, if it has no image directly inside and a folder of images other than DAGM's `Label`."""
    top = _folder_of(folder, "test")
    if top is None or files.images(top):
        return None
    return top if any(files.images(top / name) for name in files.folders(top) if name != "Label") else None


def _folder_of(folder: Path, name: str) -> Path | None:
    return next((folder / found for found in files.folders(folder) if found.lower() == name), None)
