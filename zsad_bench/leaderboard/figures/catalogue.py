"""What figures there are, what each needs, and which options each takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from zsad_bench.leaderboard.figures.parameter_study import Setting, Study


class Entry(NamedTuple):
    """shows, needs: one line each. options: of the command line, beside those that every figure takes."""

    shows: str
    needs: str
    options: tuple[str, ...]


_PICTURES = "pictures beside the rows (`zsad-bench bench` keeps them)"
EVERY = ("method", "seed", "draw")  # what makes sense for all at once
_STUDY = ("metric", "prior")
FIGURES = {
    "dive_fig_1": Entry("a metric by method and dataset under two priors, and one image with its maps",
                        f"rows under two priors, {_PICTURES}",
                        ("metric", "prior", "method", "dataset", "image", "seed", "draw")),
    "dive_fig_3": Entry("images by methods: maps with the outline of the mask", _PICTURES,
                        ("prior", "method", "dataset", "image", "seed", "draw")),
    "dive_fig_4": Entry("DIVE's attention of patches to descriptions, on one image",
                        "a checkpoint of DIVE, and the dataset of the image",
                        ("prior", "dataset", "image", "seed", "draw", "checkpoint", "weights")),
    "dive_fig_5": Entry("DIVE against its prompt depth P, context length m and number of visual prompts h",
                        "rows of `zsad-bench sweep dive_fig_5` (or dive_fig_5_demo)", _STUDY),
    "faprompt_fig_3": Entry("FAPrompt against its numbers of prompts K and of patches M",
                            "rows of `zsad-bench sweep faprompt_fig_3` (or faprompt_fig_3_demo)", _STUDY),
    "faprompt_prompts": Entry("FAPrompt's learned prompts on a plane (t-SNE), their cosines and effective rank",
                              "checkpoints of FAPrompt, one or several seeds",
                              ("prior", "draw", "checkpoint", "weights")),
    "complexity": Entry("trained parameters, seconds per image and peak memory of every method",
                        "rows", ("method",)),
    "quality_cost": Entry("quality against seconds per image and trained parameters",
                          "rows", ("metric", "prior", "method")),
    "prior_curve": Entry("who loses how much when anomaly types or anomalous images to learn from are taken away",
                         "rows of `zsad-bench sweep prior_curve` (or prior_curve_demo)", ("metric", "prior", "method")),
    "robustness": Entry("what corrupted images and other wordings of the prompts take from a number",
                        "rows of `zsad-bench sweep robustness` (or robustness_demo)",
                        ("metric", "prior", "method", "dataset")),
}  # fmt: skip


def dive_fig_5(defaults: Mapping[str, float | None]) -> Study:
    """DIVE's study; defaults: field -> what it is unless named."""
    fields = {
        "deep_depth": ("P", "prompt depth"),
        "n_ctx": ("m", "context length"),
        "n_visual": ("h", "visual prompts"),
    }
    metrics = ("image_auroc", "pixel_aupro")
    return Study("DIVE against its settings", "dive", _settings(fields, defaults), "dive_fig_5", "limited", metrics)


def faprompt_fig_3(defaults: Mapping[str, float | None]) -> Study:
    """FAPrompt's study; defaults: as above."""
    fields = {"n_prompts": ("K", "abnormal prompts"), "n_patches": ("M", "patches that feed the prior")}
    metrics = ("image_auroc", "pixel_aupro_legacy200")
    settings = _settings(fields, defaults)
    return Study("FAPrompt against its settings", "faprompt", settings, "faprompt_fig_3", "rich", metrics)


def _settings(fields: Mapping[str, tuple[str, str]], defaults: Mapping[str, float | None]) -> tuple[Setting, ...]:
    return tuple(Setting(field, *description, defaults.get(field)) for field, description in fields.items())
