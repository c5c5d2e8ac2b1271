"""Trainings of 15 epochs with and without stored features: `--help`.

The usual way encodes the auxiliary images anew in each epoch. Measured as a whole on the demo's tiny CLIP, by the
Trainer of a real run with data loading, losses, optimiser and log: the same losses come out. On ViT-L/14-336 at 518 px
a whole training takes hours here, so its time is put together from parts that are measured: encoding an image, a step
of 8 images from features on, and reading an image's features from memory. DIVE is measured on ViT-L with few images,
without its visual prompts: with them its first edit is in front of block 1, and there is nothing below to store.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from _methods_measured import SMALL_SIZE, RandomTable, random_batches, seeded_backbone
from _suite import Benchmark, Claim, Found, Ratio, Spent, alternate, check_same, main, median, ratio, seconds, spread

if TYPE_CHECKING:
    from zsad_bench.methods.base import ZeroShotMethod

EPOCHS, BATCH = 15, 8
LEARNERS = ("anomalyclip", "coop", "april_gan")
LARGE = 10**10  # bytes: all that is asked for here fits
TOLERANCE = 1e-5  # of the first losses


def measure(options: argparse.Namespace) -> Found:
    epochs = 2 if options.quick else EPOCHS
    lines, claims, raw = [], [], {}
    for method in LEARNERS[:1] if options.quick else LEARNERS:
        spent = whole_trainings(method, epochs, options)
        without, stored = spent["without"], spent["stored"]
        times = ratio(without, stored, options.device)
        lines.append(_line(f"{method}, tiny CLIP, measured", median(without), median(stored), times))
        goal = {"bound": "at least", "limit": 2.5} if method == LEARNERS[0] else {}
        claims.append(Claim(f"{method}, {epochs} epochs on the tiny CLIP", times, **goal))
        raw[method] = spent
    parts = parts_of(LEARNERS[0], options)
    totals = [(epochs * (e.cpu + s.cpu), e.cpu + epochs * s.cpu + (epochs - 1) * r.cpu)
              for e, s, r in zip(*parts.values(), strict=True)]  # fmt: skip
    times = spread([without / stored for without, stored in totals])
    without, stored = (spread(list(each)).median for each in zip(*totals, strict=True))
    lines.append(_line(f"{LEARNERS[0]}, ViT-L, an image, extrapolated", Spent(without, 0), Spent(stored, 0), times))
    claims.append(Claim(f"{LEARNERS[0]}, {epochs} epochs on ViT-L, from parts", times, "at least", 10))
    dive = steps_of_dive(options)
    totals = [(epochs * w.cpu, f.cpu + (epochs - 1) * s.cpu) for w, f, s in zip(*dive.values(), strict=True)]
    times = spread([without / stored for without, stored in totals])
    without, stored = (spread(list(each)).median for each in zip(*totals, strict=True))
    lines.append(_line("dive without visual prompts, ViT-L, 2 images", Spent(without, 0), Spent(stored, 0), times))
    claims.append(Claim(f"dive without visual prompts, {epochs} epochs on ViT-L", times, "at least", 1.5))
    each = ", ".join(f"{name} {seconds(median(spent).cpu)} s" for name, spent in parts.items())
    return Found(
        ("training", "CPU without, s", "CPU stored, s", "ratio"),
        lines,
        claims,
        f"{epochs} epochs, features in memory as float32. Parts of {LEARNERS[0]} on ViT-L, CPU time an image: {each}. "
        f"The losses of each first epoch are the same to {TOLERANCE:g}.",
        {"trainings": raw, "parts": parts, "dive": dive},
    )


def whole_trainings(name: str, epochs: int, options: argparse.Namespace) -> dict[str, list[Spent]]:
    """Of a learner on the demo's limited prior, with the tiny CLIP: what `bench` does up to the checkpoint."""
    from lightning import seed_everything

    from zsad_bench.backbones.feature_store import FeatureStore
    from zsad_bench.console import Console
    from zsad_bench.planning.suite import SUITES
    from zsad_bench.runner.opened import Opened
    from zsad_bench.runner.prepared_run import take
    from zsad_bench.runner.run_spec import RunSpec
    from zsad_bench.runner.train import fit

    opened, suite = Opened(), SUITES["demo"]
    losses: dict[bool, float] = {}

    def train(stored: bool) -> None:
        with tempfile.TemporaryDirectory() as folder:
            data = {"*": {"scale": 0.2}} if options.quick else {}
            spec = RunSpec(suite, name, "limited", ("demo_textures",), epochs=epochs, data=data, runs=Path(folder))
            run = take(spec, opened)
            run.method.store = FeatureStore(LARGE) if stored else None
            assert run.learned_from is not None
            run.learned_from.prepare_training(run.method.config.image_size, 0)
            seed_everything(0, verbose=False)
            fit(run.method, run.learned_from.data, Path(folder), Console(file=io.StringIO()))
            losses[stored] = _first_loss(Path(folder))

    ways = {"without": lambda: train(False), "stored": lambda: train(True)}
    spent = alternate(ways, options.repeats, warm_up=not options.quick)
    import torch

    check_same(f"{name}: losses of the first epoch", torch.tensor(losses[True]), torch.tensor(losses[False]), TOLERANCE)
    return spent


def parts_of(name: str, options: argparse.Namespace) -> dict[str, list[Spent]]:
    """Of an image: encoding it, its share of a step of `BATCH` images from features on, reading its features."""
    import torch

    from zsad_bench.backbones.encoder import Encoder
    from zsad_bench.backbones.feature_store import FeatureStore

    method = _training(name, {}, options)
    stage = method.stages()[0]
    table = RandomTable(method.config.image_size, steps=1)
    batch = random_batches(method.config.image_size, BATCH, 1)[0].to(options.device)
    samples = [replace(sample, content=str(number)) for number, sample in enumerate(batch.samples)]
    store = FeatureStore(LARGE)
    encoder = Encoder(method.backbone, method.encoder_spec, store=store)
    two = slice(0, 2)
    method.begin_training(table.categories())
    encoder(batch.images[two], samples[two])
    encoder(batch.images, [samples[number % 2] for number in range(BATCH)])
    features = encoder(batch.images, [samples[number % 2] for number in range(BATCH)])
    optimizer = method.optimizer_for(stage)

    def encode() -> None:
        with torch.no_grad():
            method.backbone.encode_image(batch.images[:1], method.encoder_spec)

    def step() -> None:
        optimizer.zero_grad()
        torch.stack(list(method.losses(features, batch).values())).sum().backward()
        optimizer.step()

    def read() -> None:
        encoder(batch.images, [samples[number % 2] for number in range(BATCH)])

    ways = {"encoding": encode, "a step's share": step, "reading": read}
    spent = alternate(ways, options.repeats, options.device)
    shared = {name: [Spent(one.cpu / BATCH, one.wall / BATCH) for one in spent[name]] for name in list(ways)[1:]}
    return {"encoding": spent["encoding"], **shared}


def steps_of_dive(options: argparse.Namespace) -> dict[str, list[Spent]]:
    """Of two images: a step without a store, the step that fills it, and one that reads from it."""
    import torch

    from zsad_bench.backbones.feature_store import FeatureStore

    method = _training("dive", {"shallow": False}, options)
    batch = random_batches(method.config.image_size, 2, 1)[0].to(options.device)
    batch.samples = [replace(sample, content=str(number)) for number, sample in enumerate(batch.samples)]
    method.begin_training(list(dict.fromkeys(sample.category for sample in batch.samples)))
    filled = FeatureStore(LARGE)

    def step(store: FeatureStore | None) -> float:
        method.store = store
        method.zero_grad()
        loss = torch.stack(list(method.losses(method.encode(batch.images, batch.samples), batch).values())).sum()
        loss.backward()
        return float(loss.detach())

    check_same("losses of DIVE", torch.tensor(step(filled)), torch.tensor(step(None)), TOLERANCE)
    ways = {
        "without": lambda: step(None),
        "filling": lambda: step(FeatureStore(LARGE)),
        "stored": lambda: step(filled),
    }
    return alternate(ways, options.repeats, options.device, warm_up=False)


def _training(name: str, overrides: dict, options: argparse.Namespace) -> ZeroShotMethod:
    """A method at the beginning of its first stage, on the large backbone (quick: a miniature)."""
    from zsad_bench.planning.configure import build

    size = {"image_size": SMALL_SIZE} if options.quick else {}
    method = build(name, seeded_backbone(options.quick), {**size, **overrides}, seed=0).to(options.device).train()
    method.begin_stage(method.stages()[0])
    return method


def _first_loss(folder: Path) -> float:
    import csv

    (file,) = folder.rglob("metrics.csv")
    with file.open() as lines:
        return next(float(line["loss"]) for line in csv.DictReader(lines) if line["loss"])


def _line(name: str, without: Spent, stored: Spent, times: Ratio) -> list[str]:
    return [name, seconds(without.cpu), seconds(stored.cpu), str(times)]


BENCHMARK = Benchmark("Stored features", measure)

if __name__ == "__main__":
    raise SystemExit(main(BENCHMARK))
