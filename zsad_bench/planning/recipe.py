"""A recipe: one YAML file that says which methods, priors, targets, seeds and draws make a table. See docs/sweeps.md.

    suite: paper                       # demo or paper: what rich and limited mean, backbone, image size
    methods:
      - clip
      - faprompt: {fidelity: official}               # a variant
      - dive: [{}, {disentangle: false}]             # two variants
      - faprompt: {grid: {n_prompts: [1, 5, 10]}}    # three
    priors: [rich, limited]
    targets: [visa, mvtec:pill]        # default: every target of the suite that is found
    partial: true                      # use datasets that are not all there, marked as such
    seeds: [0, 1, 2]
    draws: 0..29                       # of the auxiliary data

Several blocks under `parts:` each take over what stands above them and replace what they name themselves.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zsad_bench import assets, registry
from zsad_bench.errors import UnknownNameError
from zsad_bench.planning.yaml_lines import Located, Place, read

_SHARED = ("methods", "priors", "targets", "seeds", "draws", "cross", "settings", "epochs", "augment")
_TOP = ("title", "suite", "backbone", "weights", "data", "partial", "parts", *_SHARED)
_SUITES = ("demo", "paper")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


@dataclass(frozen=True)
class Variant:
    """A method with the fields of its configuration that differ from the suite's. line: where the recipe names it."""

    method: str
    settings: Mapping[str, Any]
    line: int


@dataclass(frozen=True)
class Part:
    """A block of a recipe: every variant under every prior, with every pair of seed and draw, on every target.

    targets: None is every target of the suite that is found. draws: None is the prior's own.
    cross: every seed under every draw; else every seed under the first draw, and every draw under the first seed.
    published: methods that have published numbers and are not built; they name rows and plan nothing.
    lines: of priors and targets, by name.
    """

    variants: tuple[Variant, ...]
    priors: tuple[str, ...]
    targets: tuple[str, ...] | None
    seeds: tuple[int, ...]
    draws: tuple[int, ...] | None
    cross: bool = False
    epochs: int | None = None
    augment: tuple[str, ...] = ()
    published: tuple[str, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict)

    def repeats(self) -> list[tuple[int, int | None]]:
        """The pairs of seed and draw."""
        draws = self.draws or (None,)
        if self.cross:
            return list(itertools.product(self.seeds, draws))
        return [(seed, draws[0]) for seed in self.seeds] + [(self.seeds[0], draw) for draw in draws[1:]]


@dataclass(frozen=True)
class Recipe:
    """data: options of data modules, by registry name, "*" for all."""

    name: str
    file: Path
    title: str
    suite: str
    parts: tuple[Part, ...]
    backbone: str | None = None
    weights: str | None = None
    data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def published(self) -> tuple[str, ...]:
        """Methods with published numbers only, in the order they are named."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.published))


def names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(path.stem for path in assets.data_folder("recipes").glob("*.yaml"))


def find(asked: str) -> Path:
    """The file of a recipe that is named, or given as a path.

    Raises:
        UnknownNameError: no such recipe and no such file.
    """
    path = Path(asked)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UnknownNameError(f"recipe {asked}: no such file; shipped recipes: {', '.join(names())}")
        return path
    if asked not in names():
        raise UnknownNameError(f"{registry.did_you_mean('recipe', asked, names())}; or give the path of a .yaml file")
    return assets.data_folder("recipes") / f"{asked}.yaml"


def load(file: Path) -> Recipe:
    """The recipe in a file; names and forms are checked, configurations and priors when it is planned.

    Raises:
        UsageError, UnknownNameError: with file and line.
    """
    found = read(file)
    content = _mapping(found, ())
    _known(found, (), _TOP)
    if "suite" not in content:
        found.refuse((), f"no suite; name one of {', '.join(_SUITES)}")
    if content["suite"] not in _SUITES:
        found.refuse(("suite",), registry.did_you_mean("suite", str(content["suite"]), _SUITES), UnknownNameError)
    blocks: list[Place] = [()]
    if "parts" in content:
        blocks = [("parts", at) for at in range(len(_list(found, ("parts",))))]
    for place in blocks:
        if place:
            _mapping(found, place)
            _known(found, place, _SHARED)
    return Recipe(
        name=file.stem,
        file=file,
        title=_text(found, "title") or file.stem,
        suite=content["suite"],
        parts=tuple(_part(found, place) for place in blocks),
        backbone=_text(found, "backbone"),
        weights=_text(found, "weights"),
        data=_data(found),
    )


def _part(found: Located, block: Place) -> Part:
    """One block; a key that it does not have is the recipe's."""
    own = _at(found, block)
    at = {key: (*block, key) if key in own else (key,) for key in _SHARED if key in own or key in found.content}
    for key in ("methods", "priors"):
        if key not in at:
            found.refuse(block, f"no {key}; give a list")
    known, unbuilt = registry.names("methods"), published_methods()
    variants: list[Variant] = []
    published: list[str] = []
    common = _mapping(found, at["settings"]) if "settings" in at else {}
    for number, entry in enumerate(_list(found, at["methods"])):
        place = (*at["methods"], number)
        name, given = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (entry, {})
        if not isinstance(name, str):
            found.refuse(place, f"expected a method, or one method with its settings; found {name!r}")
        if name not in known:
            if name not in unbuilt:
                found.refuse(place, registry.did_you_mean("method", name, [*known, *unbuilt]), UnknownNameError)
            published.append(name)
            continue
        for at_variant, settings in enumerate(given if isinstance(given, list) else [given]):
            where = (*place, name, at_variant) if isinstance(given, list) else (*place, name)
            variants += [
                Variant(name, {**common, **one}, found.line(where)) for one in _grid(found, where, settings or {})
            ]
        if given == []:
            found.refuse(place, f"{name} has no variants; leave the brackets out, or write [{{}}]")
    priors = _strings(found, at["priors"])
    targets = _strings(found, at["targets"]) if "targets" in at else None
    datasets = registry.names("datasets")
    lines = {name: found.line((*at["priors"], number)) for number, name in enumerate(priors)}
    for number, name in enumerate(targets or ()):
        if name.partition(":")[0] not in datasets:
            found.refuse((*at["targets"], number), registry.did_you_mean("dataset", name, datasets), UnknownNameError)
        lines[name] = found.line((*at["targets"], number))
    cross = _at(found, at["cross"]) if "cross" in at else False
    if not isinstance(cross, bool):
        found.refuse(at["cross"], f"cross: {cross!r}; expected true or false")
    epochs = _at(found, at["epochs"]) if "epochs" in at else None
    if epochs is not None and (isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 0):
        found.refuse(at["epochs"], f"epochs: {epochs!r}; expected a whole number from 0")
    return Part(
        variants=tuple(variants),
        priors=priors,
        targets=targets,
        seeds=_numbers(found, at["seeds"]) if "seeds" in at else (0,),
        draws=_numbers(found, at["draws"]) if "draws" in at else None,
        cross=cross,
        epochs=epochs,
        augment=_strings(found, at["augment"]) if "augment" in at else (),
        published=tuple(published),
        lines=lines,
    )


def published_methods() -> set[str]:
    """Methods that the published tables have numbers of."""
    found: set[str] = set()
    for table in assets.data_folder("published").glob("*.csv"):
        with table.open(encoding="utf-8", newline="") as file:
            found |= {line["method"] for line in csv.DictReader(file) if line.get("method")}
    return found


def _grid(found: Located, place: Place, settings: Any) -> Iterable[dict[str, Any]]:
    """The settings of every point of a grid; of what has none, the settings alone."""
    if not isinstance(settings, dict):
        found.refuse(place, f"expected settings as {{field: value}}, found {settings!r}")
    fixed = {key: value for key, value in settings.items() if key != "grid"}
    if "grid" not in settings:
        return [fixed]
    axes = settings["grid"]
    if not isinstance(axes, dict) or not axes or not all(isinstance(v, list) and v for v in axes.values()):
        found.refuse((*place, "grid"), "an empty grid; give {field: [value, value]}")
    return [{**fixed, **dict(zip(axes, point, strict=True))} for point in itertools.product(*axes.values())]


def _data(found: Located) -> dict[str, dict[str, Any]]:
    partial = found.content.get("partial", False)
    if not isinstance(partial, bool):
        found.refuse(("partial",), f"partial: {partial!r}; expected true or false")
    options = _data_options(found) if "data" in found.content else {}
    return {**options, "*": {**options.get("*", {}), "partial": True}} if partial else options


def _data_options(found: Located) -> dict[str, dict[str, Any]]:
    known = registry.names("datasets")
    for name in _mapping(found, ("data",)):
        if name != "*" and name not in known:
            found.refuse(("data", name), registry.did_you_mean("dataset", name, known), UnknownNameError)
        _mapping(found, ("data", name))
    return found.content["data"]


def _at(found: Located, place: Place) -> Any:
    content = found.content
    for step in place:
        content = content[step]
    return content


def _mapping(found: Located, place: Place) -> dict[str, Any]:
    content = _at(found, place)
    if not isinstance(content, dict):
        what = place[-1] if place else "a recipe"
        found.refuse(place, f"{what}: expected `key: value` lines, found {content!r}")
    return content


def _known(found: Located, place: Place, keys: tuple[str, ...]) -> None:
    for key in _at(found, place):
        if key not in keys:
            found.refuse((*place, key), registry.did_you_mean("key", key, keys), UnknownNameError)


def _list(found: Located, place: Place) -> list[Any]:
    content = _at(found, place)
    if not isinstance(content, list):
        found.refuse(place, f"{place[-1]}: expected a list, found {content!r}")
    if not content:
        found.refuse(place, f"{place[-1]}: an empty list; nothing would run")
    return content


def _strings(found: Located, place: Place) -> tuple[str, ...]:
    content = _list(found, place)
    for number, entry in enumerate(content):
        if not isinstance(entry, str):
            found.refuse((*place, number), f"{place[-1]}: expected names, found {entry!r}")
    return tuple(dict.fromkeys(content))


def _numbers(found: Located, place: Place) -> tuple[int, ...]:
    """A list of whole numbers, or `first..last`."""
    content = _at(found, place)
    if isinstance(content, str) and (ends := _RANGE.fullmatch(content)) and int(ends[1]) <= int(ends[2]):
        return tuple(range(int(ends[1]), int(ends[2]) + 1))
    if not isinstance(content, list):
        found.refuse(place, f"{place[-1]}: expected a list of numbers or first..last, found {content!r}")
    for number, entry in enumerate(_list(found, place)):
        if isinstance(entry, bool) or not isinstance(entry, int) or not 0 <= entry < 2**32:  # what numpy takes
            found.refuse((*place, number), f"{place[-1]}: {entry!r}; expected whole numbers from 0 to 4294967295")
    return tuple(dict.fromkeys(content))


def _text(found: Located, key: str) -> str | None:
    value = found.content.get(key)
    if value is not None and not isinstance(value, str):
        found.refuse((key,), f"{key}: expected a text, found {value!r}")
    return value
