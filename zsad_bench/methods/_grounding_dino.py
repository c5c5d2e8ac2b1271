"""Grounding DINO by transformers (the extra `transformers`): boxes with scores and phrases for a query.

Paper: Liu et al., ECCV 2024, arXiv 2303.05499. Weights: a folder in the format of transformers, or a model of the hub.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zsad_bench.backbones.hub import cached_weights, reachable
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.methods._boxes import Found

INSTALL = "pip install 'zsad-bench[transformers]'"
WEIGHTS = ("model.safetensors",)  # nothing that would have to be unpickled
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of all released weights


def check_detector(source: str, title: str) -> None:
    """Raises UsageError where transformers is missing, or `source` is neither a folder nor the name of a model.

    Quick: nothing is loaded, and the hub is not asked. title: of the method, for messages.
    """
    if find_spec("transformers") is None:
        raise UsageError(f"{title}: boxes=grounding_dino needs transformers; {INSTALL}, or take --set boxes=none")
    if not Path(source).is_dir() and not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", source):
        raise UsageError(
            f"{title}: detector={source}: no such folder, and not the name of a model on the hub (owner/name); give "
            "the folder of a Grounding DINO, or take --set boxes=none"
        )


def load_detector(source: str, title: str) -> Detector:
    """The detector of a folder, or of the hub's cache or the hub.

    Raises:
        UsageError: as `check_detector`. BackboneError: out of reach, damaged, or not a Grounding DINO.
    """
    check_detector(source, title)
    what = f"{title}: detector {source}"
    local = Path(source).is_dir() or cached_weights(f"{source}/", WEIGHTS, what) is not None
    if not local:
        from huggingface_hub import constants

        if constants.HF_HUB_OFFLINE or not reachable(constants.ENDPOINT):
            raise BackboneError(
                f"{what} is not on this machine and the model hub is out of reach; give its folder with --set "
                "detector=FOLDER, or take --set boxes=none"
            )
    transformers: Any = importlib.import_module("transformers")
    bars: Any = importlib.import_module("transformers.utils.logging")
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        config = transformers.AutoConfig.from_pretrained(source, local_files_only=local)
        if config.model_type != "grounding-dino":
            raise BackboneError(f"{what} is a {config.model_type}, not a Grounding DINO; give the folder of one")
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, local_files_only=local)
        model = transformers.GroundingDinoForObjectDetection.from_pretrained(
            source, local_files_only=local, use_safetensors=True, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:  # what it raises for files that lack
        reason = str(error).strip().split("\n")[0][:160] or type(error).__name__
        raise BackboneError(f"{what} cannot be loaded ({reason}); give the folder of a Grounding DINO") from None
    finally:
        if shown:
            bars.enable_progress_bar()
    return Detector(model, tokenizer)


class Detector(nn.Module):
    """A Grounding DINO with its tokenizer."""

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer

    @torch.no_grad()
    def forward(self, images: Tensor, queries: Sequence[Sequence[str]], threshold: float) -> list[Found]:
        """Each image's boxes; images (B,3,H,W), RGB in [0, 1], queries B lists of texts. One image at a time.

        A box's score is the largest probability of a token, its phrase all tokens above `threshold`.

        Raises:
            UsageError: texts of more tokens than the detector reads.
        """
        return [self._detect(image, caption(texts), threshold) for image, texts in zip(images, queries, strict=True)]

    def _detect(self, image: Tensor, text: str, threshold: float) -> Found:
        mean, std = (torch.tensor(each, device=image.device)[:, None, None] for each in (MEAN, STD))
        tokens = self.tokenizer(text, return_tensors="pt").to(image.device)
        ids = tokens["input_ids"]
        longest = int(self.model.config.max_text_len)  # type: ignore[union-attr, arg-type]  # of transformers
        if ids.shape[1] > longest:
            raise UsageError(f"a query of {ids.shape[1]} tokens, the detector reads {longest}; shorten: {text!r}")
        answer = self.model(
            pixel_values=((image - mean) / std)[None],
            input_ids=ids,
            token_type_ids=tokens.get("token_type_ids"),
            attention_mask=tokens["attention_mask"],
        )
        probabilities = answer.logits[0].sigmoid()[:, : ids.shape[1]]
        scores = probabilities.amax(1)
        phrases = [""] * len(scores)
        for number in (scores > threshold).nonzero()[:, 0].tolist():
            chosen = probabilities[number] > threshold
            chosen[[0, -1]] = False  # the marks of begin and end
            phrases[number] = self.tokenizer.decode(ids[0][chosen])
        return Found(answer.pred_boxes[0], scores, phrases)


def caption(texts: Sequence[str]) -> str:
    """Texts as one lower-case query, separated by full stops and closed by one."""
    return f"{' . '.join(texts).lower().strip()}."
