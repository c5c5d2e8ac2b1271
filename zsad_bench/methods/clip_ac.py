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

from zsad_bench.backbones.base import Backbone
from zsad_bench.errors import UsageError
from zsad_bench.methods._config import default
from zsad_bench.methods._fixed_prompts import FixedPromptConfig, FixedPrompts
from zsad_bench.methods._scoring import l2_normalize
from zsad_bench.methods.base import filled
from zsad_bench.prompts.load import read
from zsad_bench.prompts.names import class_name
from zsad_bench.types import Category


@dataclass(frozen=True)
class ClipAcConfig(FixedPromptConfig):
    """The ensemble.

    labels: normal, anomalous; `{}` is the category's name. None is the pair of prompts/clip_ac.yaml.
    templates: sentences in whose `{}` a label goes; empty is the 80 of prompts/clip_ac.yaml.
    """

    labels: tuple[str, str] = filled()
    templates: tuple[str, ...] = ()


class ClipAc(FixedPrompts[ClipAcConfig]):
    title = "CLIP-AC"
    Config = ClipAcConfig

    @classmethod
    def resolve(cls, config: ClipAcConfig, backbone: Backbone) -> ClipAcConfig:
        labels = read("clip_ac")["labels"]
        for template in config.templates:
            if "{}" not in template:
                raise UsageError(f"{cls.title}: template '{template}' has no {{}} for the label; add one")
        both = default(config.labels, (labels["normal"], labels["anomalous"]))
        return super().resolve(replace(config, labels=both), backbone)

    def sentences(self, category: Category) -> list[list[str]]:
        """Of a category, per state (normal first), every template with the state's label in it."""
        name = class_name(category, self.config.class_names)
        labels = [label.replace("{}", name) for label in self.config.labels]
        templates = self.config.templates or read("clip_ac")["templates"]
        return [[template.replace("{}", label) for template in templates] for label in labels]

    def text_pair(self, categories: Sequence[Category]) -> Tensor:
        """Sentences normalised, averaged per state, normalised again, as open_clip's zero-shot classifier does."""
        texts = [state for category in categories for state in self.sentences(category)]
        sentences = [sentence for state in texts for sentence in state]
        encoded = l2_normalize(self.backbone.encode_prompts(sentences, activation=self.config.activation))
        return l2_normalize(encoded.unflatten(0, (len(categories), 2, -1)).mean(2))
