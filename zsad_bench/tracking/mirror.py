"""Talks to wandb. Any failure there is one warning, and the caller continues."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from zsad_bench.tracking import run_summary
from zsad_bench.tracking.access import Access, api_key, files_below
from zsad_bench.tracking.wandb_run import Tracked

PROJECT = "zsad-bench"  # unless WANDB_PROJECT
_SETTINGS: dict[str, Any] = {
    "silent": True,
    # Bounds on waiting: to begin, for one question to the server, and for what is still to be sent at the end.
    "init_timeout": 20.0,
    "x_graphql_timeout_seconds": 5.0,
    "x_graphql_retry_max": 2,
    "x_graphql_retry_wait_max_seconds": 2.0,
    "finish_timeout": 20.0,
    "finish_timeout_raises": True,
    # What rows do not say is nobody's business: no console, code, git, host, user, command line or packages.
    "console": "off",
    "disable_code": True,
    "save_code": False,
    "disable_git": True,
    "host": "",
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}


class CaptionedImage(NamedTuple):
    """A picture and the line below it. image: (H,W,3) uint8."""

    image: NDArray
    caption: str


class Mirror:
    """The wandb runs of one process. Several are open at a time; leaving the `with` block ends them.

    group: of the runs; None leaves it as it is. warn: called at most once, with one line.
    """

    def __init__(
        self, access: Access, folder: Path, group: str | None, warn: Callable[[str], None], entity: str | None = None,
        project: str | None = None,
    ) -> None:  # fmt: skip
        self.mode, self.group, self.warn = access.mode, group, warn
        self.folder = files_below(folder).resolve()  # wandb's service stays where it was started
        self.project = project or os.environ.get("WANDB_PROJECT") or PROJECT
        self.entity = entity or os.environ.get("WANDB_ENTITY")
        self.trouble = ""
        self._open: dict[str, Any] = {}
        if access.warning:
            self._say(access.warning)

    def __enter__(self) -> Mirror:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.finish(failed=kind is not None)

    def begin_stage(self, of: Tracked, stage: str) -> Callable[[Mapping[str, float]], None]:
        """What takes the losses of a training stage, see `Curves`."""

        def define(run: Any) -> None:
            for axis, prefix in (("step", "train"), ("epoch", "epoch")):
                run.define_metric(f"{prefix}/{stage}/*", step_metric=f"{prefix}/{stage}/{axis}")

        self._do(of, define)
        return lambda values: self._do(of, lambda run: run.log(dict(values)))

    def show_means(self, of: Tracked, records: Iterable[run_summary.Record], averaged: Sequence[str]) -> None:
        """The means of rows; averaged: see `content.summary`."""
        self._do(of, lambda run: run.summary.update(run_summary.summary(records, averaged)))

    def show_table(self, of: Tracked, records: Iterable[run_summary.Record]) -> None:
        """The rows as a table, in the place of an earlier one."""
        columns, lines = run_summary.table(records)

        def put(run: Any) -> None:
            import wandb

            run.summary["results"] = wandb.Table(columns=columns, data=lines)

        self._do(of, put)

    def show_maps(self, of: Tracked, target: str, pictures: Sequence[CaptionedImage]) -> None:
        """Pictures of a target; they are added to earlier ones."""

        def add(run: Any) -> None:
            import wandb

            run.log({f"maps/{target}": [wandb.Image(each.image, caption=each.caption) for each in pictures]})

        if pictures:
            self._do(of, add)

    def finish(self, failed: bool = False) -> None:
        """Ends the open runs; waits for what is still to be sent, but not for long."""
        try:
            while self._open:
                self._open.popitem()[1].finish(exit_code=int(failed))
        except Exception as error:  # the others would take as long
            self._end(error)
            self._open.clear()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """What fails in here ends tracking, with a warning, and nothing else."""
        try:
            yield
        except Exception as error:
            self._end(error)

    def _end(self, error: Exception) -> None:
        self._say(f"wandb: {_one_line(error)}; going on without tracking")
        self.mode = "off"

    def _do(self, of: Tracked, what: Callable[[Any], None]) -> None:
        if self.mode == "online" and of.id not in self._open:
            try:
                self._open[of.id] = self._begin(of)
            except Exception as error:
                self._go_offline(error)
        with self.guarded():
            if self.mode != "off":
                if of.id not in self._open:
                    self._open[of.id] = self._begin(of)
                what(self._open[of.id])

    def _begin(self, of: Tracked) -> Any:
        import wandb

        wandb.setup(wandb.Settings(silent=True))  # also lines that are printed before a run begins
        known = {name: value for name, value in _SETTINGS.items() if name in wandb.Settings.model_fields}
        return wandb.init(
            mode="offline" if self.mode == "offline" else "online",
            project=self.project,
            entity=self.entity,
            dir=self.folder,
            id=of.id,
            resume="allow",
            reinit="create_new",
            name=of.name,
            group=self.group,
            tags=of.tags,
            config=dict(of.config),
            allow_val_change=True,  # commit, device and versions of a run that is continued
            settings=wandb.Settings(**known),
        )

    def _go_offline(self, error: Exception) -> None:
        """Runs that began online are left to what was sent; they go on as files under the same ids."""
        self._say(f"wandb: {_one_line(error)}; going on with offline files (`wandb sync` sends them later)")
        self._open.clear()
        self.mode = "offline"
        try:
            import wandb

            wandb.teardown()  # its service would refuse the id of a run that could not begin
        except Exception:  # then the next run says so, and tracking ends
            self.mode = "off"

    def _say(self, line: str) -> None:
        if not self.trouble:
            self.trouble = line
            self.warn(line)


def _one_line(error: Exception) -> str:
    """What an error says, without the key."""
    said = " ".join(f"{type(error).__name__}: {error}".split())
    key = api_key()
    said = said.replace(key, "…") if key else said
    return said if len(said) <= 200 else f"{said[:200]}…"
