"""A recipe: one YAML file that says which methods, priors, targets, seeds and draws make a table. See docs/sweeps.md.

    suite: paper                       # demo or paper: what rich and limited mean, backbone, image size
    protocol: visa2026                 # a paper's priors, backbones and image size (protocol.py); brings its suite
    methods:
      - clip
      - winclip: {backbone: ViT-B-16-plus-240, weights: laion400m_e31}    # on a backbone of its own
      - faprompt: {fidelity: official}               # a variant
      - dive: [{}, {disentangle: false}]             # two variants
      - faprompt: {grid: {n_prompts: [1, 5, 10]}}    # three
      - trained                        # every method that learns; training_free: every other one
    priors: [rich, limited]            # default: the protocol's
    targets: [visa, mvtec:pill]        # default: every target of the suite or protocol that is found
    precision: bf16                    # of the frozen towers; default: float32
    partial: true                      # use datasets that are incomplete, marked as such
    operating_points: btad             # metrics at thresholds from its normal images; default: none
    seeds: [0, 1, 2]
    draws: 0..29                       # of the auxiliary data
    corruptions: [gaussian_noise, jpeg:3]        # of test images, beside the images as they are; docs/robustness.md
    severities: [1, 3, 5]              # of corruptions that are named without one; default: all five
    wordings: [object, german]         # of the categories, for methods that read their names

Several blocks under `parts:` each take over what stands above them and replace what they name themselves.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast, get_args

from zsad_bench import assets, registry
from zsad_bench import protocol as protocols
from zsad_bench.conditions import SEVERITIES
from zsad_bench.errors import UnknownNameError, UsageError
from zsad_bench.located_yaml import LocatedYaml, YamlPath, read_yaml
from zsad_bench.prior_grammar import parts_of
from zsad_bench.protocol import Protocol
from zsad_bench.types import Compile, Precision

_SHARED = ("methods", "priors", "targets", "seeds", "draws", "cross", "settings", "epochs", "augment", "corruptions",
           "severities", "wordings")  # fmt: skip
_TOP = ("title", "suite", "protocol", "backbone", "weights", "precision", "data", "partial", "operating_points",
        "parts", *_SHARED)  # fmt: skip
_SUITES = ("demo", "paper")
GROUPS = ("trained", "training_free")  # what may stand for several methods
_OF_BACKBONES = ("backbone", "weights")  # of a method in a recipe, beside its settings
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


@dataclass(frozen=True)
class Variant:
    """A method with the fields of its configuration that differ from the suite's. line: where the recipe names it.

    backbone, weights: what it runs on; None is the recipe's or the suite's choice.
    """

    method: str
    settings: Mapping[str, Any]
    line: int
    backbone: str | None = None
    weights: str | None = None


@dataclass(frozen=True)
class RecipeBlock:
    """A block of a recipe: every variant under every prior, with every pair of seed and draw, on every target.

    targets: None is every target of the suite that is source. draws: None is the prior's own.
    cross: every seed under every draw; else every seed under the first draw, and every draw under the first seed.
    published: methods that have published numbers and are not built; they name rows and plan nothing.
    conditions: under which every target is tested as well, beside the target as it is; see `conditions.py`.
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
    conditions: tuple[str, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict)

    def repeats(self) -> list[tuple[int, int | None]]:
        """The pairs of seed and draw."""
        draws = self.draws or (None,)
        if self.cross:
            return list(itertools.product(self.seeds, draws))
        return [(seed, draws[0]) for seed in self.seeds] + [(self.seeds[0], draw) for draw in draws[1:]]


@dataclass(frozen=True)
class Recipe:
    """file: None of one that was put together from options. data: options of data modules, by name, "*" for all.

    checkpoint: of the one method, tested instead of training it. precision, compiled: of the frozen towers.
    operating_points: the dataset whose normal images give thresholds; None: no operating points.
    protocol: that it follows, by name; what it names itself takes precedence.
    """

    name: str
    file: Path | None
    title: str
    suite: str
    blocks: tuple[RecipeBlock, ...]
    backbone: str | None = None
    weights: str | None = None
    data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    checkpoint: Path | None = None
    precision: Precision = "float32"
    compiled: Compile = "no"
    operating_points: str | None = None
    protocol: str | None = None

    def at(self, line: int) -> str:
        """The start of a message about a line of the file; "" without a file."""
        return f"{self.file}:{line}: " if self.file else ""

    @property
    def published(self) -> tuple[str, ...]:
        """Methods with published numbers only, in the order they are named."""
        return tuple(dict.fromkeys(name for block in self.blocks for name in block.published))


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
    source = read_yaml(file)
    content = source.mapping((), "a recipe")
    source.only((), _TOP)
    protocol = _protocol(source)
    if "suite" not in content and protocol is None:
        source.refuse((), f"no suite; name one of {', '.join(_SUITES)}, or a protocol")
    if "suite" in content and content["suite"] not in _SUITES:
        source.refuse(("suite",), registry.did_you_mean("suite", str(content["suite"]), _SUITES), UnknownNameError)
    suite = content.get("suite") or (protocol.suite if protocol else "")
    if protocol is not None and suite != protocol.suite:
        source.refuse(("suite",), f"protocol {protocol.name} is for suite {protocol.suite}, found suite {suite}")
    paths: list[YamlPath] = [()]
    if "parts" in content:
        paths = [("parts", at) for at in range(len(source.list_at(("parts",))))]
    for path in filter(None, paths):
        source.mapping(path)
        source.only(path, _SHARED)
    return Recipe(
        name=file.stem,
        file=file,
        title=source.text(("title",)) or file.stem,
        suite=suite,
        blocks=tuple(_block(source, path, protocol, suite) for path in paths),
        backbone=source.text(("backbone",)),
        weights=source.text(("weights",)),
        data=_data(source),
        precision=_precision(source),
        operating_points=_operating_points(source),
        protocol=protocol.name if protocol else None,
    )


def _protocol(source: LocatedYaml) -> Protocol | None:
    asked = source.text(("protocol",))
    if asked is None:
        return None
    try:
        return protocols.find(asked)
    except UsageError as error:
        source.refuse(("protocol",), str(error), type(error))


def of_protocol(priors: Iterable[str], protocol: Protocol) -> str:
    """Why these priors are not under a protocol, in a line; "" where all draw from what it names, or from nothing."""
    for name in priors:
        if name == "none":
            continue
        try:
            parts = parts_of(name)
        except UsageError as error:
            return str(error)
        if any(part.dataset not in protocol.priors for part in parts):
            return (
                f"prior '{name}': protocol {protocol.name} has {', '.join(protocol.priors)}, whole or with items as in "
                f"{next(iter(protocol.priors))}:types=5; take one of them, or leave the protocol out"
            )
    return ""


def _block(source: LocatedYaml, block: YamlPath, protocol: Protocol | None, suite: str) -> RecipeBlock:
    """One block of a recipe for this suite; a key that it does not have is the recipe's."""
    own = source.at(block)
    at = {key: (*block, key) if key in own else (key,) for key in _SHARED if key in own or key in source.content}
    for key in ("methods",) if protocol else ("methods", "priors"):
        if key not in at:
            source.refuse(block, f"no {key}; give a list")
    known, unbuilt = registry.names("methods"), published_methods()
    variants: list[Variant] = []
    published: list[str] = []
    common = source.mapping(at["settings"]) if "settings" in at else {}
    for path, entry in _entries(source, at["methods"], suite):
        name, given = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (entry, {})
        if not isinstance(name, str):
            source.refuse(path, f"expected a method, or one method with its settings; found {name!r}")
        if name not in known:
            if name not in unbuilt:
                wanted = [*known, *unbuilt, *GROUPS]
                source.refuse(path, registry.did_you_mean("method", name, wanted), UnknownNameError)
            published.append(name)
            continue
        for at_variant, of in enumerate(given if isinstance(given, list) else [given]):
            where = (*path, name, at_variant) if isinstance(given, list) else (*path, name)
            for one in _grid(source, where, of or {}):
                settings = {key: value for key, value in one.items() if key not in _OF_BACKBONES}
                runs_on = {key: one[key] for key in _OF_BACKBONES if key in one}
                for key, value in runs_on.items():
                    if not isinstance(value, str):
                        source.refuse(where, f"{key} of {name}: expected a text, found {value!r}")
                variants.append(Variant(name, {**common, **settings}, source.line(where), **runs_on))
        if given == []:
            source.refuse(path, f"{name} has no variants; leave the brackets out, or write [{{}}]")
    priors = source.names(at["priors"]) if "priors" in at else tuple(protocol.priors if protocol else ())
    if protocol is not None and "priors" in at and (why := of_protocol(priors, protocol)):
        source.refuse(at["priors"], why)
    targets = source.names(at["targets"]) if "targets" in at else None
    datasets = registry.names("datasets")
    lines = {
        name: source.line((*at["priors"], number) if "priors" in at else ("protocol",))
        for number, name in enumerate(priors)
    }
    for number, name in enumerate(targets or ()):
        if name.partition(":")[0] not in datasets:
            source.refuse((*at["targets"], number), registry.did_you_mean("dataset", name, datasets), UnknownNameError)
        lines[name] = source.line((*at["targets"], number))
    cross = source.at(at["cross"]) if "cross" in at else False
    if not isinstance(cross, bool):
        source.refuse(at["cross"], f"cross: {cross!r}; expected true or false")
    epochs = source.at(at["epochs"]) if "epochs" in at else None
    if epochs is not None and (isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 0):
        source.refuse(at["epochs"], f"epochs: {epochs!r}; expected a whole number from 0")
    return RecipeBlock(
        variants=tuple(variants),
        priors=priors,
        targets=targets,
        seeds=_numbers(source, at["seeds"]) if "seeds" in at else (0,),
        draws=_numbers(source, at["draws"]) if "draws" in at else None,
        cross=cross,
        epochs=epochs,
        augment=source.names(at["augment"]) if "augment" in at else (),
        published=tuple(published),
        conditions=_conditions(source, at),
        lines=lines,
    )


def _entries(source: LocatedYaml, path: YamlPath, suite: str) -> Iterator[tuple[YamlPath, Any]]:
    """What a list of methods names, each with its place; a group is its methods, without those that are named too."""
    listed = [source.at(path)] if source.at(path) in GROUPS else source.list_at(path)
    named = [name for entry in listed for name in (entry if isinstance(entry, dict) else [entry])]
    seen: set[str] = set()
    for number, entry in enumerate(listed):
        where = (*path, number)
        if isinstance(entry, dict) and set(entry) & set(GROUPS):
            source.refuse(where, f"{next(iter(entry))} stands for several methods; settings for all go under settings:")
        if isinstance(entry, str) and entry in GROUPS:
            for name in methods_of(entry, suite):
                if name not in named and name not in seen:
                    seen.add(name)
                    yield where, name
        else:
            yield where, entry


def methods_of(group: str, suite: str) -> list[str]:
    """The registered methods that a group of a recipe stands for: by what they declare, so that new ones are in it.

    Left out are sanity checks and, so that all read one backbone, methods that cannot run on the suite's.
    """
    from zsad_bench.planning.suite import SUITES

    apart = {*SUITES[suite].backbones, *SUITES[suite].absent}
    found = {name: cls for name, cls in registry.classes("methods").items() if name not in apart}
    learns = group == "trained"
    return [name for name, cls in found.items() if bool(cls.trains()) is learns and not cls.is_sanity_check]


def _conditions(source: LocatedYaml, at: Mapping[str, YamlPath]) -> tuple[str, ...]:
    """Those that a block's corruptions, severities and wordings mean; at: where the keys are."""
    if not {"corruptions", "severities", "wordings"} & at.keys():
        return ()
    from zsad_bench.data import condition_names  # and with it numpy, which help does without

    severities: tuple[Any, ...] = SEVERITIES
    if "severities" in at:
        severities = tuple(source.list_at(at["severities"]))
        if "corruptions" not in at:
            source.refuse(at["severities"], "severities: of what? name some corruptions, or leave it out")
    found: list[str] = []
    for key, conditions in (
        ("corruptions", lambda name: condition_names.corrupted([name], severities)),
        ("wordings", lambda name: condition_names.reworded([name])),
    ):
        if key not in at:
            continue
        source.names(at[key])  # refuses what is no list of names
        for number, name in enumerate(source.at(at[key])):
            try:
                found += conditions(name)
            except UsageError as error:
                where = at["severities"] if str(error).startswith("severity ") else (*at[key], number)
                source.refuse(where, str(error), type(error))
    return tuple(dict.fromkeys(found))


@cache
def published_methods() -> frozenset[str]:
    """Methods that the published tables have numbers of."""
    methods: set[str] = set()
    for table in assets.data_folder("published").glob("*.csv"):
        with table.open(encoding="utf-8", newline="") as file:
            methods |= {line["method"] for line in csv.DictReader(file) if line.get("method")}
    return frozenset(methods)


def _grid(source: LocatedYaml, path: YamlPath, settings: Any) -> Iterable[dict[str, Any]]:
    """The settings of every point of a grid; without a grid, the settings alone."""
    if not isinstance(settings, dict):
        source.refuse(path, f"expected settings as {{field: value}}, found {settings!r}")
    fixed = {key: value for key, value in settings.items() if key != "grid"}
    if "grid" not in settings:
        return [fixed]
    axes = settings["grid"]
    if not isinstance(axes, dict) or not axes or not all(isinstance(v, list) and v for v in axes.values()):
        source.refuse((*path, "grid"), "an empty grid; give {field: [value, value]}")
    return [{**fixed, **dict(zip(axes, point, strict=True))} for point in itertools.product(*axes.values())]


def _data(source: LocatedYaml) -> dict[str, dict[str, Any]]:
    partial = source.content.get("partial", False)
    if not isinstance(partial, bool):
        source.refuse(("partial",), f"partial: {partial!r}; expected true or false")
    options = _data_options(source) if "data" in source.content else {}
    return {**options, "*": {**options.get("*", {}), "partial": True}} if partial else options


def _data_options(source: LocatedYaml) -> dict[str, dict[str, Any]]:
    known = registry.names("datasets")
    for name in source.mapping(("data",)):
        if name != "*" and name not in known:
            source.refuse(("data", name), registry.did_you_mean("dataset", name, known), UnknownNameError)
        source.mapping(("data", name))
    options: dict[str, dict[str, Any]] = source.content["data"]
    return options


def _precision(source: LocatedYaml) -> Precision:
    asked = source.text(("precision",))
    known = get_args(Precision)
    if asked is not None and asked not in known:
        source.refuse(("precision",), registry.did_you_mean("precision", asked, known), UnknownNameError)
    return cast("Precision", asked or "float32")


def _operating_points(source: LocatedYaml) -> str | None:
    asked, known = source.text(("operating_points",)), registry.names("datasets")
    if asked is not None and asked.partition(":")[0] not in known:
        source.refuse(("operating_points",), registry.did_you_mean("dataset", asked, known), UnknownNameError)
    return asked


def _numbers(source: LocatedYaml, path: YamlPath) -> tuple[int, ...]:
    """A list of whole numbers, or `first..last`."""
    content = source.at(path)
    if isinstance(content, str) and (ends := _RANGE.fullmatch(content)) and int(ends[1]) <= int(ends[2]):
        return tuple(range(int(ends[1]), int(ends[2]) + 1))
    if not isinstance(content, list):
        source.refuse(path, f"{path[-1]}: expected a list of numbers or first..last, found {content!r}")
    for number, entry in enumerate(source.list_at(path)):
        if isinstance(entry, bool) or not isinstance(entry, int) or not 0 <= entry < 2**32:  # what numpy takes
            source.refuse((*path, number), f"{path[-1]}: {entry!r}; expected whole numbers from 0 to 4294967295")
    return tuple(dict.fromkeys(content))
