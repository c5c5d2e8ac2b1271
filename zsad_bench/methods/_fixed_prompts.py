"""What CLIP and CLIP-AC share: one visual request, one score; only their sentences differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from zsad_bench.backbones.base import Backbone
from zsad_bench.methods._config import check_bounds, default
from zsad_bench.methods._scoring import pooled_name, predict_from, scaled_sigma
from zsad_bench.methods.base import MethodConfig, ZeroShotMethod, filled
from zsad_bench.prompts.names import ClassNames
from zsad_bench.types import Features, Pooled, Prediction, SampleInfo, Tap


@dataclass(frozen=True)
class FixedPromptConfig(MethodConfig):
    """Defaults of the comparison tables.

    class_names: the dataset's own readable ones; `raw` is the reading of the published row (`_` becomes a blank).
    temperature: 0.07 as in that lineage of code (CLIP's own learned one is 0.01).
    block: None is the last. gaussian_sigma: None is 4 px at 518 px, scaled with the image.
    first_vv_block: 0 is the plain path, as in the tables; another number reads the maps from the V-V path.
    global_ln_post: False imitates runs made with the AnomalyCLIP code base.
    """

    class_names: ClassNames = "prompt_name"
    temperature: float = 0.07
    block: int = filled()
    first_vv_block: int = 0
    global_ln_post: bool = True
    align_corners: bool = True
    gaussian_sigma: float = filled()


FixedPromptT = TypeVar("FixedPromptT", bound=FixedPromptConfig)


class FixedPrompts(ZeroShotMethod[FixedPromptT]):
    """A training-free method that only has to say its sentences (`text_pair`)."""

    needs = frozenset({"text", "cls"})
    paper = "arXiv 2103.00020; as a ZSAD baseline: arXiv 2310.18961, appendix"

    @classmethod
    def resolve(cls, config: FixedPromptT, backbone: Backbone) -> FixedPromptT:
        config = super().resolve(config, backbone)
        resolved = replace(
            config,
            block=default(config.block, backbone.vision.n_blocks),
            gaussian_sigma=default(config.gaussian_sigma, scaled_sigma(4.0, config.image_size)),
        )
        check_bounds(cls.title, resolved, above_zero=("temperature",), gaussian_sigma=0, first_vv_block=0)
        return resolved

    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        return frozenset({self._tap()}), frozenset({pooled_name(self.config.global_ln_post)})

    def _tap(self) -> Tap:
        return Tap(self.config.block, self.config.first_vv_block)

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Score: the global feature's anomalous probability. Map: the patches', up-sampled, then Gaussian."""
        text, c = self.text_for(samples), self.config
        pooled = pooled_name(c.global_ln_post)
        return predict_from(features, self._tap(), pooled, text, c.temperature, c.gaussian_sigma, c.align_corners)
