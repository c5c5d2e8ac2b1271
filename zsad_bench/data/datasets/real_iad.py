"""Real-IAD: thirty small products, each object photographed from five sides, with masks and sample-level metrics."""

from __future__ import annotations

from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.views import MultiViewDataModule

_NAMES = (
    "audiojack bottle_cap button_battery end_cap eraser fire_hood mint mounts pcb phone_battery plastic_nut "
    "plastic_plug porcelain_doll regulator rolled_strip_base sim_card_set switch tape terminalblock toothbrush toy "
    "toy_brick transistor1 u_block usb usb_adaptor vcpill wooden_beads woodstick zipper"
).split()
# Chosen here where the folder's name is no English: the authors state no names for prompts.
_PROMPTS = {
    "audiojack": "audio jack", "pcb": "printed circuit board", "sim_card_set": "SIM card set",
    "terminalblock": "terminal block", "transistor1": "transistor", "u_block": "U-shaped block", "usb": "USB plug",
    "usb_adaptor": "USB adaptor", "vcpill": "vitamin C pill", "woodstick": "wooden stick",
}  # fmt: skip
_TYPES = ("AK", "BX", "CH", "HS", "PS", "QS", "YW", "ZW")


class RealIad(MultiViewDataModule):
    """variant: `multi_view` tests five views of each object; `single_view` the view from above alone, by a split of its
    own. The splits with noisy training data (`realiad_jsons_fuiad_*`) are not read: nothing here trains on them.

    Types are the release's: AK pit, BX deformation, CH abrasion, HS scratch, PS damage, QS missing part, YW foreign
    object, ZW contamination. The copies of 1024, 512 and 256 pixels and the raw one have the same names; one is read,
    1024 first, as the authors' experiments do. Files, JSON keys and counts are from the authors' loader (Apache-2.0),
    anomalib's, and a public count of a copy's JSON files; no copy was at hand.
    """

    title = "Real-IAD"
    domain = "industrial"
    level = "both"
    licence = "CC BY-NC-SA 4.0 (as anomalib states it)"
    redistribute = False
    url = "https://realiad4ad.github.io/Real-IAD"
    citation = (
        "Wang et al., Real-IAD: a real-world multi-view dataset for benchmarking versatile industrial anomaly "
        "detection, IEEE/CVF Conference on Computer Vision and Pattern Recognition (2024)"
    )
    category_cards = tuple(CategoryCard(n, _PROMPTS.get(n, n.replace("_", " ")), "object") for n in _NAMES)
    anomaly_types = dict.fromkeys(_NAMES, _TYPES)
    variants = {"multi_view": Expected(63256, 51329, "S"), "single_view": Expected(10387, 9415, "S")}
    one_view = frozenset({"single_view"})
    json_folders = {"multi_view": ("realiad_jsons",), "single_view": ("realiad_jsons_sv",)}
    image_folders = ("realiad_1024", "realiad_512", "realiad_256", "realiad_raw")
    root_names = ("Real-IAD", "RealIAD", "real_iad")
    how_to_get = (
        "ask for it at its home page, unpack realiad_jsons.zip, and each category's archive into realiad_1024/ beside "
        "it"
    )
    raw_looks_like = "realiad_jsons/{category}.json beside realiad_1024/{category}/"
