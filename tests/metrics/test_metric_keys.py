# pytest tests/metrics/test_metric_keys.py
"""The one table of metrics: what it declares is what is computed, at every level and in every mode."""

from __future__ import annotations

import pytest
import torch

from zsad_bench import metric_keys
from zsad_bench.metrics import IMAGE_KEYS, PIXEL_KEYS
from zsad_bench.metrics.category import CategoryMetrics
from zsad_bench.metrics.functional.binned import BINNED_KEYS
from zsad_bench.metrics.functional.image import OF_RANKING
from zsad_bench.metrics.functional.pixel import OF_SORTED
from zsad_bench.metrics.image import ImageMetrics
from zsad_bench.metrics.pixel_state import LOCAL, PixelMetrics
from zsad_bench.metrics.values import MetricValue, by_key

DECLARED = {"image": set(IMAGE_KEYS), "pixel": set(PIXEL_KEYS), "both": {*IMAGE_KEYS, *PIXEL_KEYS}}
MODES = {
    "exact": {"mode": "exact"},
    "binned": {"mode": "binned"},
    "beyond the budget": {"budget": 10},
    "without local": {"local": False},
    "float64": {"dtype": torch.float64},
}
pytestmark = [
    pytest.mark.filterwarnings("ignore:binned pixel_aupro may be off"),
    pytest.mark.filterwarnings("ignore:aupimo. .* normal pixels are too few"),
    pytest.mark.filterwarnings("ignore:.*before the ``update`` method"),
]


def images(labels: list[int], side: int = 8) -> tuple[torch.Tensor, ...]:
    maps = torch.rand((len(labels), side, side), generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(maps.shape, dtype=torch.bool)
    masks[torch.tensor(labels) == 1, 2:4, 2:5] = True
    return maps.amax((1, 2)), torch.tensor(labels), maps, masks


@pytest.mark.parametrize("labels", [[0, 1, 0, 1], [0, 0], [1, 1], []], ids=["both", "normal", "anomalous", "none"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("level", DECLARED)
def test_what_is_declared_is_what_is_computed(level: str, mode: str, labels: list[int]) -> None:
    metrics = CategoryMetrics(level, **({} if level == "image" else MODES[mode]))
    if labels:
        metrics.update(*images(labels))
    found = metrics.compute()
    assert set(found) == DECLARED[level]
    for key, value in found.items():
        assert (value.value != value.value) == bool(value.reason), f"{key}: a value or a reason, found {value}"


def test_the_states_alone_have_them_too() -> None:
    scores, labels, maps, masks = images([0, 1, 1])
    image, pixel = ImageMetrics(), PixelMetrics()
    image.update(scores, labels)
    pixel.update(maps, masks)
    assert tuple(image.compute()) == IMAGE_KEYS
    assert tuple(pixel.compute()) == tuple(pixel.kept_result().values) == PIXEL_KEYS


def test_every_key_has_one_function_and_every_function_a_key() -> None:
    assert set(OF_RANKING) == set(IMAGE_KEYS)
    assert {*OF_SORTED, *LOCAL} == set(PIXEL_KEYS)
    assert not OF_SORTED.keys() & LOCAL.keys()
    assert set(BINNED_KEYS) <= set(OF_SORTED)


def test_the_table_is_well_formed() -> None:
    found = [metric.key for metric in metric_keys.METRICS]
    assert len(found) == len(set(found)) == len(set(metric_keys.titles().values())), "a key or a title twice"
    assert {metric.level for metric in metric_keys.METRICS} == {"image", "sample", "pixel"}
    assert metric_keys.columns(terminal=True).keys() <= metric_keys.columns().keys() <= metric_keys.titles().keys()


def test_a_key_without_a_function_says_where_to_look() -> None:
    with pytest.raises(KeyError, match=r"image_x is declared in metric_keys.py, and nothing computes it"):
        by_key(("image_x",), {})
    found = by_key(("a", "b", "c"), {"c": 0.5, "a": MetricValue(float("nan"), "why"), "b": float("nan")})
    assert [(value.value == value.value, value.reason) for value in found.values()] == [
        (False, "why"), (False, "undefined here"), (True, None),
    ]  # fmt: skip
