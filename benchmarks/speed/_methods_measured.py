"""One measurement of one method, in the process that asks: a test image, or a step of a training stage."""

from __future__ import annotations

import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _machine import processor

if TYPE_CHECKING:
    from zsad_bench.backbones.base import Backbone
    from zsad_bench.methods.base import ZeroShotMethod
    from zsad_bench.types import Batch, Category

# torch is imported inside functions: on Linux a process starts with the peak of the one that started it.

BACKBONE = "ViT-L-14-336-quickgelu"
BLIP = "blip-itm-large-coco"  # for methods that need what no CLIP offers
SMALL: dict[str, Any] = {  # --small: shows that the script runs, its numbers say nothing
    "embed_dim": 48,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 4, "head_width": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3},
}
SMALL_BLIP: dict[str, Any] = {
    "vision_config": {"image_size": 32, "patch_size": 8, "hidden_size": 64, "intermediate_size": 96,
                      "num_hidden_layers": 4, "num_attention_heads": 2},
    "text_config": {"vocab_size": 70, "hidden_size": 36, "intermediate_size": 64, "num_hidden_layers": 3,
                    "num_attention_heads": 3, "max_position_embeddings": 80, "bos_token_id": 2, "eos_token_id": 3,
                    "sep_token_id": 3, "pad_token_id": 0},
    "image_text_hidden_size": 48,
}  # fmt: skip
LETTERS = "abcdefghijklmnopqrstuvwxyz"
# BLIP's own vocabulary comes with its weights; this one spells, so texts are some tokens longer than they would be.
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", *LETTERS, *(f"##{c}" for c in LETTERS), "object", "photo"]
SMALL_SIZE = 48
TEST = "test"  # the job that is no training stage
REPEATS, TRAIN_BATCH = 3, 2
CATEGORY = 5  # test images that a transductive method sees together: the fewest that each of them can score
MIB = 2**20
# Classes of the auxiliary data: some methods read the names of all of them at every step (here MVTec AD's fifteen).
CLASSES = (
    "bottle cable capsule carpet grid hazelnut leather metal_nut pill screw tile toothbrush transistor wood zipper"
).split()


def measure(name: str, job: str, device: str, small: bool, repeats: int) -> dict[str, Any]:
    """What one process finds: the job's numbers, and what they were measured with."""
    import torch

    from zsad_bench.planning.configure import configure

    overrides = {"image_size": SMALL_SIZE} if small else {}
    configure(name, overrides)  # its imports are no part of what the method needs
    backbone = _last_backbone(random_of(name), small).to(device)  # a Trainer leaves it on the CPU
    found = (
        measure_test(name, backbone, device, overrides, repeats)
        if job == TEST
        else measure_step(name, job, backbone, device, overrides)
    )
    where = (
        torch.cuda.get_device_name()
        if device == "cuda"
        else f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    )
    return found | {"where": where, "torch": torch.__version__, "backbone": backbone.name}


def random_of(method: str) -> str:
    """Which backbone a method is measured on: `BACKBONE`, or `BLIP` where it needs what no CLIP offers."""
    from zsad_bench import registry

    return BLIP if "bidirectional_text" in registry.load("methods", method).needs else BACKBONE


def random_backbone(name: str, small: bool = False) -> Backbone:
    """A CLIP of open_clip's or a BLIP, or a miniature of its kind, as it is initialised from seed 0.

    Raises:
        BackboneError: a name that open_clip does not know; or BLIP is asked for, and transformers is not installed.
    """
    import torch
    from open_clip.model import CLIP

    from zsad_bench.backbones.families import _open_clip, blip
    from zsad_bench.errors import BackboneError

    torch.manual_seed(0)
    if not blip.Blip.knows(name):
        config = SMALL if small else _open_clip.named_config(name)
        if config is None:
            raise BackboneError(f"open_clip knows no architecture {name}; expected one such as ViT-B-16, or a BLIP")
        return _open_clip.from_model(CLIP(**config), "miniature" if small else name)
    config, name = (SMALL_BLIP, "miniature BLIP") if small else (blip.CONFIGS[name], name)
    return blip.from_model(blip.build_model(config, name), name, VOCABULARY)


_last_backbone = lru_cache(maxsize=1)(random_backbone)  # methods leave it as it was: one serves many of them


def seeded_backbone(small: bool = False, name: str = BACKBONE) -> Backbone:
    """`random_backbone`; the last one is kept, and may lie on a device."""
    return _last_backbone(name, small)


def measure_test(
    name: str, backbone: Backbone, device: str, overrides: dict[str, Any], repeats: int = REPEATS
) -> dict[str, Any]:
    """Seconds of one test image (median, after a warm-up, texts cached), of its texts alone, and of building.

    A method with a memory has observed one training batch. Of one that adapts, the adaptation is in the seconds. Of a
    transductive method they are one image's share of a category.

    Raises:
        ValueError: a score or a map that is not finite.
    """
    import torch

    from zsad_bench.methods._prediction import predict, predict_set
    from zsad_bench.planning.configure import build, encodes_alone

    loaded = reset_peak(device)
    built, method = timed(lambda: build(name, backbone, overrides, seed=0).eval().to(device), device)
    size = method.config.image_size
    count = CATEGORY if method.transductive else 1
    fill_memory(method, device)
    batch = random_batches(size, batch_size=count, count=1)[0].to(device)
    samples = [replace(sample, category=batch.samples[0].category) for sample in batch.samples]
    score = predict_set if method.transductive else predict
    with torch.no_grad():

        def whole():
            return score(method, method.encode(batch.images, samples), samples)

        features = method.encode(batch.images, samples)
        prediction = score(method, features, samples)
        maps = prediction.score.new_zeros(()) if prediction.map is None else prediction.map
        if not (prediction.score.isfinite().all() and maps.isfinite().all()):
            raise ValueError(f"{name}: the score or the map of a random image is not finite")
        seconds = [timed(whole, device)[0] for _ in range(repeats)]
        # A method that encodes by itself may read its texts there; elsewhere scoring alone shows them more sharply.
        alone = encodes_alone(type(method))
        reads_texts = whole if alone else lambda: score(method, features, samples)
        cached = seconds if alone else [timed(reads_texts, device)[0] for _ in range(repeats)]
        method.clear_text_cache()
        first, _ = timed(reads_texts, device)
    return {
        "title": method.title,
        "stages": [stage.name for stage in method.stages()],
        "image_size": size,
        "build_s": built,
        "text_s": max(0.0, first - statistics.median(cached)),
        "seconds": statistics.median(seconds) / count,
        "images": count,
        "repeats": repeats,
        "loaded_mib": loaded,
        "peak_mib": peak(device),
    }


def fill_memory(method: ZeroShotMethod, device: str) -> None:
    """Shows a training batch to each stage that only observes; without it there is nothing to score with."""
    for stage in method.stages():
        if stage.observes:
            table = RandomTable(method.config.image_size, steps=1)
            method.begin_training(table.categories())
            method.begin_stage(stage)
            method.training_step(table[0].to(device), 0)
            method.on_train_end()
    method.eval()


def measure_step(
    name: str, stage_name: str, backbone: Backbone, device: str, overrides: dict[str, Any]
) -> dict[str, Any]:
    """Seconds of the second training step of a stage as Lightning takes it: forward, losses, backward, optimiser.

    Raises:
        TrainingError: from the method itself, when a loss is not finite.
    """
    from lightning import Callback, Trainer
    from torch.utils.data import DataLoader

    from zsad_bench.planning.configure import build
    from zsad_bench.runner.train import trainer_options

    class Clock(Callback):
        started, seconds = 0.0, 0.0

        def on_train_batch_start(self, trainer, method, batch, batch_idx):
            self.started = now(device)

        def on_train_batch_end(self, trainer, method, outputs, batch, batch_idx):
            self.seconds = now(device) - self.started  # the last step is the one that counts

    loaded = reset_peak(device)
    method = build(name, backbone, overrides, seed=0)
    table = RandomTable(method.config.image_size, steps=2)
    method.begin_training(table.categories())
    method.begin_stage(next(stage for stage in method.stages() if stage.name == stage_name))
    clock = Clock()
    trainer = Trainer(
        max_epochs=1,
        logger=False,
        callbacks=[clock],
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        **trainer_options() | {"accelerator": "gpu" if device == "cuda" else "cpu"},
    )
    trainer.fit(method, DataLoader(table, batch_size=None))
    losses = {key: float(value) for key, value in trainer.callback_metrics.items()}
    return {"seconds": clock.seconds, "loaded_mib": loaded, "peak_mib": peak(device), "losses": losses}


class RandomTable:
    """Training batches, and the categories that methods are told of."""

    def __init__(self, size: int, steps: int) -> None:
        self.batches = random_batches(size, TRAIN_BATCH, steps)

    def categories(self) -> list[Category]:
        return [_category(name) for name in CLASSES]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Batch:
        return self.batches[index]


def random_batches(size: int, batch_size: int, count: int) -> list[Batch]:
    """Normal and anomalous images in turn, of one category each; anomalous ones have a square mask."""
    import torch

    from zsad_bench.types import Batch, SampleInfo

    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(batch_size) % 2
    masks = torch.zeros(batch_size, size, size, dtype=torch.bool)
    masks[labels == 1, size // 4 : size // 2, size // 3 : size // 2] = True
    samples = [SampleInfo(f"random/{i}.png", _category(CLASSES[i % len(CLASSES)])) for i in range(batch_size)]
    return [
        Batch(torch.randn(batch_size, 3, size, size, generator=generator), labels, masks, samples) for _ in range(count)
    ]


def _category(name: str) -> Category:
    from zsad_bench.types import Category

    return Category("random", name, name.replace("_", " "), "object", "industrial")


def timed(work: Callable[[], Any], device: str) -> tuple[float, Any]:
    """Seconds, and what the work returned."""
    started = now(device)
    result = work()
    return now(device) - started, result


def now(device: str) -> float:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter()


def reset_peak(device: str) -> float:
    """MiB in use; `peak` counts from here. On a CPU only Linux can forget: elsewhere the peak of loading stays."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")  # loading has a peak of its own: hashing copies each matrix
    return peak(device)


def peak(device: str) -> float:
    """MiB: resident memory of this process, or on a GPU what tensors took."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / MIB
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / MIB if sys.platform == "darwin" else used / 1024
