"""What can be put into and behind the frozen visual tower: attention to a bank of descriptions, and residual offsets.

Axes: B images, N patches, G descriptions, C vision width, D joint width, h heads. Linear weights are left unset: the
owner draws them. Proposed by DIVE (arXiv 2606.29428).
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import skip_init

from zsad_bench.backbones.clip import Backbone
from zsad_bench.backbones.maps import unit

_BANKS: WeakKeyDictionary[Backbone, dict[tuple[str, ...], Tensor]] = WeakKeyDictionary()


def description_bank(backbone: Backbone, sentences: Sequence[str]) -> Tensor:
    """(G,D) normalised plain text features of sentences, without gradient; encoded once for each backbone."""
    banks, key = _BANKS.setdefault(backbone, {}), tuple(sentences)
    if key not in banks:
        with torch.no_grad():
            banks[key] = unit(backbone.encode_prompts(key))
    return banks[key].to(backbone.device)


class CrossInjection(nn.Module):
    """One multi-head cross-attention from patches to descriptions, with LayerNorms on both sides.

    The key projection has no bias: under the softmax it would have no effect, and only noise as gradient. No dropout,
    no residual and no MLP inside.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_q, self.ln_kv = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q_proj = skip_init(nn.Linear, width, width)
        self.k_proj = skip_init(nn.Linear, width, width, bias=False)
        self.v_proj = skip_init(nn.Linear, width, width)
        self.out_proj = skip_init(nn.Linear, width, width)

    def forward(self, patches_BNC: Tensor, bank_GC: Tensor) -> Tensor:
        """(B,N,C): what the descriptions have to say to every patch."""
        query, key = self._query_and_key(patches_BNC, bank_GC)
        value = self._split(self.v_proj(self.ln_kv(bank_GC)))
        batch = (len(patches_BNC), -1, -1, -1)
        mixed = F.scaled_dot_product_attention(query, key.expand(batch), value.expand(batch))
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def attention(self, patches_BNC: Tensor, bank_GC: Tensor) -> Tensor:
        """(B,h,N,G): how much each patch attends to each description; sums to one over G. O(B h N G) memory."""
        query, key = self._query_and_key(patches_BNC, bank_GC)
        return (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1)

    def _query_and_key(self, patches_BNC: Tensor, bank_GC: Tensor) -> tuple[Tensor, Tensor]:
        return self._split(self.q_proj(self.ln_q(patches_BNC))), self._split(self.k_proj(self.ln_kv(bank_GC)))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)


class Offset(nn.Module):
    """A residual branch: fc2(relu(fc1(z))), (B,D) to (B,D)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = skip_init(nn.Linear, width, hidden), skip_init(nn.Linear, hidden, width)

    def forward(self, z_BD: Tensor) -> Tensor:
        return self.fc2(F.relu(self.fc1(z_BD)))
