"""What figures are drawn from: rows, pictures and checkpoints, as the options of the command choose them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from zsad_bench.commands._row_selection import (
    RowsOptions,
    all_facts,
    chosen_rows,
    listed,
    rows_folder,
    suite_with_rows,
)
from zsad_bench.commands._shared import OnlyOptions, SuiteOfRows
from zsad_bench.console import Console
from zsad_bench.errors import CheckpointError, RowError, UnknownNameError, UsageError
from zsad_bench.leaderboard.figures import map_grid, style
from zsad_bench.leaderboard.tables.published import Facts
from zsad_bench.options import Option
from zsad_bench.planning.suite import SUITES
from zsad_bench.registry import did_you_mean
from zsad_bench.results import rows as store
from zsad_bench.results.row import Row

if TYPE_CHECKING:
    from zsad_bench.runner.checkpoint import Header

_DEMO = "Demo suite: generated images read by a tiny CLIP; nothing here is comparable with a paper's numbers."


@dataclass(frozen=True, kw_only=True)
class SourceOptions(OnlyOptions):
    """What figures are drawn from."""

    suite: SuiteOfRows = None
    source: RowsOptions = field(default_factory=RowsOptions)
    runs: Annotated[str, Option("FOLDER", "where checkpoints are looked for")] = "runs"
    image: Annotated[str | None, Option("TEXT[,TEXT…]", "part of an image's id; default: with large defects")] = None
    seed: Annotated[int | None, Option("N", "of training, for maps and checkpoints; default 0")] = None
    draw: Annotated[int | None, Option("N", "of the auxiliary data, for maps and checkpoints; default 0")] = None
    checkpoint: Annotated[str | None, Option("FILE", "instead of one that is found under --runs")] = None
    weights: Annotated[str | None, Option("PATH", "of the checkpoint's backbone, as in bench")] = None


class Source:
    """What figures are drawn from, each read once and when asked for."""

    def __init__(self, options: SourceOptions) -> None:
        self.options = options
        self.runs = Path(options.runs)

    @cached_property
    def suite(self) -> str:
        name = self.options.suite or suite_with_rows(self.options.source)
        if name not in SUITES:
            raise UnknownNameError(did_you_mean("suite", name, SUITES))
        return name

    @cached_property
    def facts(self) -> Facts:
        return all_facts()

    @cached_property
    def rows(self) -> list[Row]:
        return store.standard(self.all_rows)

    @cached_property
    def all_rows(self) -> list[Row]:
        """Those of corrupted images and other wordings too."""
        rows = chosen_rows(self.options.source, Console(), self.suite, conditions=True)
        if wanted := listed(self.options.method or ""):
            known = sorted({row.method for row in rows})
            if unknown := [name for name in wanted if name not in known]:
                raise UnknownNameError(f"--method: {did_you_mean('method among the rows', unknown[0], known)}")
            rows = [row for row in rows if row.method in wanted]
        known = sorted({row.target for row in rows})
        if wanted := listed(self.options.dataset or "", known):
            if unknown := [name for name in wanted if name not in known]:
                raise UnknownNameError(f"--dataset: {did_you_mean('dataset among the rows', unknown[0], known)}")
            rows = [row for row in rows if row.target in wanted]
        return rows

    @cached_property
    def pictures(self) -> Path:
        folder = rows_folder(self.options.source, self.suite)
        return (folder if (folder / "rows").is_dir() else folder.parent) / "pictures"

    @property
    def demo(self) -> list[str]:
        """The note under figures of generated images; [] for other suites."""
        return [_DEMO] if SUITES[self.suite].generated else []

    @property
    def note(self) -> list[str]:
        """What every caption begins with."""
        if self.demo:
            return self.demo
        backbones = sorted({(row.backbone, row.image_size) for row in self.rows if row.backbone != "none"})
        return [f"Suite {self.suite}, " + " and ".join(f"{name} at {size} px" for name, size in backbones) + "."]

    def prior(self, default: str) -> str:
        given = listed(self.options.prior or default)
        if len(given) != 1:
            raise UsageError(f"--prior {self.options.prior}: this figure shows one prior")
        return given[0]

    def metrics(self, default: tuple[str, ...]) -> tuple[str, ...]:
        given = tuple(listed(self.options.metric or "")) or default
        for name in given:
            if name not in style.METRICS:
                raise UnknownNameError(f"--metric: {did_you_mean('metric', name, style.METRICS)}")
        return given

    def chosen(self, prior: str) -> map_grid.CellChoice:
        return map_grid.CellChoice(prior, self.options.seed or 0, self.options.draw or 0)

    def images(self, prior: str, at_most: int) -> list[map_grid.ImageMaps]:
        chosen = self.chosen(prior)
        keys = map_grid.cells(self.rows, chosen, self.facts)
        if not any(row.prior == prior and row.key in keys.get(style.label(row.method, row.variant, self.facts), ())
                   for row in self.rows):  # fmt: skip
            raise RowError(
                f"no rows under prior {prior} with seed {chosen.seed} and draw {chosen.draw}; "
                f"run `zsad-bench bench --prior {prior} --seed {chosen.seed} --draw {chosen.draw}`"
            )
        images = map_grid.image_maps(self.pictures, keys)
        targets = {row.target for row in self.rows}
        return map_grid.choose(
            images, listed(self.options.image or ""), listed(self.options.dataset or "", targets), at_most
        )

    def transductive(self, labels: Iterable[str]) -> list[str]:
        """The sentence of a caption on those of these methods that see all test images at once; [] without any."""
        marked = {style.label(row.method, row.variant, self.facts) for row in self.rows if row.transductive}
        sentence = style.transductive_names(name for name in dict.fromkeys(labels) if name in marked)
        return [sentence] if sentence else []

    def checkpoints(self, method: str, **training: str | int | None) -> list[tuple[Path, Header]]:
        """The one that was named, or the newest of each seed among the runs."""
        from zsad_bench.commands import _figure_trained as trained
        from zsad_bench.runner import checkpoint

        if self.options.checkpoint:
            path = Path(self.options.checkpoint)
            header = checkpoint.read_header(path)
            if header.method != method:
                raise CheckpointError(f"checkpoint {path}: is of {header.method}; this figure is of {method}")
            return [(path, header)]
        wanted = {key: value for key, value in training.items() if value is not None}
        found = trained.find(self.runs, method, self.options.source.backbone or SUITES[self.suite].backbone, **wanted)
        if not found:
            said = ", ".join(f"{key} {value}" for key, value in wanted.items())
            raise CheckpointError(
                f"no checkpoint of {method} with {said} under {self.runs}; name one with --checkpoint, the folder of "
                f"runs with --runs, or run `zsad-bench bench --method {method} --prior {wanted['prior']}`"
            )
        return list({header.training.get("seed"): (path, header) for path, header in reversed(found)}.values())
