"""Mosaics in training, for methods whose released training has them (APRIL-GAN, AdaCLIP, FiLo, Bayes-PFL).

A method asks for them in its `Stage`; the data makes them (`data/mosaic.py`), since they need other images of a
category. A mosaic's label is the largest of its four images', which is that of its mask.
"""

from __future__ import annotations

from collections.abc import Mapping

from zsad_bench.errors import UsageError

RELEASED = {"mvtec": 0.2}  # dataset -> share of its training images; of any other none


def mosaics(title: str, share: float | None, released: Mapping[str, float] = RELEASED) -> Mapping[str, float]:
    """What `Stage.mosaic` is to be. share: of all auxiliary data; None is that of the released training, by dataset.

    Raises:
        UsageError: a share that is not from 0 to 1.
    """
    if share is None:
        return released
    if not 0 <= share <= 1:
        raise UsageError(f"{title}: mosaic_prob={share}; expected 0 to 1, or null for the released training's")
    return {"*": share} if share else {}
