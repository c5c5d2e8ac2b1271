"""MVTec LOCO AD: five products with logical anomalies (a part too many, in the wrong place) and structural ones.

Layout, mask rule and licence are those of its loader in anomalib (Apache-2.0, commit 0aa3fc4) and of the listing of a
public copy; counts are those of the paper's table, as others print it and count it on files. Nobody has run this file
on the download.
"""

from __future__ import annotations

from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.public import PublicDataModule
from zsad_bench.errors import DatasetError
from zsad_bench.types import Sample

_CATEGORIES = "breakfast_box juice_bottle pushpins screw_bag splicing_connectors"
_KIND = {"logical": "logical_anomalies", "structural": "structural_anomalies"}


class MvtecLoco(PublicDataModule):
    """variant: `all` anomalies; `logical` or `structural` ones alone, as published tables list them, beside all normal
    test images.

    Each anomalous image has a folder of masks, one per defect: `Sample.masks` lists them one by one, and a loader
    unites them. sPRO, the metric of its authors, needs them apart and the saturation areas of `defects_config.json`;
    it is not computed here, and AUPRO on the united masks is not sPRO. The images of `validation/` are not tested.
    """

    title = "MVTec LOCO AD"
    domain = "industrial"
    level = "both"
    licence = "CC BY-NC-SA 4.0"
    redistribute = False
    url = "https://www.mvtec.com/company/research/datasets/mvtec-loco"
    citation = (
        "Bergmann et al., Beyond dents and scratches: logical constraints in unsupervised anomaly detection and "
        "localization, International Journal of Computer Vision 130 (2022)"
    )
    category_cards = tuple(CategoryCard(name, name.replace("_", " "), "object") for name in _CATEGORIES.split())
    variants = {
        "all": Expected(575, 993, "S"),
        "logical": Expected(575, 561, "S"),
        "structural": Expected(575, 432, "S"),
    }
    root_names = ("mvtec_loco_anomaly_detection", "mvtec_loco", "MVTec-LOCO", "MVTec_LOCO_AD", "mvtec_loco_AD", "LOCO")
    how_to_get = "register at its home page, then unpack mvtec_loco_anomaly_detection.tar.xz"
    raw_is_mvtec_style = True
    unverified = "layout and masks are read as others describe them; never run on the download"
    anomaly_types = dict.fromkeys(_CATEGORIES.split(), tuple(_KIND.values()))

    def compose(self, samples: list[Sample]) -> list[Sample]:
        """All samples, or the normal ones and those of one kind.

        Raises:
            DatasetError: one kind was asked for, and a prepared copy does not say which images are of it.
        """
        if self.variant not in _KIND:
            return samples
        wanted = _KIND[self.variant]
        if unknown := sorted({s.anomaly_type for s in samples if s.label} - set(_KIND.values())):
            raise DatasetError(
                f"{self.name}: variant {self.variant} needs {' and '.join(_KIND.values())} to be told apart, found "
                f"{', '.join(unknown)} in {self.root}; take the download, or variant all"
            )
        return [sample for sample in samples if sample.label == 0 or sample.anomaly_type == wanted]
