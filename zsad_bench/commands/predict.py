"""Score photos without labels: which look wrong, where, and by what threshold.

Writes scores as CSV and JSON, overlays, a contact sheet and a page into a folder. Training-free methods need no data;
others need a checkpoint. See docs/predict.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from zsad_bench.commands._scorer import PhotoOptions, ScorerOptions, inspected, open_scorer, setting_of
from zsad_bench.console import Console, Table
from zsad_bench.errors import UsageError
from zsad_bench.options import Argument, Option
from zsad_bench.path_lists import home

if TYPE_CHECKING:
    from zsad_bench.inspection.inspect import Setting
    from zsad_bench.inspection.opening import OpenedScorer
    from zsad_bench.inspection.report import Threshold, Written

_LISTED = 10  # photos in the terminal


@dataclass(frozen=True, kw_only=True)
class Options:
    images: Annotated[tuple[str, ...], Argument("IMAGE_OR_FOLDER…", "photos, and folders of photos", repeated=True)]
    scorer: ScorerOptions = field(default_factory=ScorerOptions)
    photos: PhotoOptions = field(default_factory=PhotoOptions)
    threshold: Annotated[
        str | None, Option("FILE_OR_NUMBER", "of `zsad-bench calibrate`, or a score: what is above it fails")
    ] = None
    maps: Annotated[
        Literal["none", "npy", "png16"], Option(help="also the maps as numbers, each of its photo's size")
    ] = "none"
    out: Annotated[str, Option("FOLDER", "where results go", writes="folder")] = "predictions"


def run(options: Options) -> int:
    """0, or 1 where some photos could not be scored; the others are.

    Raises:
        UsageError: no image, wrong options, a threshold of another method or setting. ZsadError: from loading.
    """
    from zsad_bench import quick_imports
    from zsad_bench.inspection import photos, report

    out = home(options.out)
    report.require_free(out)
    found = photos.find(options.images, without=out)
    quick_imports.load()
    console = Console()
    opened = open_scorer(options.scorer, console)
    setting = setting_of(options.photos, opened)
    threshold = _threshold(options.threshold, opened, setting)
    name = setting.category.prompt_name
    about = {
        "scorer": {**opened.about, "name": name},
        "setting": setting.described(),
        "warning": opened.warning or None,
    }
    title = f"{opened.scorer.title}: {len(found.photos)} photos of {name}"
    with inspected(found.photos, opened, setting, options.photos) as items:
        written = report.write(out, items, about, title, threshold, setting.region, options.maps)
    _print(console, written, threshold)
    for note in [*found.notes, *written.notes]:
        console.warn(note)
    for each in written.unread:
        console.print(f"not scored: {each.reason}", style="red")
    console.print(f"page: {out / 'index.html'}")
    console.print(f"scores: {out / 'predictions.csv'}")
    return 1 if written.unread else 0


def _threshold(text: str | None, opened: OpenedScorer, setting: Setting) -> Threshold | None:
    from zsad_bench.inspection import decision
    from zsad_bench.inspection.report import Threshold

    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        pass
    else:
        if not math.isfinite(number):
            raise UsageError(f"--threshold {text}: expected a finite number, or a file of zsad-bench calibrate")
        return Threshold(number)
    calibration = decision.read(home(text))
    was, here = calibration.settings, setting.described()
    other = [f"{key} {was.get(key)}, here {here.get(key)}" for key in {**was, **here} if was.get(key) != here.get(key)]
    if calibration.scorer != opened.scorer.identity:
        title = calibration.about.get("title", "another method")
        raise UsageError(
            f"--threshold {text}: is of {title} with other weights, learned parameters or settings than "
            f"{opened.scorer.title} has here; calibrate again, with the same options as here"
        )
    if other:
        raise UsageError(f"--threshold {text}: calibrated with {'; '.join(other)}; use the same options for both")
    return Threshold(calibration.threshold, calibration)


def _print(console: Console, written: Written, threshold: Threshold | None) -> None:
    table = Table(title=f"highest scores of {len(written.lines)} photos" if len(written.lines) > _LISTED else None)
    table.add_column("photo")
    table.add_column("score", justify="right")
    if threshold is not None and threshold.calibration is not None:
        table.add_column("p", justify="right")
    if threshold is not None:
        table.add_column("decision")
    for line in written.lines[:_LISTED]:
        p_value = [] if line.p_value is None else [f"{line.p_value:.3g}"]
        table.add_row(line.image, f"{line.score:.5g}", *p_value, *([line.decision] if line.decision else []))
    console.print(table)
    if threshold is not None:
        failing = sum(line.decision == "fail" for line in written.lines)
        console.print(f"{failing} fail, {len(written.lines) - failing} pass at a threshold of {threshold.value:.5g}")
