"""What a test or a training takes on one GPU, planned from parts that were measured: nothing is run.

`measured_parts.yaml` has, for each method on a full-size backbone, the seconds of one test image and of one training
step of each stage. A test is so many images; a training so many epochs of auxiliary images, at the pace per image of
the measured step. An image costs less in a larger batch, so trainings with batches of eight are planned from above.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from zsad_bench import registry, yaml12
from zsad_bench.planning.configure import build, trains
from zsad_bench.planning.suite import PAPER

# Settings that multiply the work of their method, or add a network that the parts were measured without.
_OTHER_WORK = {"boxes", "ensemble"}


class Part(NamedTuple):
    """seconds: of a test image, or of a training step. memory_mib: the largest while it ran."""

    seconds: float
    memory_mib: float


@dataclass(frozen=True)
class MethodParts:
    """image: a test image alone, texts cached. steps: one of each stage, in their order; () where nothing trains."""

    backbone: str
    image_size: int
    image: Part
    steps: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Parts:
    """device, precision, weights: that all parts were measured with. source: the page that says how.

    step_images: images of a measured training step.
    """

    device: str
    precision: str
    weights: str
    source: str
    step_images: int
    methods: Mapping[str, MethodParts]

    def of(self, method: str, settings: Mapping[str, Any], backbone: str = "") -> MethodParts | None:
        """The parts of a method in the paper suite; None where they were never measured.

        backbone: what it runs on; "" is the suite's choice. A variant takes those of its method as it is. Never
        measured are other backbones, FiLo with a detector, and ensembles. Where images score one another, what one
        takes depends on how many there are.
        """
        parts = self.methods.get(method)
        if parts is None or parts.backbone != (backbone or PAPER.backbone_for(method)[0]) or scores_sets(method):
            return None
        return None if any(settings.get(name, "none") != "none" for name in _OTHER_WORK) else parts

    def test_seconds(self, method: str, settings: Mapping[str, Any], n_images: int, backbone: str = "") -> float | None:
        """Of testing a method alone on so many images; None where unknown. backbone: as in `of`."""
        parts = self.of(method, settings, backbone)
        return None if parts is None else n_images * parts.image.seconds

    def train_seconds(
        self, method: str, settings: Mapping[str, Any], n_images: int, backbone: str = ""
    ) -> float | None:
        """Of one training on so many auxiliary images; 0 for a method that does not train, None where unknown.

        backbone: as in `of`.
        """
        if not learns(method, frozen(settings)):
            return 0.0
        parts = self.of(method, settings, backbone)
        if parts is None:
            return None
        each = zip(epochs(method, frozen(settings)), parts.steps, strict=True)
        return sum(n * n_images * step.seconds / self.step_images for n, step in each)

    def assumption(self) -> str:
        """The sentence that belongs beside planned hours."""
        return (
            f"Planned on one {self.device} from measured parts ({self.source}): {self.precision}, one seed, each "
            "method alone. A test is images x seconds of a test image, a training is epochs x auxiliary images x "
            f"seconds of a training step per image (in batches of {self.step_images}; in larger ones it costs less). A "
            "variant takes what its method takes. Reading images and metrics are not in it. – was never measured."
        )


def encoding_seconds(parts: Parts) -> float:
    """Of one image in the frozen tower: a test image of CLIP without what scoring, up-sampling and smoothing take.

    These are taken from the center prior, which does nothing else. It is derived, not measured.
    """
    return parts.methods["clip"].image.seconds - parts.methods["center_prior"].image.seconds


@cache
def read_parts() -> Parts:
    """The parts that ship with the package."""
    return parse((files(__package__) / "measured_parts.yaml").read_text(encoding="utf-8"))


def parse(text: str) -> Parts:
    """The parts of a file: `methods` has the seconds and MiB of an image, and of a step of each stage."""
    content = yaml12.load(text)
    methods = {
        name: MethodParts(of["backbone"], of["image_size"], Part(*of["image"]), tuple(Part(*at) for at in of["steps"]))
        for name, of in content["methods"].items()
    }
    return Parts(**{**content, "methods": methods})


def scores_sets(method: str) -> bool:
    """Whether images of a category score one another, so that their cost grows faster than their number."""
    return bool(registry.load("methods", method).fewest_images > 1)


def frozen(settings: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Settings as a key."""
    return tuple(sorted(settings.items()))


@cache
def learns(method: str, settings: tuple[tuple[str, Any], ...]) -> bool:
    """Whether a method trains with these settings."""
    return trains(method, dict(settings))


@cache
def epochs(method: str, settings: tuple[tuple[str, Any], ...]) -> tuple[int, ...]:
    """Epochs of each stage of a training with these settings.

    Built on the backbone that ships with the package, which has no say in how long a method trains.
    """
    from zsad_bench.backbones.load import load_backbone

    built = build(method, load_backbone("tiny", None), dict(settings), seed=0)
    return tuple(stage.epochs for stage in built.stages())
