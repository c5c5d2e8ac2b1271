"""Losses of the prompt learners, as pure functions of maps and masks.

Axes: B images, H W pixels; channel 0 normal, 1 anomalous. Maps are probabilities at mask size, before smoothing.
Formulas: shared by the released AnomalyCLIP and FAPrompt code (MIT); written from their behaviour.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

FOCAL_SMOOTHING = 1e-5
DICE_SMOOTHING = 1.0

DiceOver = Literal["per_image", "per_row"]


def focal(probs_B2HW: Tensor, masks_BHW: Tensor, gamma: float = 2.0) -> Tensor:
    """Mean focal loss of two-channel probabilities; a scalar.

    With q = (1-e) p_true + e p_other + e, the loss of a pixel is -(1-q)^gamma log q; no class weight.
    probs: float in [0, 1], channels about summing to one. masks: bool or {0, 1}.
    """
    anomalous = masks_BHW.to(probs_B2HW.dtype)
    normal_p, anomalous_p = probs_B2HW[:, 0], probs_B2HW[:, 1]
    p_true = anomalous * anomalous_p + (1 - anomalous) * normal_p
    p_other = anomalous * normal_p + (1 - anomalous) * anomalous_p
    q = (1 - FOCAL_SMOOTHING) * p_true + FOCAL_SMOOTHING * p_other + FOCAL_SMOOTHING
    return (-((1 - q) ** gamma) * q.log()).mean()


def dice(map_BHW: Tensor, target_BHW: Tensor, over: DiceOver = "per_image") -> Tensor:
    """One minus the mean Dice overlap; a scalar in [0, 1] for maps in [0, 1].

    over: the overlap is that of an image, or of one row of pixels of an image. The latter is what released code with
    one image per batch computes (AdaCLIP, FiLo): it drops the batch axis, and the rows take its place. A row without
    a target counts too, by the smoothing.
    """
    first_axis = {"per_image": 1, "per_row": 2}[over]  # the first of those that one overlap sums over
    target = target_BHW.to(map_BHW.dtype).flatten(first_axis)
    flat = map_BHW.flatten(first_axis)
    overlap = (flat * target).sum(-1)
    return 1 - ((2 * overlap + DICE_SMOOTHING) / (flat.sum(-1) + target.sum(-1) + DICE_SMOOTHING)).mean()


def mask_losses(
    probs_B2HW: Tensor, masks_BHW: Tensor, dice_over: DiceOver = "per_image"
) -> tuple[Tensor, Tensor, Tensor]:
    """Focal, Dice of the anomalous channel, Dice of the normal channel against the rest; three scalars."""
    masks = masks_BHW.to(probs_B2HW.dtype)
    return (
        focal(probs_B2HW, masks),
        dice(probs_B2HW[:, 1], masks, dice_over),
        dice(probs_B2HW[:, 0], 1 - masks, dice_over),
    )


def class_mean_focal(logits_BHW: Tensor, masks_BHW: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss, the mean over all anomalous pixels of the batch plus that over all normal ones; a scalar.

    logits: of the anomalous state, any real numbers. A batch without pixels of a kind has nothing of it. The loss of
    Bayes-PFL (arXiv 2503.10080), with its 1e-8 in the logarithm and in both counts.
    """
    eps, anomalous = 1e-8, masks_BHW.to(logits_BHW.dtype)
    p_true = torch.where(masks_BHW.bool(), logits_BHW, -logits_BHW).sigmoid()
    loss = -((1 - p_true) ** gamma) * (p_true + eps).log()
    kinds = (anomalous, 1 - anomalous)
    return torch.stack([(loss * kind).sum() / (kind.sum() + eps) for kind in kinds]).sum()


def batch_dice(map_BHW: Tensor, masks_BHW: Tensor) -> Tensor:
    """One minus the Dice overlap of all images of a batch together; a scalar in [0, 1] for maps in [0, 1].

    The loss of Bayes-PFL, smoothed by 1e-5: a batch without a target is at 1 unless its maps are 0.
    """
    eps, target = 1e-5, masks_BHW.to(map_BHW.dtype)
    return 1 - (2 * (map_BHW * target).sum() + eps) / (map_BHW.sum() + target.sum() + eps)


def squared_cosines(unit_BMD: Tensor) -> Tensor:
    """Mean over all entries of the squared cosine matrices of B sets of M unit vectors, their diagonals as 0; a scalar.

    Summed over states, Bayes-PFL's orthogonality of the prompts of its bank.
    """
    cosines = unit_BMD @ unit_BMD.mT
    off_diagonal = 1 - torch.eye(unit_BMD.shape[1], dtype=unit_BMD.dtype, device=unit_BMD.device)
    return (cosines * off_diagonal).square().mean()


def squared_cosine(one_BD: Tensor, other_BD: Tensor) -> Tensor:
    """Mean squared cosine between two sets of vectors, image by image; 0 orthogonal, 1 parallel; a scalar.

    Each norm is kept above 1e-8. The penalty that DIVE (arXiv 2606.29428) puts on its two offsets.
    """
    return F.cosine_similarity(one_BD, other_BD, dim=-1, eps=1e-8).square().mean()


def binary_focal(score_B: Tensor, labels_B: Tensor, gamma: float = 2.0, from_logits: bool = False) -> Tensor:
    """Mean over images of (1 - exp(-b))^gamma * b, b the binary cross-entropy; a scalar, no class weight.

    score: probabilities (held away from 0 and 1 by 1e-7), or with `from_logits` any real number. labels: {0, 1}.
    """
    target = labels_B.to(score_B.dtype)
    if from_logits:
        b = F.binary_cross_entropy_with_logits(score_B, target, reduction="none")
    else:
        b = F.binary_cross_entropy(score_B.clamp(1e-7, 1 - 1e-7), target, reduction="none")
    return ((1 - (-b).exp()) ** gamma * b).mean()


def absolute_cosines(features_KD: Tensor) -> Tensor:
    """(K*(K-1)/2,): |cos| of every two of K features, in [0, 1]; summed, it pulls them towards orthogonality."""
    unit_KD = features_KD / features_KD.norm(dim=-1, keepdim=True)
    first, second = torch.triu_indices(len(unit_KD), len(unit_KD), offset=1, device=unit_KD.device)
    cosines: Tensor = (unit_KD @ unit_KD.T)[first, second]
    return cosines.abs()
