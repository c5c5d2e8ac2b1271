# pytest tests/runner/test_learning.py -m slow
"""Training does what it is for: on its own auxiliary images AnomalyCLIP ends above its untrained state."""

from __future__ import annotations

import pytest
import torch

from zsad_bench.backbones.load import load_backbone
from zsad_bench.console import Console
from zsad_bench.data.datasets.demo_rich import DemoRich
from zsad_bench.metrics.functional.ranking import auroc
from zsad_bench.planning.configure import build
from zsad_bench.planning.suite import DEMO
from zsad_bench.runner.train import fit


@torch.no_grad()
def state_of(method, data) -> tuple[float, float]:
    """Mean loss, and pixel AUROC over all training images."""
    losses, maps, masks = [], [], []
    for batch in data.test_dataloader():
        features = method.encode(batch.normalised().images, batch.samples)
        losses.append(float(sum(method.losses(features, batch).values())) * len(batch))
        maps.append(method.score(features, batch.samples).map)
        masks.append(batch.masks)
    count = sum(len(m) for m in masks)
    return sum(losses) / count, auroc(torch.cat(maps).flatten().numpy(), torch.cat(masks).flatten().numpy())


@pytest.mark.slow
def test_anomalyclip_learns_its_auxiliary_images(tmp_path) -> None:
    method = build("anomalyclip", load_backbone("tiny"), DEMO.overrides_for("anomalyclip"), seed=0)
    options = {"image_size": method.config.image_size, "scale": 0.5}
    data = DemoRich(**options)
    loss, pixel = state_of(method, data)
    fit(method, DemoRich(**options), tmp_path, Console(quiet=True))
    trained_loss, trained_pixel = state_of(method, data)
    assert trained_loss < loss, f"loss went from {loss:.3f} to {trained_loss:.3f}"
    assert trained_pixel > pixel, f"pixel AUROC went from {pixel:.3f} to {trained_pixel:.3f}"
    log = (tmp_path / "prompts" / "metrics.csv").read_text().splitlines()
    column = log[0].split(",").index("loss")
    epochs = [float(line.split(",")[column]) for line in log[1:] if line.split(",")[column]]
    assert epochs[-1] < epochs[0], f"the training loss did not fall: {epochs}"
