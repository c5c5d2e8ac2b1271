"""What rows the cells of a plan must have: their keys need the hashes of weights, data and priors, and no training."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.errors import ZsadError
from zsad_bench.planning.plan import Group, Job, cell_id
from zsad_bench.planning.target import categories_of, target_of
from zsad_bench.runner import resume, run_group


def expected(planned: Iterable[tuple[Group, Sequence[run_group.CellGroup]]]) -> dict[str, dict[str, Any]]:
    """Cell id -> `key`, `categories`, `metrics`, `image_size`, `backbone`; or `error` where a cell cannot run.

    planned: groups of a plan, each with the cell groups of its jobs. What several cells need is read and hashed once.
    """
    found: dict[str, dict[str, Any]] = {}
    once = _Once()
    for group, members in planned:
        for job, member in zip(group.jobs, members, strict=True):
            for target in group.targets:
                try:
                    found[cell_id(job, target)] = _expected(job, target, member, once)
                except ZsadError as error:
                    found[cell_id(job, target)] = {"error": str(error)}
    return found


def _expected(job: Job, target: str, member: run_group.CellGroup, once: _Once) -> dict[str, Any]:
    backbone = once("backbone", lambda: run_group.open_backbone(member))
    of = target_of(target)
    same = ("target", of.dataset, of.place)  # whatever categories are asked for, the table is hashed once
    data: ZeroShotDataModule = once(same, lambda: member.module(target, backbone))
    categories = once(("categories", target), lambda: categories_of(target, data))
    alone = target if len(member.targets) == 1 else None  # then a paper may learn from something else
    learned_from = ("auxiliary", job.prior, job.draw, job.augment, alone)
    ready = once(
        ("job", id(member)),
        lambda: run_group.prepare(
            member, backbone, [], lambda *of: once(learned_from, lambda: run_group.auxiliary_of(*of))
        ),
    )  # fmt: skip
    row = ready.row_fields(job.method, data)
    return {
        "key": row["key"],
        "categories": categories,
        "metrics": list(resume.metrics_of(data.level)),
        "image_size": row["image_size"],
        "backbone": row["backbone"],
    }


class _Once:
    """Computes what is asked for under a key once; an error is kept and raised again."""

    def __init__(self) -> None:
        self.kept: dict[Hashable, Any] = {}

    def __call__(self, key: Hashable, make: Callable[[], Any]) -> Any:
        if key not in self.kept:
            try:
                self.kept[key] = make()
            except ZsadError as error:
                self.kept[key] = error
        if isinstance(self.kept[key], ZsadError):
            raise self.kept[key]
        return self.kept[key]
