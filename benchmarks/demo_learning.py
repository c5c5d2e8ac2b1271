"""What the trained methods learn on the demo suite: `python benchmarks/demo_learning.py [--runs FOLDER] [METHOD …]`.

Prints a Markdown table per method: for both priors and three seeds, before and after training, the loss and the image
and pixel AUROC on its own training images and on held-back auxiliary classes. Targets: see leaderboards/demo.
Values are means over categories; ± is the standard deviation over seeds. Reported as they are.

--runs takes the checkpoints of runs that `zsad-bench bench` has made instead of training again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from lightning import Trainer, seed_everything
from rich.console import Console

from zsad_bench import registry
from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.load import load_backbone
from zsad_bench.data import prior as priors
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.leaderboard.tables.averaging import deviation
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.planning.configure import build, trains
from zsad_bench.planning.suite import DEMO
from zsad_bench.runner import checkpoint
from zsad_bench.runner.metric_collector import Collector, Finished
from zsad_bench.runner.shared_encoder import SharedPass
from zsad_bench.runner.train import fit, trainer_options
from zsad_bench.types import Category

SEEDS = (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", metavar="METHOD", help="default: every method that descends on a loss")
    parser.add_argument("--runs", type=Path, help="folder of runs whose checkpoints to take")
    options = parser.parse_args()
    backbone = load_backbone(DEMO.backbone)
    for name in options.methods or descending():
        if lacking := registry.load("methods", name).needs - backbone.offers:
            print(f"\n{name} is left out: {backbone.name} does not offer {', '.join(sorted(lacking))}", flush=True)
            continue
        print(f"\n## {registry.load('methods', name).title}\n", flush=True)
        print("| prior | where | | untrained | trained | change |\n|---|---|---|---|---|---|", flush=True)
        for prior in ("rich", "limited"):
            _report(name, prior, backbone, options.runs)


def descending() -> list[str]:
    """The methods that train by a loss; what only fills a memory has none that could fall."""
    return [n for n in registry.names("methods")
            if trains(n) and registry.load("methods", n).losses is not ZeroShotMethod.losses]  # fmt: skip


def _report(name: str, prior: str, backbone: Backbone, runs: Path | None) -> None:
    (auxiliary,) = priors.resolve(prior, DEMO.name).auxiliary
    places = {"training images": _data(auxiliary), "held-back classes": _data("demo_heldback")}
    before, after = [], []
    for seed in SEEDS:
        seed_everything(seed, verbose=False)
        method = build(name, backbone, DEMO.overrides_for(name), seed)
        before.append({place: _measure(method, data) for place, data in places.items()})
        if runs is None:
            with tempfile.TemporaryDirectory() as folder:
                fit(method, _data(auxiliary, shuffle_seed=seed), Path(folder), Console(quiet=True))
        else:
            method, _ = checkpoint.load(_checkpoint(runs, name, prior, seed), backbone, name)
        after.append({place: _measure(method, data) for place, data in places.items()})
    for place in places:
        for metric in before[0][place]:
            old, new = ([one[place][metric] for one in states] for states in (before, after))
            change = np.subtract(new, old)
            print(
                f"| {prior} | {place} | {metric} | {_shown(old)} | {_shown(new)} | {_shown(change, '+')} |", flush=True
            )


def _checkpoint(runs: Path, name: str, prior: str, seed: int) -> Path:
    """The newest checkpoint of the method under this prior and seed, on the first draw of the auxiliary data."""
    for config in sorted(runs.glob("*/config.json"), reverse=True):
        said, file = json.loads(config.read_text()), config.with_name(f"{name}.safetensors")
        if (said["prior"], said["seed"], said["draw"] or 0) == (prior, seed, 0) and file.is_file():
            return file
    raise SystemExit(
        f"no checkpoint of {name} under prior {prior}, seed {seed} in {runs}; leave out --runs to train it"
    )


def _shown(values, sign: str = "") -> str:
    return f"{np.mean(values):{sign}.3f} ± {deviation(list(values)):.3f}"


def _data(name: str, **options) -> ZeroShotDataModule:
    size = DEMO.overrides_for("*")["image_size"]
    return registry.load("datasets", name)(image_size=size, batch_size=32, **options)


@torch.no_grad()
def _measure(method: ZeroShotMethod, data: ZeroShotDataModule) -> dict[str, float]:
    """Mean loss of its last stage over images, and mean AUROCs over categories."""
    method.begin_training(data.categories())  # DIVE's semantic loss tells the classes of the data apart
    method.begin_stage(method.stages()[-1])
    method.freeze()
    total = count = 0
    for batch in data.test_dataloader():
        terms = method.losses(method.encode(batch.normalised().images, batch.samples), batch)
        total, count = total + float(sum(terms.values())) * len(batch), count + len(batch)
    values: dict[str, list[float]] = {}

    def finished(label: str, category: Category, outcome: Finished) -> None:
        for key in ("image_auroc", "pixel_auroc"):
            values.setdefault(key, []).append(outcome.result.values[key].value)

    trainer = Trainer(
        logger=False, callbacks=[Collector(data, finished)], enable_progress_bar=False, **trainer_options()
    )
    trainer.test(SharedPass({"one": method}), dataloaders=data.test_dataloader(), verbose=False)
    return {
        "loss": total / count,
        "image AUROC": float(np.mean(values["image_auroc"])),
        "pixel AUROC": float(np.mean(values["pixel_auroc"])),
    }


if __name__ == "__main__":
    main()
