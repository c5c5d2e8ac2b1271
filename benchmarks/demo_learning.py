"""What AnomalyCLIP learns on the demo suite: `python benchmarks/demo_learning.py` prints one Markdown table.

For both priors and three seeds, before and after training: loss and pixel AUROC on its own training images, and image
and pixel AUROC on fresh images of the same auxiliary classes (another draw), on held-back auxiliary classes and on
the targets. Values are means over categories; ± is the standard error over seeds. Reported as they are.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from lightning import Trainer, seed_everything
from rich.console import Console

from zsad_bench import registry
from zsad_bench.backbones.load import load_backbone
from zsad_bench.data import prior as priors
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.sweep.build import build
from zsad_bench.sweep.collect import Collector
from zsad_bench.sweep.shared import SharedPass
from zsad_bench.sweep.suite import DEMO
from zsad_bench.sweep.train import fit, trainer_options

METHOD = "anomalyclip"
SEEDS = (0, 1, 2)
FRESH = 2001  # a draw of the auxiliary classes that is trained on by nothing


def main() -> None:
    backbone = load_backbone(DEMO.backbone)
    quiet = Console(quiet=True)
    for prior in ("rich", "limited"):
        (auxiliary,) = priors.resolve(prior, DEMO.name).auxiliary
        places = {
            "training images": _data(auxiliary),
            "fresh images, same classes": _data(auxiliary, seed=FRESH),
            "held-back classes": _data("demo_heldback"),
            **{f"target: {name.removeprefix('demo_')}": _data(name) for name in DEMO.generated},
        }
        before, after = [], []
        for seed in SEEDS:
            seed_everything(seed, verbose=False)
            method = build(METHOD, backbone, DEMO.overrides_for(METHOD), seed)
            before.append({place: _measure(method, data) for place, data in places.items()})
            with tempfile.TemporaryDirectory() as folder:
                fit(method, _data(auxiliary, shuffle_seed=seed), Path(folder), quiet)
            after.append({place: _measure(method, data) for place, data in places.items()})
        print(f"\nPrior {prior}: {', '.join(f'seed {s}' for s in SEEDS)}\n")
        print("| where | | untrained | trained | change |\n|---|---|---|---|---|")
        for place in places:
            for metric in before[0][place]:
                old, new = ([one[place][metric] for one in runs] for runs in (before, after))
                change = np.subtract(new, old)
                print(f"| {place} | {metric} | {_shown(old)} | {_shown(new)} | {_shown(change, '+')} |")


def _shown(values, sign: str = "") -> str:
    return f"{np.mean(values):{sign}.3f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.3f}"


def _data(name: str, **options) -> ZeroShotDataModule:
    size = DEMO.overrides_for(METHOD)["image_size"]
    return registry.load("datasets", name)(image_size=size, batch_size=32, **options)


@torch.no_grad()
def _measure(method: ZeroShotMethod, data: ZeroShotDataModule) -> dict[str, float]:
    """Mean loss over images, and mean AUROCs over categories."""
    method.eval()
    total = count = 0
    for batch in data.test_dataloader():
        terms = method.losses(method.encode(batch.images, batch.samples), batch)
        total, count = total + float(sum(terms.values())) * len(batch), count + len(batch)
    values: dict[str, list[float]] = {}

    def finished(label, category, result, ids, seconds) -> None:
        for key in ("image_auroc", "pixel_auroc"):
            values.setdefault(key, []).append(result.values[key].value)

    trainer = Trainer(
        logger=False, callbacks=[Collector(data, finished)], enable_progress_bar=False, **trainer_options()
    )
    trainer.test(SharedPass({METHOD: method}), dataloaders=data.test_dataloader(), verbose=False)
    return {
        "loss": total / count,
        "image AUROC": float(np.mean(values["image_auroc"])),
        "pixel AUROC": float(np.mean(values["pixel_auroc"])),
    }


if __name__ == "__main__":
    main()
