"""Pass or fail with a known rate of false alarms: split-conformal thresholds from images that are known to be good.

A method gives scores without a unit. Good images of one's own say which scores are usual. The share of them that score
at least as high as a new image is its p-value, and an image fails where that is at most the rate of false alarms that
was asked for. If the new image is good and could as well have been one of the calibration images (they are
*exchangeable*: the same part, camera and light, no selection), it fails with at most this probability, whatever the
method and its scores are.

Sources: V. Vovk, A. Gammerman, G. Shafer, Algorithmic Learning in a Random World (2005), chapter 2; S. Bates et al.,
Testing for outliers with conformal p-values, Annals of Statistics 51 (2023), section 2.2, for what holds after
calibration.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zsad_bench.atomic import whole_file
from zsad_bench.errors import CheckpointError, UsageError
from zsad_bench.metrics.functional.operating import allowed_alarms, smallest_rate

FORMAT = "zsad-bench calibration 1"
_CONFIDENCE = 0.9  # of the rate that holds for this one calibration
_FAR = 3.0  # interquartile ranges above the upper quartile from which a score is called unusual (Tukey's outer fence)


@dataclass(frozen=True)
class Calibration:
    """Scores of good images, and the rate of false alarms that was asked for.

    scores: n of them, ascending. rate: in (0, 1). scorer: identity of what scored them (`Scorer.identity`). settings:
    what else decides a score: the name of the object, tiles, region. about: for people: title, date, folder.
    """

    scores: tuple[float, ...]
    rate: float
    scorer: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def allowed(self) -> int:
        """k of `allowed_alarms`: an image fails where fewer than k good ones score at least as high."""
        return allowed_alarms(len(self.scores), self.rate)

    @property
    def threshold(self) -> float:
        """An image fails where its score is above this: the k-th largest score of the good ones."""
        return self.scores[-self.allowed]

    @property
    def expected_rate(self) -> float:
        """k / (n+1), at most the rate asked for: what the false alarms are on average over calibrations."""
        return self.allowed / (len(self.scores) + 1)

    @property
    def likely_rate(self) -> float:
        """The rate of false alarms that this one calibration keeps to with a probability of 0.9.

        The true rate of a calibration follows Beta(k, n+1-k) where scores have no ties; with ties it is smaller.
        """
        from scipy.stats import beta

        return float(beta.ppf(_CONFIDENCE, self.allowed, len(self.scores) + 1 - self.allowed))

    def p_value(self, score: float) -> float:
        """(1 + number of good images that score at least as high) / (n + 1), in (0, 1]."""
        at_least = len(self.scores) - int(np.searchsorted(self.scores, score, side="left"))
        return (1 + at_least) / (len(self.scores) + 1)

    def fails(self, score: float) -> bool:
        """Whether the p-value is at most the rate; the same as a score above the threshold."""
        return score > self.threshold

    @property
    def unusual(self) -> tuple[float, ...]:
        """The scores far above the others, as images with a defect among the good ones would have."""
        low, high = np.quantile(self.scores, (0.25, 0.75))
        return tuple(score for score in self.scores if score > high + _FAR * (high - low))

    def write(self, path: Path) -> Path:
        """The path, written as a whole."""
        content = {
            "format": FORMAT, "rate": self.rate, "threshold": self.threshold, "expected_rate": self.expected_rate,
            "scorer": self.scorer, "settings": dict(self.settings), "about": dict(self.about),
            "scores": list(self.scores),
        }  # fmt: skip
        with whole_file(path) as file:
            file.write((json.dumps(content, indent=1) + "\n").encode())
        return path


def calibrate(
    scores: Sequence[float], rate: float, scorer: str, settings: Mapping[str, Any], about: Mapping[str, Any]
) -> Calibration:
    """A threshold from the scores of good images.

    Raises:
        UsageError: a rate outside (0, 1), or one that so few images do not allow; says the smallest that they do.
    """
    require_rate(rate)
    require_number(rate, len(scores))
    return Calibration(tuple(sorted(map(float, scores))), rate, scorer, settings, about)


def require_number(rate: float, count: int) -> None:
    """Raises UsageError for a rate that so many images do not allow; says the smallest that they do."""
    if not allowed_alarms(count, rate):
        least = percent(smallest_rate(count), up=True)
        raise UsageError(
            f"--false-alarm {percent(rate)}: {count} images allow no rate below {least}; give at least "
            f"{smallest_number(rate)} good images, or a rate of {least} or more"
        )


def require_rate(rate: float) -> None:
    """Raises UsageError for a rate outside (0, 1)."""
    if not 0 < rate < 1:
        raise UsageError(f"--false-alarm: found {percent(rate)}, expected above 0 % and below 100 %, as in 1% or 0.01")


def smallest_number(rate: float) -> int:
    """The smallest number of good images that allows a rate of false alarms."""
    number = max(1, int(1 / rate) - 2)
    while not allowed_alarms(number, rate):
        number += 1
    return number


def read(path: Path) -> Calibration:
    """A calibration from its file.

    Raises:
        UsageError: no such file. CheckpointError: not a calibration, or damaged.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file; write one with zsad-bench calibrate, or give a number")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is '{content['format']}', expected '{FORMAT}'")
        for part in ("settings", "about"):
            if not isinstance(content[part], dict):
                raise ValueError(f"its {part} are no mapping")
        scores = tuple(map(float, content["scores"]))
        made = Calibration(
            scores, float(content["rate"]), str(content["scorer"]), content["settings"], content["about"]
        )
        if list(scores) != sorted(scores) or not np.isfinite(scores).all() or not 0 < made.rate < 1 or made.allowed < 1:
            raise ValueError("its scores and its rate do not fit")
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a calibration ({error}); write it again with zsad-bench calibrate"
        ) from None
    return made


def percent(rate: float, up: bool = False) -> str:
    """A rate for people, of three digits: 0.01 is "1%", 1/13 is "7.69%". up: rounded up, so that it is no less."""
    step = 10.0 ** (math.floor(math.log10(100 * rate)) - 2) if rate > 0 else 1.0
    return f"{math.ceil(100 * rate / step - 1e-6) * step if up else 100 * rate:.3g}%"
