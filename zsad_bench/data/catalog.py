"""The datasets that people have on disk: which are registered, and whether one is still packed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zsad_bench import registry
from zsad_bench.data import files, locations

if TYPE_CHECKING:
    from zsad_bench.data.base import ZeroShotDataModule


def real() -> list[type[ZeroShotDataModule]]:
    """Registered datasets that are neither generated nor the user's own: industrial before medical, pixels last."""
    from zsad_bench.data.demo.module import DemoDataModule
    from zsad_bench.data.user_data import OwnDataModule

    every = registry.classes("datasets").values()
    published = [cls for cls in every if not issubclass(cls, (DemoDataModule, OwnDataModule))]
    return sorted(published, key=lambda cls: (cls.domain, cls.level == "pixel", cls.name))


def packed(cls: type[ZeroShotDataModule]) -> list[str]:
    """Names of archives under ZSAD_DATA that are called like a dataset's folder, and like no other's more closely."""
    root = locations.data_root()
    if root is None:
        return []
    others = [other for other in real() if other is not cls]
    return [
        name
        for name in files.archives(root)
        if (own := _likeness(cls, name)) and own >= max((_likeness(other, name) for other in others), default=0)
    ]


def _likeness(cls: type[ZeroShotDataModule], archive: str) -> int:
    """Letters of the longest of a dataset's names that an archive's name begins with: mvtec_ad_2 is not mvtec."""
    return max(len(name) if archive.lower().startswith(name.lower()) else 0 for name in (*cls.root_names, cls.name))
