"""Create the workspace that compares runs: table, priors side by side, prior curve, maps and losses."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Annotated

from zsad_bench.commands._shared import WandbPlace, check_name
from zsad_bench.errors import ZsadError
from zsad_bench.options import Argument, Option
from zsad_bench.planning.suite import SUITES
from zsad_bench.tracking import access
from zsad_bench.tracking.mirror import PROJECT


@dataclass(frozen=True, kw_only=True)
class Options:
    suite: Annotated[str, Argument("SUITE", "whose runs: demo or paper")]
    dry_run: Annotated[bool, Option(help="print what would be created, as JSON; needs no network")] = False
    place: WandbPlace = field(default_factory=WandbPlace)


def run(options: Options) -> int:
    """Creates a suite's workspace and prints where it is; with --dry-run prints its content instead.

    Raises:
        UnknownNameError: no such suite.
        ZsadError: wandb-workspaces is missing, or wandb cannot be reached or refuses.
    """
    from zsad_bench.tracking.dashboard import spec, workspace

    check_name("suite", options.suite, SUITES)
    suite, place = SUITES[options.suite], options.place
    project = place.project or os.environ.get("WANDB_PROJECT") or PROJECT
    entity = place.entity or os.environ.get("WANDB_ENTITY") or ""
    if options.dry_run:
        print(spec(workspace(entity or "you", project, suite.name, suite.targets)))
        return 0
    trouble = access.probe()
    if trouble:
        raise ZsadError(f"wandb: {trouble}; `track dashboard --dry-run` prints what it would create")
    try:
        import wandb

        made = workspace(entity or wandb.Api().default_entity or "", project, suite.name, suite.targets).save()
        print(made.url)
    except ZsadError:
        raise
    except Exception as error:
        raise ZsadError(f"wandb: {' '.join(str(error).split())[:200]}; the dashboard was not created") from None
    return 0
