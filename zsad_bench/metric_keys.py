"""Every metric there is, by its key, and what tables, figures and pages call it: all lists of metrics follow from here.

Every metric is a fraction in [0, 1], higher is better. The computations are in `metrics/`; a test checks that every
key here has a value, or a reason for a missing value, in every mode.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One metric. title: as printed. note: a sentence that belongs under a table that shows it, or "".

    key: as in rows; begins with "image_", "sample_" or "pixel_", by what it looks at: images one by one, the objects
    that several images show (views), or pixels. Only datasets that say which images show one object have samples.
    board: a column of leaderboards and their pages; CSV files and the page's menus have every metric. terminal: also of
    the tables at the end of a run. headline: what papers print, and the dashboard shows. optional: a cell is complete
    without it, and a run computes it when asked to (`--operating-points`). further: of the datasets alone whose authors
    define it (`further_metrics` of a data module).
    """

    key: str
    title: str
    board: bool = True
    terminal: bool = True
    headline: bool = False
    note: str = ""
    optional: bool = False
    further: bool = False

    @property
    def level(self) -> str:
        """ "image", "sample" or "pixel": what it looks at."""
        return self.key.partition("_")[0]


_CAL = (
    "Metrics that end in _cal are at a threshold from normal images of another dataset: of images at a nominal rate of "
    "false alarms of 5 %, of pixels at their mean plus three standard deviations."
)
_SAMPLE = "Sample metrics (sample_…) are of objects: the largest score of an object's views, under the largest label."
METRICS = (  # in the order of columns
    Metric("image_auroc", "image AUROC", headline=True),
    Metric("image_ap", "image AP", headline=True),
    Metric("image_f1max", "image F1-max", board=False),
    Metric("sample_auroc", "sample AUROC", note=_SAMPLE),
    Metric("sample_ap", "sample AP", terminal=False, note=_SAMPLE),
    Metric("sample_f1max", "sample F1-max", board=False, terminal=False, note=_SAMPLE),
    Metric("pixel_auroc", "pixel AUROC", headline=True),
    Metric("pixel_ap", "pixel AP"),
    Metric("pixel_f1max", "pixel F1-max", board=False),
    Metric("pixel_aupro", "AUPRO", headline=True,
           note="AUPRO (pixel_aupro) is exact, up to a false-positive rate of 0.3."),
    Metric("pixel_aupro_legacy200", "AUPRO (200 thresholds)", board=False,
           note="pixel_aupro_legacy200 is the papers' AUPRO with 200 thresholds."),
    # on a page its definition stands beside it, for which a terminal has no room
    Metric("pixel_rcpro", "RCPRO", terminal=False),
    Metric("pixel_aupimo", "AUPIMO", board=False),
    Metric("pixel_aupro_005", "AUPRO up to FPR 0.05", board=False, terminal=False, further=True,
           note="AUPRO up to FPR 0.05 (pixel_aupro_005) is exact, and of datasets alone whose authors define it."),
    # docs/metrics.md, "Operating points"
    Metric("image_f1_cal", "image F1 at a known threshold", board=False, terminal=False, optional=True, note=_CAL),
    Metric("image_recall_cal", "image recall at a known threshold", board=False, terminal=False, optional=True,
           note=_CAL),
    Metric("image_specificity_cal", "image specificity at a known threshold", board=False, terminal=False,
           optional=True, note=_CAL),
    Metric("pixel_f1_cal", "SegF1 at a known threshold", board=False, terminal=False, optional=True, note=_CAL),
)  # fmt: skip


def titles() -> dict[str, str]:
    """Key -> title, in the order of columns."""
    return {metric.key: metric.title for metric in METRICS}


def keys(level: str = "", optional: bool = False) -> tuple[str, ...]:
    """The keys in order, of one level ("image", "sample", "pixel"): those of every run, or the optional ones.

    Without a level: of images and pixels, which all datasets have that are labelled by them.
    """
    levels = (level,) if level else ("image", "pixel")
    asked = (metric for metric in METRICS if metric.level in levels and not metric.further)
    return tuple(metric.key for metric in asked if metric.optional == optional)


def further_keys() -> tuple[str, ...]:
    """The keys in order of what datasets alone have whose authors define it; all of them are of pixels."""
    return tuple(metric.key for metric in METRICS if metric.further)


def columns(terminal: bool = False) -> dict[str, str]:
    """Key -> title of what leaderboards show, on a page or in the narrower tables of a terminal."""
    return {m.key: m.title for m in METRICS if m.board and (m.terminal or not terminal)}


def headline() -> tuple[str, ...]:
    """The keys of what papers print."""
    return tuple(metric.key for metric in METRICS if metric.headline)


def notes(shown: frozenset[str] | set[str]) -> list[str]:
    """What belongs under a table that shows these keys."""
    return list(dict.fromkeys(metric.note for metric in METRICS if metric.key in shown and metric.note))
