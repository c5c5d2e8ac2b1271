"""A toy that edits all tokens of both towers: a learned step in front of each block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsad_bench.backbones.base import Backbone
from zsad_bench.methods.base import MethodConfig, Stage, ZeroShotMethod
from zsad_bench.types import Batch, Category, Features, Pooled, Prediction, SampleInfo, Tap


@dataclass(frozen=True)
class EditsConfig(MethodConfig):
    """first_vv_block: of the path that patches are read from; 0 is the plain one."""

    first_vv_block: int = 0
    epochs: int = 1
    batch_size: int = 4
    lr: float = 0.01
    seed: int = 0


class Edits(ZeroShotMethod[EditsConfig]):
    title = "Toy: edits"
    Config = EditsConfig
    needs = frozenset({"text"})
    encoder_trains = True

    def __init__(self, backbone: Backbone, config: EditsConfig | None = None) -> None:
        super().__init__(backbone, config)
        generator = torch.Generator().manual_seed(self.config.seed)
        seen, read = (
            (backbone.vision.n_blocks, backbone.vision.width),
            (backbone.text_tower.n_blocks, backbone.text_tower.width),
        )
        self.seen = nn.Parameter(0.1 * torch.randn(*seen, generator=generator))
        self.seen_by_class = nn.Parameter(0.1 * torch.randn(*seen, generator=generator))  # the class token's own
        self.read = nn.Parameter(0.1 * torch.randn(*read, generator=generator))

    def tap(self) -> Tap:
        return Tap(self.backbone.vision.n_blocks, self.config.first_vv_block)

    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        return frozenset({self.tap()}), frozenset({"cls"})

    def stages(self) -> list[Stage]:
        c = self.config
        return [Stage("steps", c.epochs, c.batch_size, optimizer=lambda p: torch.optim.Adam(p, lr=c.lr))]

    def encode(self, images: Tensor, samples: Sequence[SampleInfo]) -> Features:
        def edit(block: int, tokens: Tensor) -> Tensor:
            steps = torch.stack([self.seen_by_class[block - 1], *[self.seen[block - 1]] * (tokens.shape[1] - 1)])
            return tokens + steps

        return self.encoder(images, samples, edit)

    def text_pair(self, categories: Sequence[Category]) -> Tensor:
        texts = [f"a photo of a {state} {c.prompt_name}" for c in categories for state in ("good", "broken")]
        tower = self.backbone.text_tower
        ids = tower.tokenize(texts)
        encoded = self.backbone.encode_text(
            tower.embed_tokens(ids),
            tower.end_of_text(ids),
            edit=lambda block, tokens: tokens + self.read[block - 1],
        )
        pairs: Tensor = F.normalize(encoded, dim=-1).unflatten(0, (-1, 2))
        return pairs

    def logits(self, rows_BND: Tensor, samples: Sequence[SampleInfo]) -> Tensor:
        return 10 * F.normalize(rows_BND, dim=-1) @ self.text_for(samples).mT

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        image = self.logits(features.pooled("cls")[:, None], samples).softmax(-1)[:, 0, 1]
        patches = self.logits(features.patches(self.tap()), samples).softmax(-1)[..., 1]
        return Prediction(image, F.interpolate(patches.unflatten(1, features.grid)[:, None], features.image_size)[:, 0])

    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        # Patches too: behind the last block's step nothing else of it is read but the class token.
        rows = torch.cat([features.pooled("cls")[:, None], features.patches(self.tap())], 1)
        logits = self.logits(rows, batch.samples).mean(1)
        return {"image": F.cross_entropy(logits, batch.labels)}

    @classmethod
    def learns_from(cls, config: EditsConfig) -> Literal["labels"]:
        return "labels"
