"""A method, ready to score photos: on the weights that are found, from a checkpoint, or as it comes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import torch

from zsad_bench import registry
from zsad_bench.backbones.load import load_backbone, weights_at_hand
from zsad_bench.errors import CheckpointError, UsageError
from zsad_bench.inspection.onnx_scorer import OnnxScorer
from zsad_bench.inspection.scorer import MethodScorer, Scorer, not_single_images
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.planning.configure import build, trains
from zsad_bench.planning.suite import DEMO, PAPER
from zsad_bench.runner import checkpoint as checkpoints
from zsad_bench.types import Category

SHIPPED = "shipped"  # what an opened scorer's checkpoint is called when it came with the package
TINY = (
    "the tiny CLIP that comes with the package has never seen a photograph: its scores show how the tool works, not "
    "what a method finds; give --backbone and --weights of a real CLIP (docs/predict.md)"
)


@dataclass(frozen=True)
class OpenedScorer:
    """about: title, method, backbone, checkpoint, identity, configuration, for predictions.json. warning: one line on
    what the scores are worth, or "". category: what the scorer's texts are fixed to; None: any that is asked for."""

    scorer: Scorer
    about: Mapping[str, Any]
    warning: str = ""
    category: Category | None = None


@dataclass(frozen=True)
class MethodChoice:
    """Which method, on which weights, with what it learned; nothing of it is loaded yet.

    checkpoint: a file, the package's own for the tiny CLIP (`shipped`), or None.
    """

    method: str
    backbone: str
    weights: str | None
    checkpoint: Path | None
    shipped: Traversable | None
    settings: Mapping[str, Any]

    @property
    def tiny(self) -> bool:
        return self.backbone == DEMO.backbone


@dataclass(frozen=True)
class LoadedMethod:
    """method: in eval mode, on the CPU; untrained, where it learns and there is no checkpoint. training: what its
    checkpoint learned from, {} without one. checkpoint: its path, `SHIPPED`, or None. warning: as of an `OpenedScorer`.
    """

    method: ZeroShotMethod
    training: Mapping[str, Any]
    checkpoint: str | None
    warning: str


def choose_method(
    name: str | None, checkpoint: Path | None, backbone: str | None, weights: str | None, settings: Mapping[str, Any]
) -> MethodChoice:
    """A method by name, from a checkpoint, or both, which then have to agree.

    Without `backbone`: the checkpoint's, else the papers' where weights of it are found, else the tiny CLIP. On the
    tiny CLIP methods that train have a checkpoint in the package, as far as `demo_checkpoint` has one.

    Raises:
        UsageError: neither name nor checkpoint, settings beside a checkpoint. UnknownNameError: no such method.
        CheckpointError: missing, damaged, or of another method.
    """
    if name is None and checkpoint is None:
        raise UsageError("give --method NAME, --checkpoint FILE or --onnx FILE; `zsad-bench ls methods` lists names")
    if checkpoint is not None and settings:
        raise UsageError(f"--checkpoint {checkpoint} brings its configuration; leave out --set {', '.join(settings)}")
    header = None if checkpoint is None else checkpoints.read_header(checkpoint)
    if header is not None and name not in (None, header.method):
        raise CheckpointError(f"checkpoint {checkpoint}: is of {header.method}, asked for {name}; leave out --method")
    method = header.method if header is not None else str(name)
    named, tag = (backbone, weights) if backbone else _usual_backbone(method, header, weights)
    plain = checkpoint is None and not settings
    shipped = demo_checkpoint(method) if named == DEMO.backbone and plain and trains(method) else None
    return MethodChoice(method, named, tag, checkpoint, shipped, settings)


def require_learned(choice: MethodChoice) -> None:
    """Raises UsageError for a method that learns, where nothing says what it learned."""
    if trains(choice.method, choice.settings) and not (choice.checkpoint or choice.shipped):
        raise UsageError(
            f"{choice.method} learns from auxiliary data; give --checkpoint FILE: `zsad-bench bench --method "
            f"{choice.method} --prior rich` writes runs/…/{choice.method}.safetensors"
        )


def require_image_by_image(choice: MethodChoice) -> None:
    """Raises UsageError for a method that scores sets of images together, however it is configured."""
    cls = registry.load("methods", choice.method)
    if cls.transductive:
        raise not_single_images(cls.title)


def load_method(choice: MethodChoice, precision: str = "float32") -> LoadedMethod:
    """The method on its backbone.

    Raises:
        BackboneError, CheckpointError, UsageError: from loading.
    """
    backbone = load_backbone(choice.backbone, choice.weights, precision)
    warning = TINY if choice.tiny else ""
    if choice.checkpoint is not None:
        built, header = checkpoints.load(choice.checkpoint, backbone, choice.method)
        return LoadedMethod(built.eval(), header.training, str(choice.checkpoint), warning)
    if choice.shipped is not None:
        with as_file(choice.shipped) as path:
            built, header = checkpoints.load(path, backbone, choice.method)
        return LoadedMethod(built.eval(), header.training, SHIPPED, warning)
    usual = DEMO.overrides_for(choice.method) if choice.tiny else {}
    built = build(choice.method, backbone, {**usual, **choice.settings}, 0)
    return LoadedMethod(built.eval(), {}, None, warning)


def open_method(loaded: LoadedMethod, device: str) -> OpenedScorer:
    """The method as a scorer on a device.

    Raises:
        UsageError: it scores sets of images together.
    """
    method = loaded.method
    scorer = MethodScorer(method, device)
    about = {
        "title": scorer.title, "method": method.registry_name(), "version": method.version,
        "identity": scorer.identity, "backbone": method.backbone.id, "precision": method.backbone.precision,
        "image_size": scorer.image_size, "checkpoint": loaded.checkpoint, "config": method.resolved_config(),
        "device": device,
    }  # fmt: skip
    return OpenedScorer(scorer, about, loaded.warning)


def open_onnx(path: Path) -> OpenedScorer:
    """A graph of `zsad-bench export onnx` as a scorer. category: what its texts call the images.

    Raises:
        OnnxError: onnxruntime is not installed, or the file is missing, damaged or another program's.
    """
    scorer = OnnxScorer(path)
    header = scorer.header
    about = {
        "title": scorer.title, "method": header.method, "version": header.version, "identity": scorer.identity,
        "backbone": header.backbone, "precision": "float32", "image_size": scorer.image_size,
        "checkpoint": str(path), "config": header.config, "device": "cpu",
    }  # fmt: skip
    tiny = header.backbone.partition("@")[0] == DEMO.backbone
    return OpenedScorer(scorer, about, TINY if tiny else "", header.category)


def demo_checkpoint(method: str) -> Traversable | None:
    """The file of the package with what a method learned from the generated images, on the tiny CLIP; None if none."""
    file = files("zsad_bench.inspection") / "demo" / f"{method}.safetensors"
    return file if file.is_file() else None


def device_of(asked: str) -> str:
    """`auto` is a GPU where torch finds one, else the CPU.

    Raises:
        UsageError: a GPU was asked for, and there is none.
    """
    found = torch.cuda.is_available()
    if asked == "cuda" and not found:
        raise UsageError("--device cuda: torch finds no GPU here; leave it out, or see `zsad-bench doctor`")
    return ("cuda" if found else "cpu") if asked == "auto" else asked


def _usual_backbone(method: str, header: checkpoints.Header | None, weights: str | None) -> tuple[str, str | None]:
    if header is not None:
        return header.backbone.partition("@")[0], weights
    named, tag = PAPER.backbone_for(method)
    if weights or weights_at_hand(named, tag):
        return named, weights or tag
    return DEMO.backbone, DEMO.weights
