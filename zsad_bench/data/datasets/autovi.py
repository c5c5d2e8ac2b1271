"""AutoVI: six parts of cars, photographed on Renault's assembly lines; parts missing, loose, hidden or out of place.

Layout, licence, links and their hashes are those of its loader in anomalib (Apache-2.0, commit 08b47a0); counts and
types were counted on the files by others, in a published notebook. Nobody has run this file on the download.
"""

from __future__ import annotations

from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.fetch import Download
from zsad_bench.data.public import PublicDataModule

_SHA256 = {  # of the six archives, as pinned by anomalib
    "engine_wiring": "252590d3249f7fbdf83a7e9b735ef0df175adc218460247e9a63bef1c03d420c",
    "pipe_clip": "955bb17b3a471e23979f46f998a4723acd00cf3afc4d5edf0578dfb6ea80d6c3",
    "pipe_staple": "fb9287f2cc86d660310e9886fdebbe2bd17269e853e29d06d708c6a996df1b18",
    "tank_screw": "48d7193164b36de03cc10c9f7b1b64ea98a0ce7aa57867c8f1d96341c497b4b0",
    "underbody_pipes": "fc1e53336d46fb2317d71e95c011bac012b609f2898fdb02780c920c19a113c7",
    "underbody_screw": "3e9bf6a43033a22c7c9f927a43c392a3b037d22580a27a48d379d4504d9cc6cf",
}


class Autovi(PublicDataModule):
    """The official test split; a category's types are its folders of `test/`.

    Masks are in a folder per anomalous image, `ground_truth/{type}/{stem}/0000.png`, and united where several are.
    sPRO at a false-positive rate of 0.05, the metric of its authors, is not computed here.
    """

    title = "AutoVI"
    domain = "industrial"
    level = "both"
    licence = "CC BY-NC-SA 4.0"
    redistribute = False
    url = "https://doi.org/10.5281/zenodo.10459003"
    citation = (
        "Carvalho et al., The automotive visual inspection dataset (AutoVI): a genuine industrial production dataset "
        "for unsupervised anomaly detection, Zenodo (2024)"
    )
    category_cards = tuple(CategoryCard(name, name.replace("_", " "), "object") for name in _SHA256)
    variants = {"official": Expected(1521, 878, "S")}
    root_names = ("AutoVI", "autovi", "AutoVI_1.0.0")
    how_to_get = "download its six archives from Zenodo, and unpack them side by side into one folder"
    downloads = tuple(
        Download(f"https://zenodo.org/records/10459003/files/{name}.zip?download=1", sha256, "zip", name)
        for name, sha256 in _SHA256.items()
    )
    ask_consent = True
    raw_is_mvtec_style = True
    unverified = "layout and masks are read as others describe them; never run on the download"
    anomaly_types = {
        "engine_wiring": ("blue_hoop", "cardboard", "fastening", "multiple", "obstruction"),
        "pipe_clip": ("operator", "unclipped"),
        "pipe_staple": ("missing",),
        "tank_screw": ("missing",),
        "underbody_pipes": ("multiple", "obstruction", "operator"),
        "underbody_screw": ("missing",),
    }
