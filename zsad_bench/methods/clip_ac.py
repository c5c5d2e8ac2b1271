"""CLIP-AC, zero-shot CLIP with the prompt ensemble recommended for ImageNet; nothing is trained.

The row "CLIP-AC" of the AnomalyCLIP (arXiv 2310.18961, appendix) and FAPrompt tables: CLIP as in `clip`, but each
state's text is the mean over 80 templates of `normal [cls]` and `anomalous [cls]`. The exact wording of the two labels
is not published and decides much, so they are an option. WinCLIP's tables use the same name for two bare labels on
another backbone: the two rows have nothing to do with each other.

Templates: openai/CLIP (MIT), see prompts/clip_ac.yaml.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from zsad_bench.backbones.clip import Backbone
from zsad_bench.backbones.maps import predict_from, scaled_sigma, unit
from zsad_bench.errors import UsageError
from zsad_bench.methods._config import check_bounds, default
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.prompts.names import ClassNames, class_name
from zsad_bench.prompts.reader import read
from zsad_bench.types import Category, Features, PosInterp, Prediction, SampleInfo, Tap


@dataclass(frozen=True)
class ClipAcConfig:
    """Defaults of the comparison tables; all but the first three as in `clip`.

    labels: normal, anomalous; `{}` is the category's name. None is the pair of prompts/clip_ac.yaml.
    templates: sentences in whose `{}` a label goes; empty is the 80 of prompts/clip_ac.yaml.
    class_names: the dataset's own readable ones; `raw` is the reading of the published row (`_` becomes a blank).
    """

    labels: tuple[str, str] | None = None
    templates: tuple[str, ...] = ()
    class_names: ClassNames = "prompt_name"
    image_size: int = 518
    pos_interp: PosInterp = "bilinear"
    temperature: float = 0.07
    block: int | None = None
    first_vv_block: int = 0
    global_ln_post: bool = True
    align_corners: bool = True
    gaussian_sigma: float | None = None


class ClipAc(ZeroShotMethod):
    title = "CLIP-AC"
    paper = "arXiv 2103.00020; as a ZSAD baseline: arXiv 2310.18961, appendix"
    Config = ClipAcConfig

    @classmethod
    def resolve(cls, config: ClipAcConfig, backbone: Backbone) -> ClipAcConfig:
        labels = read("clip_ac")["labels"]
        resolved = replace(
            config,
            labels=default(config.labels, (labels["normal"], labels["anomalous"])),
            block=default(config.block, backbone.n_blocks),
            gaussian_sigma=default(config.gaussian_sigma, scaled_sigma(4.0, config.image_size)),
        )
        check_bounds(cls.title, resolved, above_zero=("temperature",), gaussian_sigma=0, first_vv_block=0)
        for template in resolved.templates:
            if "{}" not in template:
                raise UsageError(f"{cls.title}: template '{template}' has no {{}} for the label; add one")
        return resolved

    def requests(self) -> tuple[frozenset[Tap], frozenset[bool]]:
        return frozenset({self._tap()}), frozenset({self.config.global_ln_post})

    def _tap(self) -> Tap:
        return Tap(self.config.block, self.config.first_vv_block)

    def sentences(self, category: Category) -> list[list[str]]:
        """Of a category, per state (normal first), every template with the state's label in it."""
        name = class_name(category, self.config.class_names)
        labels = [label.replace("{}", name) for label in self.config.labels]
        templates = self.config.templates or read("clip_ac")["templates"]
        return [[template.replace("{}", label) for template in templates] for label in labels]

    def pair(self, categories: Sequence[Category]) -> Tensor:
        """Sentences normalised, averaged per state, normalised again, as open_clip's zero-shot classifier does."""
        texts = [state for category in categories for state in self.sentences(category)]
        encoded = unit(self.backbone.encode_prompts([sentence for state in texts for sentence in state]))
        return unit(encoded.unflatten(0, (len(categories), 2, -1)).mean(2))

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        text, c = self.text_of(samples), self.config
        return predict_from(
            features, self._tap(), c.global_ln_post, text, c.temperature, c.gaussian_sigma, c.align_corners
        )
