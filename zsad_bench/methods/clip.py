"""CLIP, zero-shot: one normal and one anomalous sentence per category; nothing is trained.

The row "CLIP" of the AnomalyCLIP (arXiv 2310.18961, appendix) and FAPrompt tables. The two sentences are read from
that appendix; results are sensitive to them, so they are options. Its maps come from the plain last block, which in
CLIP's large towers is known to be inverted on many objects (published pixel AUROC below 0.5): not corrected here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from zsad_bench.methods._fixed_prompts import FixedPromptConfig, FixedPrompts
from zsad_bench.methods._scoring import l2_normalize
from zsad_bench.prompts.names import class_name
from zsad_bench.types import Category


@dataclass(frozen=True)
class ClipConfig(FixedPromptConfig):
    """The two sentences; `{}` is the category's name."""

    normal_prompt: str = "A photo of a normal {}"
    anomalous_prompt: str = "A photo of an anomalous {}"


class Clip(FixedPrompts[ClipConfig]):
    title = "CLIP"
    Config = ClipConfig

    def text_pair(self, categories: Sequence[Category]) -> Tensor:
        templates = (self.config.normal_prompt, self.config.anomalous_prompt)
        names = [class_name(c, self.config.class_names) for c in categories]
        texts = [template.replace("{}", name) for name in names for template in templates]
        encoded = self.backbone.encode_prompts(texts, activation=self.config.activation)
        pairs: Tensor = l2_normalize(encoded).unflatten(0, (-1, 2))
        return pairs
