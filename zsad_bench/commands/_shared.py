"""Options that several commands take, and checks of names that all of them make."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from zsad_bench import conditions, registry
from zsad_bench.errors import UnknownNameError, UsageError
from zsad_bench.options import Option
from zsad_bench.runner.run_spec import FeatureOptions

if TYPE_CHECKING:
    from zsad_bench.console import Console
    from zsad_bench.data.base import ZeroShotDataModule

_UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}

Partial = Annotated[bool, Option(help="use datasets that are incomplete; what is missing is listed")]
Track = Annotated[Literal["auto", "online", "offline", "off"], Option(help="wandb; auto: when logged in")]
DataSettings = Annotated[
    tuple[str, ...],
    Option(
        "[NAME.]KEY=VALUE",
        "an option of a dataset, or of all: layout, variant, prompt_names, mask_rule, root, …",
        repeated=True,
    ),
]
SuiteOfRows = Annotated[str | None, Option("demo|paper", "whose rows; default: paper where it has any")]


@dataclass(frozen=True, kw_only=True)
class OnlyOptions:
    """Which rows a command uses."""

    metric: Annotated[str | None, Option("NAME[,NAME…]", "keep only these")] = None
    prior: Annotated[str | None, Option("NAME[,NAME…]", "keep only these")] = None
    method: Annotated[str | None, Option("NAME[,NAME…]", "keep only these", names="methods")] = None
    dataset: Annotated[str | None, Option("NAME[,NAME…]", "keep only these", names="datasets")] = None


@dataclass(frozen=True, kw_only=True)
class WandbPlace:
    """Where runs lie on wandb."""

    project: Annotated[str | None, Option("NAME", "default: WANDB_PROJECT, else zsad-bench")] = None
    entity: Annotated[str | None, Option("NAME", "user or team; default: WANDB_ENTITY, else your own")] = None


def _size(text: str, option: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(kB|MB|GB|TB)", text.strip(), re.IGNORECASE)
    if found is None:
        raise UsageError(f"{option} {text}: expected a number and its unit, as in 500MB or 8GB")
    return int(float(found[1]) * _UNITS[found[2].lower()])


@dataclass(frozen=True, kw_only=True)
class FrozenTowers:
    """How the frozen towers compute; see docs/precision.md."""

    precision: Annotated[
        Literal["float32", "tf32", "bf16"] | None,
        Option(help="of the frozen towers, in rows too; heads, losses and maps stay float32; default: float32"),
    ] = None
    compile: Annotated[
        Literal["no", "default", "cuda-graphs"],
        Option(help="blocks of the visual tower by torch.compile; pays on a GPU and many images"),
    ] = "no"


@dataclass(frozen=True, kw_only=True)
class StoredFeatures:
    """What is kept of images that were encoded; see docs/sweeps.md."""

    features: Annotated[
        str, Option("memory|off|FOLDER", "where features of images are kept, to encode each image once")
    ] = "memory"
    feature_budget: Annotated[
        int | None, Option("SIZE", "memory for them, as in 8GB; default: a quarter of what is free", read=_size)
    ] = None
    feature_type: Annotated[Literal["float32", "float16"], Option(help="float16 takes half the room")] = "float32"

    def asked(self) -> FeatureOptions:
        """As the runner takes it; a folder is made absolute."""
        place = self.features if self.features in ("memory", "off") else str(Path(self.features).expanduser().resolve())
        return FeatureOptions(place, self.feature_budget, self.feature_type)


def data_options(texts: Sequence[str], partial: bool = False, **of_all: Any) -> dict[str, dict[str, Any]]:
    """Options of data modules by dataset name, "*" for all, from `--data` and `--partial`.

    Raises:
        UnknownNameError: an option of a dataset that is not registered. UsageError: no KEY=VALUE.
    """
    from zsad_bench.planning.configure import parse_settings

    known = registry.names("datasets")
    by_name: dict[str, dict[str, Any]] = {"*": {}}
    for key, value in parse_settings(texts, "--data", paths=("root",)).items():
        name, dot, option = key.rpartition(".")
        if dot and name not in known:
            raise UnknownNameError(registry.did_you_mean("dataset", name, known))
        by_name.setdefault(name if dot else "*", {})[option] = value
    by_name["*"] |= of_all | ({"partial": True} if partial else {})
    return by_name


def known_dataset(asked: str) -> None:
    """Nothing, where `NAME`, `NAME:…` or `folder:PATH` begins with a dataset's name.

    Raises:
        UnknownNameError: it does not.
    """
    check_name("dataset", conditions.split(asked)[0].partition(":")[0], registry.names("datasets"))


def check_name(what: str, name: str, known: Collection[str]) -> None:
    """Nothing, where a name is known.

    Raises:
        UnknownNameError: it is not; the message lists the nearest ones.
    """
    if name not in known:
        raise UnknownNameError(registry.did_you_mean(what, name, known))


def say_licences(targets: Iterable[str], console: Console) -> None:
    """Prints the licence of each dataset that may not be passed on."""
    for name in dict.fromkeys(target.partition(":")[0] for target in targets):
        cls: type[ZeroShotDataModule] = registry.load("datasets", name)
        if not cls.redistribute and cls.url:
            console.print(f"{cls.title}: {cls.licence}")
