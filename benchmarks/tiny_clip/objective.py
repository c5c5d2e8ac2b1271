"""The three pretraining losses of the tiny CLIP, as pure functions.

Axes: B images, C captions, N patches, D joint width. Similarities are cosines divided by 0.07, the constant that
the methods use, so that their probabilities are calibrated on this backbone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 0.07


def contrastive(image_BD: Tensor, text_BD: Tensor, fits_BB: Tensor, scale: Tensor) -> Tensor:
    """Symmetric InfoNCE; `fits[i, j]`: caption j also describes image i, so it is no negative of it."""
    logits = scale * image_BD @ text_BD.T
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(fits_BB & ~own, float("-inf"))
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def state(image_BD: Tensor, own_BD: Tensor, opposite_BD: Tensor) -> Tensor:
    """An image against its own caption and the same thing in the opposite state (a hard negative)."""
    return F.softplus((image_BD * (opposite_BD - own_BD)).sum(-1) / TEMPERATURE).mean()


def dense(patch_BND: Tensor, normal_BD: Tensor, abnormal_BD: Tensor, coverage_BN: Tensor) -> Tensor:
    """BCE (defective patches weigh 10, grazed ones are ignored) + 0.3 dice of patches against the two states."""
    logit = torch.einsum("bnd,bd->bn", patch_BND, abnormal_BD - normal_BD) / TEMPERATURE
    target = (coverage_BN > 0.12).float()
    grazed = (coverage_BN > 0.01) & (coverage_BN <= 0.12)
    weight = (1 + 9 * target) * (~grazed)
    bce = (F.binary_cross_entropy_with_logits(logit, target, reduction="none") * weight).sum() / weight.sum()
    prob = logit.sigmoid() * (~grazed)
    dice = 1 - (2 * (prob * target).sum(1) + 1) / (prob.sum(1) + target.sum(1) + 1)
    return bce + 0.3 * dice.mean()
