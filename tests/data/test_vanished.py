# pytest tests/data/test_vanished.py
"""The line on vanished masks names the dataset, the count and the size; without such masks there is no line."""

from __future__ import annotations

import pytest

from zsad_bench.data.vanished import MEANING, vanished


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"wood": (3, 40)}, "ds: 3 of 40 anomalous images have no marked pixel left at 96 px"),
        ({"wood": (1, 4)}, "ds: 1 of 4 anomalous images has no marked pixel left at 96 px"),
        (
            {"wood": (2, 10), "tile": (0, 30), "zip": (1, 5)},
            "ds: 3 of 45 anomalous images have no marked pixel left at 96 px (wood 2 of 10, zip 1 of 5)",
        ),
        (
            {f"c{i}": (1, 2) for i in range(8)},
            "ds: 8 of 16 anomalous images have no marked pixel left at 96 px "
            "(c0 1 of 2, c1 1 of 2, c2 1 of 2, c3 1 of 2 and 4 more categories)",
        ),
    ],
)
def test_one_line_a_dataset(counts, said):
    assert vanished("ds", counts, 96) == [f"{said}; {MEANING}"]


def test_nothing_is_said_where_none_has():
    assert vanished("ds", {"wood": (0, 40), "tile": (0, 0)}, 96) == []
    assert vanished("ds", {}, 96) == []
