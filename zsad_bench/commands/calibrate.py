"""Find a threshold with a known rate of false alarms, from photos that are known to be good.

Writes a file for `zsad-bench predict --threshold`. See docs/predict.md for what it guarantees.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from zsad_bench.commands._scorer import PhotoOptions, ScorerOptions, inspected, open_scorer, setting_of
from zsad_bench.console import Console
from zsad_bench.errors import DatasetError, UsageError
from zsad_bench.options import Argument, Option
from zsad_bench.path_lists import home

if TYPE_CHECKING:
    from zsad_bench.inspection.decision import Calibration

_NAMED = 5  # photos in a line


def _rate(text: str, option: str) -> float:
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*", text)
    if found is None:
        raise UsageError(f"{option} {text}: expected a share of good photos, as in 1% or 0.01")
    return float(found[1]) / (100 if found[2] else 1)


@dataclass(frozen=True, kw_only=True)
class Options:
    images: Annotated[tuple[str, ...], Argument("GOOD_FOLDER…", "photos without any defect", repeated=True)]
    false_alarm: Annotated[float, Option("RATE", "of good photos that may fail, as in 1%", read=_rate)] = 0.05
    scorer: ScorerOptions = field(default_factory=ScorerOptions)
    photos: PhotoOptions = field(default_factory=PhotoOptions)
    out: Annotated[
        str | None,
        Option("FILE.json", "default: beside the checkpoint, else METHOD.calibration.json here", writes="file"),
    ] = None


def run(options: Options) -> int:
    """0, or 1 where some photos could not be read; the others count.

    Raises:
        UsageError: no image, wrong options, a rate that so few photos do not allow. ZsadError: from loading.
    """
    from zsad_bench import quick_imports
    from zsad_bench.inspection import decision, photos
    from zsad_bench.inspection.reading import Unread

    found = photos.find(options.images)
    decision.require_rate(options.false_alarm)
    decision.require_number(options.false_alarm, len(found.photos))
    quick_imports.load()
    console = Console()
    opened = open_scorer(options.scorer, console)
    setting = setting_of(options.photos, opened)
    with inspected(found.photos, opened, setting, options.photos) as items:
        results = list(items)
    unread = [item for item in results if isinstance(item, Unread)]
    scores = {item.photo.name: item.score for item in results if not isinstance(item, Unread)}
    for note in found.notes:
        console.warn(note)
    if not scores:
        raise DatasetError(f"none of the {len(unread)} photos can be scored; the first: {unread[0].reason}")
    for each in unread:
        console.print(f"not scored: {each.reason}", style="red")
    about = {
        "title": opened.scorer.title, "method": opened.about["method"], "backbone": opened.about["backbone"],
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "photos": list(options.images),
    }  # fmt: skip
    try:
        made = decision.calibrate(
            list(scores.values()), options.false_alarm, opened.scorer.identity, setting.described(), about
        )
    except UsageError as error:  # enough were given, and some could not be read
        raise DatasetError(f"{len(unread)} of {len(results)} photos cannot be scored; {error}") from None
    out = _place(options, str(opened.about["method"]))
    made.write(out)
    _print(console, made, scores)
    console.print(f"threshold: {out}")
    return 1 if unread else 0


def _place(options: Options, method: str) -> Path:
    if options.out is not None:
        return home(options.out)
    if options.scorer.checkpoint is not None:
        return home(options.scorer.checkpoint).with_suffix(".calibration.json")
    if options.scorer.onnx is not None:
        return home(options.scorer.onnx).with_suffix(".calibration.json")
    return Path(f"{method}.calibration.json")


def _print(console: Console, made: Calibration, scores: dict[str, float]) -> None:
    from zsad_bench.inspection.decision import percent

    console.print(f"a photo fails where its score is above {made.threshold:.5g}")
    console.print(
        f"of good photos that come as these {len(scores)} came, {percent(made.expected_rate)} fail on average over "
        f"calibrations (asked for: at most {percent(made.rate)}); with a probability of 0.9 this calibration's own "
        f"rate is at most {percent(made.likely_rate)}"
    )
    console.print("this holds for photos that could as well have been among these: same part, camera and light")
    if count := len(made.unusual):
        names = [name for name, score in scores.items() if score in made.unusual]
        listed = ", ".join(sorted(names, key=lambda name: -scores[name])[:_NAMED]) + (" …" if count > _NAMED else "")
        console.warn(
            f"{count} of the photos score far above the others: {listed}; if they have a defect leave them out, since "
            "with them the threshold is too high and the promise is about a mixture"
        )
