"""Scores the tiny CLIP on fresh targets and checks its floors: `python benchmarks/score_tiny_clip.py`.

The definition is fixed: the method `clip` with its own defaults, all eleven target classes, three draws of images
that nothing else uses (seeds 1001, 1002, 1003). Image AUROC from the global feature; pixel AUROC from the last plain
block and from the V-V path; `center_prior` beside them; and the first two again with four untrained visual tokens.
Every draw is printed with its standard error (bootstrap over images, stratified by class and label, 40 resamples).
Exit code 1 when a floor is missed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zsad_bench import registry
from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.load import load_backbone
from zsad_bench.methods._edits import visual_tokens
from zsad_bench.metrics.functional.ranking import auroc
from zsad_bench.planning.configure import build
from zsad_bench.planning.suite import DEMO
from zsad_bench.types import Features

DRAWS = (1001, 1002, 1003)
EXTRA_TOKENS, EXTRA_STD = 4, 0.02  # how prompt methods start theirs
RESAMPLES = 40
FLOORS = {"pixel": 0.75, "image": 0.60, "pixel above centre": 0.05, "pixel V-V": 0.5}
MOST_LOSS = 0.03  # that four untrained tokens may cost


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="folder of another candidate than the embedded one")
    parser.add_argument("--out", type=Path, help="where to write the numbers as JSON")
    args = parser.parse_args()
    backbone = load_backbone("tiny", str(args.weights) if args.weights else None)
    draws = {seed: score(backbone, seed) for seed in DRAWS}
    _print(draws)
    means = {key: float(np.mean([draw["mean"][key] for draw in draws.values()])) for key in draws[DRAWS[0]]["mean"]}
    missed = missed_floors(means)
    print("\nfloors: " + ("met" if not missed else "MISSED: " + "; ".join(missed)))
    if args.out:
        args.out.write_text(json.dumps({"backbone": backbone.id, "means": means, "draws": draws}, indent=1) + "\n")
    return 1 if missed else 0


@torch.no_grad()
def score(backbone: Backbone, seed: int, scale: float = 1.0, resamples: int = RESAMPLES) -> dict:
    """Per class and mean AUROCs of one draw, and the standard errors of the means; `scale`: share of the images."""
    plain = build("clip", backbone, DEMO.overrides_for("clip"), seed=0)
    families = {"plain": plain}
    vv = {**DEMO.overrides_for("clip"), "first_vv_block": backbone.scale_block(6)}
    families["vv"] = build("clip", backbone, vv, seed=0)
    families["centre"] = build("center_prior", backbone, DEMO.overrides_for("center_prior"), seed=0)
    generator = torch.Generator().manual_seed(0)
    extra = EXTRA_STD * torch.randn(EXTRA_TOKENS, backbone.vision.width, generator=generator)
    classes: dict[str, dict] = {}
    for name in DEMO.generated:
        data = registry.load("datasets", name)(
            seed=seed, scale=scale, image_size=plain.config.image_size, batch_size=64
        )
        for batch in data.test_dataloader():
            batch = batch.normalised()
            found = {key: method.score(method.encode(batch.images, batch.samples), batch.samples)
                     for key, method in families.items()}  # fmt: skip
            found["plain+4"] = plain.score(_with_tokens(backbone, plain, batch.images, extra), batch.samples)
            for at, sample in enumerate(batch.samples):
                kept = classes.setdefault(sample.category.name, {"labels": [], "masks": [], "scores": {}, "maps": {}})
                kept["labels"].append(bool(batch.labels[at]))
                kept["masks"].append(batch.masks[at].numpy())
                for key, prediction in found.items():
                    kept["scores"].setdefault(key, []).append(float(prediction.score[at]))
                    kept["maps"].setdefault(key, []).append(prediction.map[at].numpy())
    measured = {name: _aurocs(kept, np.arange(len(kept["labels"]))) for name, kept in classes.items()}
    mean = {key: float(np.mean([m[key] for m in measured.values()])) for key in next(iter(measured.values()))}
    rng = np.random.default_rng(seed)
    again = [
        [_aurocs(kept, _resampled(rng, np.array(kept["labels"]))) for kept in classes.values()]
        for _ in range(resamples)
    ]
    se = {key: float(np.std([np.mean([m[key] for m in one]) for one in again], ddof=1)) for key in mean}
    return {"mean": mean, "se": se, "classes": measured}


def _with_tokens(backbone: Backbone, method, images: Tensor, extra: Tensor) -> Features:
    return backbone.encode_image(images, method.encoder_spec, visual_tokens(extra))


def _aurocs(kept: dict, at: np.ndarray, stride: int = 1) -> dict[str, float]:
    labels = np.array(kept["labels"])[at]

    def pixels(maps: list[np.ndarray]) -> np.ndarray:
        return np.stack(maps)[at, ::stride, ::stride].ravel()

    masks = pixels(kept["masks"])

    def pixel(key: str) -> float:
        return auroc(pixels(kept["maps"][key]), masks)

    def image(key: str) -> float:
        return auroc(np.array(kept["scores"][key])[at], labels)

    return {
        "image": image("plain"),
        "pixel": pixel("plain"),
        "pixel V-V": pixel("vv"),
        "pixel centre": pixel("centre"),
        "image, 4 tokens": image("plain+4"),
        "pixel, 4 tokens": pixel("plain+4"),
    }


def _resampled(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    return np.concatenate(
        [rng.choice(np.flatnonzero(labels == value), (labels == value).sum()) for value in (False, True)]
    )


def missed_floors(means: dict[str, float]) -> list[str]:
    """One phrase for each floor that these means miss."""
    found = {**means, "pixel above centre": means["pixel"] - means["pixel centre"]}
    missed = [f"{key} {found[key]:.3f} < {floor}" for key, floor in FLOORS.items() if found[key] < floor]
    for key in ("image", "pixel"):
        cost = means[key] - means[f"{key}, 4 tokens"]
        if cost >= MOST_LOSS:
            missed.append(f"four tokens cost {cost:.3f} {key} AUROC, allowed below {MOST_LOSS}")
    return missed


def _print(draws: dict[int, dict]) -> None:
    keys = list(next(iter(draws.values()))["mean"])
    print("| draw | " + " | ".join(keys) + " |\n|---|" + "---|" * len(keys))
    for seed, draw in draws.items():
        cells = [f"{draw['mean'][key]:.3f} ± {draw['se'][key]:.3f}" for key in keys]
        print(f"| {seed}, mean of {len(draw['classes'])} | " + " | ".join(cells) + " |")
    for name in next(iter(draws.values()))["classes"]:
        cells = [f"{np.mean([draw['classes'][name][key] for draw in draws.values()]):.3f}" for key in keys]
        print(f"| {name}, mean of {len(draws)} draws | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    raise SystemExit(main())
