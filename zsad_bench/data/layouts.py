"""The layouts that public datasets come in, and the readers of the two that they share.

meta_json: a `meta.json` of records beside the images, as the AnomalyCLIP family of scripts writes it. mvtec_style:
`{category}/test/{type}/` with masks in `{category}/ground_truth/{type}/`. raw: as downloaded, read by the dataset's
own file. Detection takes them in this order, or in the dataset's own; the choice is in the notes and can be forced.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple, get_args

from zsad_bench.data import files, type_folders
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
    category. normal_folders: types of normal images, in lower case. mask_folders: names of folders of masks beside the
    usual ones. types: of each category, as the release spells them. partial: records of files that are not there are
    left out instead of being an error.
    """

    name: str
    categories: Mapping[str, str]
    single: bool
    normal_folders: tuple[str, ...]
    masks: bool
    mask_folders: tuple[str, ...] = ()
    types: Mapping[str, Sequence[str]] = {}
    deep: bool = False
    partial: bool = False

    def category(self, name: str) -> str | None:
        """Our category of that name, in any letter case; None when we have no such category."""
        if name in self.categories:
            return self.categories[name]
        return {known.casefold(): ours for known, ours in self.categories.items()}.get(name.casefold())


def detect(
    found: Path,
    rules: Rules,
    root_names: Iterable[str],
    is_raw: Callable[[Path], bool],
    raw_looks_like: str,
    forced: Layout | None = None,
    order: Sequence[Layout] = LAYOUTS,
) -> Found:
    """The first layout of `order` that matches the folder or, since archives nest, one of a known name below it.

    Raises:
        DatasetLayoutError: none does; says what was looked for and what was found.
    """
    tests: dict[Layout, Callable[[Path], bool]] = {
        "meta_json": is_meta_json,
        "mvtec_style": lambda root: bool(category_folders(root, rules)),
        "raw": is_raw,
    }
    places = list(dict.fromkeys(files.nested(found, root_names)))
    matches = [Found(layout, place) for layout in order for place in places if tests[layout](place)]
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
    samples, dropped, lost = [], 0, 0
    for phase, name, record in _records(path):
        category = rules.category(name)
        if category is None:
            raise DatasetError(
                f"{rules.name}: {path} names the category '{name}'; known: {', '.join(sorted(rules.categories))}"
            )
        img_path = PurePosixPath(record["img_path"].replace("\\", "/"))
        if img_path.parent.name in _STRAY or not files.is_image(img_path.name):
            dropped += 1  # some scripts list whatever a folder holds
            continue
        try:
            image = _resolve(record["img_path"], root, path, rules.name)
            masks = () if record["anomaly"] == 0 or not rules.masks else _mask_of(record, root, path, rules.name)
        except _AbsentError:
            if not rules.partial:
                raise
            lost += phase == "test"
            continue
        kind = "good" if record["anomaly"] == 0 else str(record.get("specie_name") or Path(image).parent.name)
        samples.append(Sample(image, masks, record["anomaly"], category, kind, phase))
    if dropped:
        stray = " or ".join(f"{name}/" for name in _STRAY)
        notes.append(f"{path}: {dropped} records are not images, or of {stray}, which no test set holds, and left out")
    if lost:
        notes.append(f"partial: {lost} test records of {path} are left out, as their image or mask is missing")
    return samples


class _AbsentError(DatasetError):
    """A file that a list names and that is missing."""


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
    raise _AbsentError(
        f"{name}: {source} names {text}, and no end of that path is a file below {root}; "
        "put meta.json beside its images, or take those that are there with --partial"
    )


# mvtec_style


def category_folders(root: Path, rules: Rules) -> dict[str, str]:
    """Folder below the root ("." is the root itself) -> its name, for all that hold a `test/` of image folders."""
    if _test_folder(root, rules) is not None:
        return {".": root.name} if rules.single else {}
    return {name: name for name in files.folders(root) if _test_folder(root / name, rules) is not None}


def read_mvtec_style(root: Path, rules: Rules, notes: list[str]) -> list[Sample]:
    """The samples of `{category}/{train,test}/{type}/`; masks are found by name, see `data/pairing.py`.

    Raises:
        DatasetError: a category that is not this dataset's, or a mask that could be of several images.
    """
    samples: list[Sample] = []
    for folder, shown in category_folders(root, rules).items():
        category = next(iter(rules.categories.values())) if folder == "." else rules.category(shown)
        if category is None:
            known = ", ".join(sorted(rules.categories))
            raise DatasetError(f"{rules.name}: {root / folder} is not one of its categories; known: {known}")
        spelt = {kind.casefold(): kind for kind in rules.types.get(category, ())}
        for split in ("train", "test"):
            top = _phase_of(root / folder, split)
            if top is not None:
                read = type_folders.read(
                    root, root / folder, top, category, split, notes, normal=rules.normal_folders, masks=rules.masks,
                    more_mask_folders=rules.mask_folders, deep=rules.deep,
                )  # fmt: skip
                samples += [replace(s, anomaly_type=spelt.get(s.anomaly_type.casefold(), s.anomaly_type)) for s in read]
    return samples


def _test_folder(folder: Path, rules: Rules) -> Path | None:
    """`test/` in any case, if it has folders of images that are not of masks, as DAGM's `Label` is."""
    top = _phase_of(folder, "test")
    return top if top is not None and type_folders.types_in(top, rules.deep) else None


def _phase_of(folder: Path, phase: str) -> Path | None:
    name = files.any_case(folder, phase)
    return None if name is None else folder / name
