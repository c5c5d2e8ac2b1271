# pytest tests/golden/test_metrics.py
"""Every entry of every metrics*.json against our functions; the maps are in the .npz of the same name.

null in a golden file means undefined (or, for the 200-step routine, that it failed): ours must be nan there.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from goldens import golden_params, golden_paths

from zsad_bench.metrics.category import CategoryMetrics
from zsad_bench.metrics.functional.aupro import aupro, aupro_legacy200
from zsad_bench.metrics.functional.regions import label_regions

TOLERANCE = 1e-6
MACRO_KEYS = {f"{level}/{name}": f"{level}_{name}" for level in ("image", "pixel") for name in ("auroc", "ap", "f1max")}
MACRO_KEYS["aupro/exact"] = "pixel_aupro"
RCPRO_OPTIONS = {
    "default": {},
    "step_right": {"interpolation": "step"},
    "excess_union": {"excess": "union"},
    "excess_area": {"excess": "area"},
    "tau_0": {"tau": 0.0},
    "tau_0p5": {"tau": 0.5},
    "theta_1": {"theta": 1.0},
    "per_image_mean": {"aggregate": "image"},
    "anomalous_images_only": {"include_normal": False},
}

Case = dict[str, np.ndarray]
Compared = Iterator[tuple[str, float | None, float | None]]  # what, ours (None: not built yet), golden


def read(path: Path) -> tuple[dict[str, Any], dict[str, Case]]:
    """The golden numbers and the arrays by case."""
    with np.load(path) as arrays:
        cases: dict[str, Case] = {}
        for key in arrays.files:
            case, name = key.rsplit("/", 1)
            cases.setdefault(case, {})[name] = arrays[key]
    return json.loads(path.with_suffix(".json").read_text(encoding="utf-8")), cases


def ours(case: Case) -> dict[str, float]:
    """All values of a case, fed one image at a time as a test run may do."""
    metrics = CategoryMetrics("both")
    for score, label, map_HW, mask_HW in zip(*(torch.from_numpy(case[k]) for k in ARRAYS), strict=True):
        metrics.update(score[None], label[None], map_HW[None], mask_HW[None])
    return {key: value.value for key, value in metrics.compute().items()}


ARRAYS = ("image_scores", "image_labels", "maps", "masks")


def compare_image(case: Case, golden: dict[str, Any]) -> Compared:
    values = ours(case)
    yield from ((key, values.get(f"image_{key}"), number) for key, number in golden.items())


def compare_pixel(case: Case, golden: dict[str, Any]) -> Compared:
    values = ours(case)
    yield from ((key, values.get(f"pixel_{key}"), number) for key, number in golden.items())


def compare_aupro(case: Case, golden: dict[str, Any]) -> Compared:
    maps, masks = case["maps"], case["masks"]
    values = ours(case)
    for key, number in golden.items():
        if key == "exact":
            yield key, values["pixel_aupro"], number
        elif key == "exact_conn4":
            yield key, aupro(maps, masks, connectivity=4), number
        elif key.startswith("exact_lim"):
            yield key, aupro(maps, masks, fpr_limit=float(key.removeprefix("exact_lim"))), number
        elif key == "peer_200_steps_fpr_rescaled":
            yield key, values["pixel_aupro_legacy200"], number
            yield f"{key} (function)", aupro_legacy200(maps, masks), number
        elif not key.startswith("peer_"):  # other peers are for reading only
            yield key, None, number


def compare_rcpro(case: Case, golden: dict[str, Any]) -> Compared:
    module = built("rcpro")
    for key in RCPRO_OPTIONS.keys() & golden.keys():
        yield key, module.rcpro(case["maps"], case["masks"], exact=True, **RCPRO_OPTIONS[key]), golden[key]


def compare_rcpro_conn4(case: Case, golden: float) -> Compared:
    yield "conn4", built("rcpro").rcpro(case["maps"], case["masks"], exact=True, connectivity=4), golden


def compare_aupimo(case: Case, golden: dict[str, Any]) -> Compared:
    mean, per_image = built("aupimo").aupimo(case["maps"], case["masks"], fpr_bounds=(1e-2, 1e-1))
    yield "mean", mean, golden["mean"]
    assert len(per_image) == len(golden["per_image"]), "aupimo: one value for each anomalous image"
    yield from ((f"image {i}", *pair) for i, pair in enumerate(zip(per_image, golden["per_image"], strict=True)))


def compare_regions(connectivity: int) -> Callable[[Case, int], Compared]:
    def compare(case: Case, golden: int) -> Compared:
        yield "regions", sum(label_regions(mask > 0, connectivity)[1] for mask in case["masks"]), golden

    return compare


def compare_n_images(case: Case, golden: int) -> Compared:
    yield "images", len(case["maps"]), golden


COMPARE: dict[str, Callable[[Case, Any], Compared]] = {
    "image": compare_image,
    "pixel": compare_pixel,
    "aupro": compare_aupro,
    "rcpro": compare_rcpro,
    "rcpro_conn4": compare_rcpro_conn4,
    "aupimo_1e-2_1e-1": compare_aupimo,
    "n_images": compare_n_images,
    "n_regions_8": compare_regions(8),
    "n_regions_4": compare_regions(4),
}


def built(metric: str) -> ModuleType:
    """The metric's module; skips by name until there is one."""
    name = f"zsad_bench.metrics.functional.{metric}"
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{metric}: not built yet")
    return importlib.import_module(name)


def entries() -> list:
    """(file, entry) for every kind of entry that some case of a metrics file has."""
    found = []
    for path in golden_paths("metrics"):
        numbers = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        names = dict.fromkeys(name for case in numbers["cases"].values() for name in case)
        found += [pytest.param(path, name, id=f"{path.stem}-{name}") for name in names]
    return found


def differs(value: float, golden: float | None) -> bool:
    return not math.isnan(value) if golden is None else not abs(value - golden) <= TOLERANCE


@pytest.mark.filterwarnings("ignore:aupro_legacy200 is undefined")
@pytest.mark.parametrize(("path", "entry"), entries())
def test_entry(path: Path, entry: str) -> None:
    if entry not in COMPARE:
        pytest.skip(f"{path.name}: entry '{entry}' is of no metric built yet")
    numbers, cases = read(path)
    compared, wrong, not_built = 0, [], set()
    for name, golden in numbers["cases"].items():
        if entry not in golden:
            continue
        for what, value, number in COMPARE[entry](cases[name], golden[entry]):
            compared += 1
            if value is None:
                not_built.add(what)
            elif differs(value, number):
                wrong.append(f"{name} {what}: ours {value!r}, golden {number!r}")
    assert not wrong, f"{path.name}, {entry}:\n" + "\n".join(wrong)
    assert compared, f"{path.name}: nothing was compared for '{entry}'"
    if not_built:
        pytest.skip(f"{path.name}, {entry}: not built yet: {', '.join(sorted(not_built))} (the rest agrees)")


@pytest.mark.parametrize("path", golden_params("metrics"))
def test_macro_means(path: Path) -> None:
    numbers, cases = read(path)
    values = [ours(cases[name]) for name in numbers["meta"]["macro_over"]]
    for entry, golden in numbers["meta"]["macro"].items():
        if entry not in MACRO_KEYS:
            continue  # rcpro: its own entry of `cases` skips by name
        column = [value[MACRO_KEYS[entry]] for value in values if not math.isnan(value[MACRO_KEYS[entry]])]
        assert len(column) == golden["n"], f"{entry}: {len(column)} categories are defined, golden says {golden['n']}"
        assert not differs(float(np.mean(column)), golden["mean"]), f"{entry}: the mean over categories differs"


@pytest.mark.parametrize("path", golden_params("metrics"))
def test_a_category_without_a_defect_is_undefined(path: Path) -> None:
    _, cases = read(path)
    clean = {name: case for name, case in cases.items() if not case["masks"].any()}
    for name, case in clean.items():
        defined = [key for key, value in ours(case).items() if key.startswith("pixel") and not math.isnan(value)]
        assert not defined, f"{path.name} {name}: no anomalous pixel, yet {defined} have a value"
