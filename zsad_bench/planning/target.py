"""What the name of a target says: a dataset, some of its categories, or where data of the user's own lies.

    visa                                a registered dataset
    mvtec:transistor                    one of its categories; several are mvtec:pill+transistor
    folder:/path/to/parts, csv:t.csv    the user's own images
    visa@gaussian_noise:3               a dataset under a condition (conditions.py), as plans write it

Categories only restrict what is computed and written: table, data hash and so the rows are those of the whole dataset.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from zsad_bench import conditions, registry
from zsad_bench.errors import DatasetError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from zsad_bench.data.base import ZeroShotDataModule


class Target(NamedTuple):
    """dataset: its registry name. place: where own data lies, or "". categories: that are asked for, () for all.

    condition: of a robustness test, or "".
    """

    dataset: str
    place: str = ""
    categories: tuple[str, ...] = ()
    condition: str = ""

    @property
    def asked(self) -> str:
        """One spelling of it."""
        whole = ":".join(filter(None, (self.dataset, self.place or "+".join(self.categories))))
        return f"{whole}@{self.condition}" if self.condition else whole

    @property
    def name(self) -> str:
        """What rows call it."""
        if not self.place:
            return self.dataset
        name: str = registry.load("datasets", self.dataset).name_of(self.place)
        return name


def target_of(asked: str) -> Target:
    """The target that a name means.

    Raises:
        UnknownNameError: no such dataset, category or condition; lists the nearest names. UsageError: nothing behind
            the colon, or a path that cannot be told from a condition.
    """
    plain, condition = conditions.split(asked)
    if condition:
        from zsad_bench.data import condition_names  # and with it numpy, which help does without

        target = target_of(plain)
        if target.place and os.path.lexists(os.path.expanduser(asked.partition(":")[2])):  # noqa: PTH111
            raise UsageError(
                f"target {asked}: is it the path of that name, or {plain} under condition {condition}? rename the path"
            )
        condition_names.checked(condition)
        return target._replace(condition=condition)
    dataset, colon, rest = asked.partition(":")
    known = registry.names("datasets")
    if dataset not in known:
        raise UnknownNameError(registry.did_you_mean("dataset", dataset, known))
    if not colon:
        return Target(dataset)
    from zsad_bench.data.user_data import OwnDataModule  # and with it torch

    cls = registry.load("datasets", dataset)
    if issubclass(cls, OwnDataModule):
        return Target(dataset, place=rest)
    there = [card.name for card in cls.category_cards]
    wanted = [part.strip() for part in rest.split("+") if part.strip()]
    if not wanted:
        raise UsageError(f"target {asked}: no category behind the colon; name some of {', '.join(there)}, or leave it")
    for name in wanted:
        if name not in there:
            raise UnknownNameError(registry.did_you_mean(f"category of {dataset}", name, there))
    return Target(dataset, categories=tuple(name for name in there if name in wanted))


def distinct(asked: Iterable[str]) -> list[str]:
    """The targets, each once and in one spelling; the categories of one dataset are one target.

    Raises:
        UnknownNameError, UsageError: as `target_of`; two folders that rows could not tell apart; or a condition, which
            is asked for beside the targets.
    """
    found: dict[tuple[str, str], Target] = {}
    for target in map(target_of, asked):
        if target.condition:
            what = conditions.parse(target.condition)
            raise UsageError(
                f"target {target.asked}: name the target alone, and {what.value} with --{what.kind} (in a recipe: "
                f"{what.kind}s: [{what.value}])"
            )
        place = target.dataset, _where(target.place)
        before = found.get(place, target)
        whole = not (before.categories and target.categories)
        there = [card.name for card in registry.load("datasets", target.dataset).category_cards]
        both = tuple(name for name in there if name in (*before.categories, *target.categories))
        found[place] = target._replace(categories=() if whole else both)
    _refuse_twins(found.values())
    return [target.asked for target in found.values()]


def with_named_root(data: Mapping[str, Mapping[str, Any]], targets: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Options of datasets by name, where a `root` for all of them became that of the one target it can only mean.

    Raises:
        UsageError: several targets that it could be for, or none.
    """
    options = {name: dict(of) for name, of in data.items()}
    root = options.get("*", {}).pop("root", None)
    if root is None:
        return options
    named = dict.fromkeys(of.dataset for of in map(target_of, targets) if not of.place)
    meant = [name for name in named if "root" not in options.get(name, {})]
    if not meant:
        raise UsageError(f"--data root={root}: each target has its own path; leave it out, or name a dataset")
    if len(meant) > 1:
        whose = f"it could be for {' or '.join(meant)}; name the dataset, as in --data {meant[0]}.root={root}"
        raise UsageError(f"--data root={root}: {whose}")
    options.setdefault(meant[0], {})["root"] = root
    return options


def categories_of(asked: str, data: ZeroShotDataModule) -> list[str]:
    """The categories of a target that are asked for, in the card's order, without those that a wording has no word for.

    Raises:
        DatasetError: one that its data, used as a partial copy, does not have; or none that a wording has a word for.
    """
    there = [category.name for category in data.categories()]
    named = target_of(asked).categories
    wanted = tuple(name for name in named if name not in data.unworded)
    if named and not wanted:
        raise DatasetError(f"{asked}: there is no other word for any of its categories; leave this wording out")
    if absent := [name for name in wanted if name not in there]:
        raise DatasetError(
            f"{data.name}: {data.root} has no images of {', '.join(absent)}, which --targets names; restore them, or "
            f"name others: {', '.join(there)}"
        )
    return [name for name in there if not wanted or name in wanted]


def _refuse_twins(targets: Iterable[Target]) -> None:
    names: dict[str, str] = {}
    for target in targets:
        other = names.setdefault(target.name, target.place)
        if _where(other) != _where(target.place):
            raise UsageError(
                f"rows would call both {other} and {target.place} {target.name}; rename one of the folders, or name it "
                "through a link of another name"
            )


def _where(place: str) -> str:
    """A path as the system would spell it, links not followed."""
    return os.path.abspath(os.path.expanduser(place)) if place else ""  # noqa: PTH100, PTH111 - as own data is named
