"""Draw figures from rows, pictures and checkpoints, as SVG and PNG."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated

from zsad_bench import registry
from zsad_bench.commands._figure_source import Source, SourceOptions
from zsad_bench.commands._row_selection import averaged, conditioned, groups, listed
from zsad_bench.commands._shared import check_name
from zsad_bench.console import Console
from zsad_bench.errors import RowError, UsageError, ZsadError
from zsad_bench.leaderboard.figures import (
    catalogue,
    complexity,
    cost,
    dive_fig_1,
    dive_fig_3,
    dive_fig_4,
    faprompt_prompts,
    parameter_study,
    prior_curve,
    quality_cost,
    robustness,
    style,
)
from zsad_bench.leaderboard.figures.style import Drawn
from zsad_bench.leaderboard.tables import prior_curve as curves
from zsad_bench.leaderboard.tables.published import read_published
from zsad_bench.leaderboard.tables.robustness import lines as lines_of
from zsad_bench.options import Argument, Option
from zsad_bench.planning.suite import PAPER, SUITES


@dataclass(frozen=True, kw_only=True)
class Options:
    name: Annotated[str, Argument("NAME|all", "`zsad-bench figure list` lists all figures")]
    out: Annotated[str, Option("FOLDER", "where NAME.svg and NAME.png go", writes="folder")] = "figures"
    source: SourceOptions = field(default_factory=SourceOptions)


def run(options: Options) -> int:
    """Draws one figure, or all that can be drawn; 1 where none of all could.

    Raises:
        ZsadError: what a figure lacks; of all, what they lack is printed instead.
    """
    name = options.name
    check_name("figure", name, [*catalogue.FIGURES, "all", "list"])
    takes = catalogue.FIGURES[name].options if name in catalogue.FIGURES else catalogue.EVERY
    given = [
        option for option in dict.fromkeys(option for entry in catalogue.FIGURES.values() for option in entry.options)
        if getattr(options.source, option) is not None
    ]  # fmt: skip
    if unused := [f"--{option}" for option in given if option not in takes]:
        known = " ".join(f"--{option}" for option in takes) or "none of those that choose"
        raise UsageError(f"figure {name}: does not take {', '.join(unused)}; it takes {known}")
    console, source = Console(), Source(options.source)
    drawn = 0
    for one in catalogue.FIGURES if name == "all" else [name]:
        try:
            with style.look():
                made = DRAW[one](source)
                files = style.save(made, options.out, one, catalogue.FIGURES[one].shows)
        except ZsadError as error:
            if name != "all":
                raise
            console.print(f"{one}: not drawn: {error}", style="yellow")
            continue
        drawn += 1
        console.print(f"{one}: {', '.join(map(str, files))}")
        console.print(f"  {made.caption}", style="dim")
    return 0 if drawn else 1


def _dive_fig_1(source: Source) -> Drawn:
    priors, (metric, *more) = listed(source.options.prior or "rich,limited"), source.metrics(("image_auroc",))
    if len(priors) != 2 or more:
        raise UsageError("figure dive_fig_1: takes two priors and one metric, as in --prior rich,limited")
    found = dive_fig_1.means(source.rows, (priors[0], priors[1]), metric, source.facts)
    image = None
    if source.pictures.is_dir():
        (image,) = source.images(priors[1], 1)[:1]
    note = [*source.note, f"Maps: prior {priors[1]}, seed {source.chosen('').seed}, draw {source.chosen('').draw}."]
    note += source.transductive(image.pictures) if image else []
    return dive_fig_1.draw(found, image, source.facts, note if image else source.note)


def _dive_fig_3(source: Source) -> Drawn:
    chosen = source.chosen(source.prior("limited"))
    images = source.images(chosen.prior, dive_fig_3.AT_MOST)
    note = [*source.note, f"Trained methods: prior {chosen.prior}, seed {chosen.seed}, draw {chosen.draw}."]
    note += source.transductive(name for image in images for name in image.pictures)
    return dive_fig_3.draw(images, source.facts, note)


def _dive_fig_4(source: Source) -> Drawn:
    from zsad_bench.commands import _figure_trained as trained

    chosen = source.chosen(source.prior("limited"))
    ((path, header), *_) = source.checkpoints("dive", prior=chosen.prior, seed=chosen.seed, draw=chosen.draw)
    suite = SUITES[source.suite]
    dataset = source.options.dataset or next(iter(suite.generated), "") or suite.targets[0]
    found = trained.attention(path, source.options.weights, dataset, source.options.image)
    training = header.training
    trained_on = f"DIVE after prior {training.get('prior')}, seed {training.get('seed')}, on {header.backbone}."
    return dive_fig_4.draw(found, [*source.demo, trained_on])


def _study(source: Source, of: Callable[[dict[str, float | None]], parameter_study.Study], by_domain: bool) -> Drawn:
    from zsad_bench.commands import _figure_trained as trained

    blank = of({})
    backbone = SUITES[source.suite].backbone
    study = of(trained.defaults(blank.method, [setting.field for setting in blank.settings], backbone))
    if SUITES[source.suite].generated:
        study = replace(study, recipe=f"{study.recipe}_demo")
    prior, metrics = source.prior(study.prior), source.metrics(study.metrics)
    groups, scopes = (_domains(source.suite), {}) if by_domain else _datasets(source, study.method)
    published = read_published() if SUITES[source.suite] is PAPER else ()
    scopes = scopes or {"Industrial": "industrial", "Medical": "medical"}
    found = parameter_study.lines(study, source.rows, prior, metrics, groups, published, scopes)
    return parameter_study.draw(study, found, prior, source.note)


def _domains(suite: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """Level of a metric -> the means of a suite that FAPrompt's figure has a line for: industrial and medical."""
    found: dict[str, dict[str, tuple[str, ...]]] = {"image": {}, "pixel": {}}
    for title, only, names in groups(suite):
        name = title.partition(" mean")[0].partition(" (")[0]
        for level in found:
            if only in ("", level) and name != "All":
                found[level][name] = names
    return found


def _datasets(source: Source, method: str) -> tuple[dict[str, dict[str, tuple[str, ...]]], Mapping[str, str]]:
    """A line for each dataset that has rows of the method."""
    names = sorted({row.target for row in source.rows if row.method == method})
    by_title = {source.facts.title(name): name for name in names}
    lines: dict[str, tuple[str, ...]] = {title: (name,) for title, name in by_title.items()}
    return {"image": lines, "pixel": lines}, by_title


def _faprompt_prompts(source: Source) -> Drawn:
    from zsad_bench.commands import _figure_trained as trained

    prior = source.prior("limited")
    found = source.checkpoints("faprompt", prior=prior, draw=source.options.draw or 0)
    header = found[0][1]
    trained_on = f"FAPrompt after prior {header.training.get('prior')}, on {header.backbone}."
    return faprompt_prompts.draw(trained.prompts(found, source.options.weights), [*source.demo, trained_on])


def _complexity(source: Source) -> Drawn:
    found = cost.costs(source.rows, source.facts)
    note = [*source.note, *source.transductive(one.name for one in found.methods)]
    return complexity.draw(found, source.facts, note)


def _quality_cost(source: Source) -> Drawn:
    prior, metrics = source.prior("limited"), source.metrics(quality_cost.SHOWN)
    found = cost.costs(source.rows, source.facts)
    reached = quality_cost.quality(source.rows, prior, metrics, averaged(source.suite), source.facts)
    return quality_cost.draw(reached, found, source.facts, source.note)


def _prior_curve(source: Source) -> Drawn:
    metrics = source.metrics(prior_curve.SHOWN)
    found = [c for c in curves.curves(source.rows, averaged(source.suite)) if c.metric in metrics]
    if not found:
        recipe = "prior_curve_demo" if SUITES[source.suite].generated else "prior_curve"
        raise RowError(
            f"none of {len(source.rows)} rows is of a prior with two numbers of types or shots; "
            f"run `zsad-bench sweep {recipe}`"
        )
    sanity = [name for name, cls in registry.classes("methods").items() if cls.is_sanity_check]
    flat = curves.flats(source.rows, found, sanity)
    return prior_curve.draw(found, source.facts, source.note, flat, source.options.prior)


def _robustness(source: Source) -> Drawn:
    metrics = source.metrics(robustness.SHOWN)
    if len(metrics) != 1:
        raise UsageError("figure robustness: takes one metric, as in --metric image_auroc")
    rows = [row for row in source.all_rows if source.options.prior is None or row.prior in
            ("none", *listed(source.options.prior))]  # fmt: skip
    rows = conditioned(rows, source.suite, {"metric": metrics[0]})
    targets = averaged(source.suite)
    if source.options.dataset:
        named = tuple(sorted({row.target for row in rows}))
        targets = dict.fromkeys(targets, named)
    found = lines_of(rows, targets)
    if not found:
        raise RowError(
            "no row under a condition has one of the same run without it beside it; run the recipe to its end"
        )
    return robustness.draw(found, source.facts, source.note)


DRAW: dict[str, Callable[[Source], Drawn]] = {
    "dive_fig_1": _dive_fig_1,
    "dive_fig_3": _dive_fig_3,
    "dive_fig_4": _dive_fig_4,
    "dive_fig_5": lambda source: _study(source, catalogue.dive_fig_5, by_domain=False),
    "faprompt_fig_3": lambda source: _study(source, catalogue.faprompt_fig_3, by_domain=True),
    "faprompt_prompts": _faprompt_prompts,
    "complexity": _complexity,
    "quality_cost": _quality_cost,
    "prior_curve": _prior_curve,
    "robustness": _robustness,
}
