"""Options that several commands take, and checks of names that all of them make."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Literal

from zsad_bench import registry
from zsad_bench.errors import UnknownNameError
from zsad_bench.options import Option

Partial = Annotated[bool, Option(help="use datasets that are incomplete; what is missing is listed")]
Track = Annotated[Literal["auto", "online", "offline", "off"], Option(help="wandb; auto: when logged in")]
SuiteOfRows = Annotated[str | None, Option("demo|paper", "whose rows; default: paper where it has any")]


@dataclass(frozen=True, kw_only=True)
class OnlyOptions:
    """Which rows a command uses."""

    metric: Annotated[str | None, Option("NAME[,NAME…]", "keep only these")] = None
    prior: Annotated[str | None, Option("NAME[,NAME…]", "keep only these")] = None
    method: Annotated[str | None, Option("NAME[,NAME…]", "keep only these")] = None
    dataset: Annotated[str | None, Option("NAME[,NAME…]", "keep only these")] = None


@dataclass(frozen=True, kw_only=True)
class WandbPlace:
    """Where runs lie on wandb."""

    project: Annotated[str | None, Option("NAME", "default: WANDB_PROJECT, else zsad-bench")] = None
    entity: Annotated[str | None, Option("NAME", "user or team; default: WANDB_ENTITY, else your own")] = None


def known_dataset(asked: str) -> None:
    """Nothing, where `NAME`, `NAME:…` or `folder:PATH` begins with a dataset's name.

    Raises:
        UnknownNameError: it does not.
    """
    check_name("dataset", asked.partition(":")[0], registry.names("datasets"))


def check_name(what: str, name: str, known: Collection[str]) -> None:
    """Nothing, where a name is known.

    Raises:
        UnknownNameError: it is not; the message lists the nearest ones.
    """
    if name not in known:
        raise UnknownNameError(registry.did_you_mean(what, name, known))
