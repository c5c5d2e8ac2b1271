# pytest tests/results/test_dataframe.py
"""Rows as a pandas table: every field, with types that one can calculate with."""

from __future__ import annotations

from tests.made_up_rows import make_row
from zsad_bench.results.dataframe import frame
from zsad_bench.results.row import FIELDS


def test_every_field_is_a_column_and_counts():
    rows = [make_row(value=0.1 + 0.2, n_regions=None), make_row(category="b", value=None, reason="no anomalous pixel")]
    found = frame(rows)
    assert tuple(found.columns) == FIELDS
    assert found["value"].tolist()[0] == 0.1 + 0.2, "a value is not bit for bit"
    assert found["value"].isna().tolist() == [False, True], "an undefined value must be nan"
    assert found["value"].mean() == 0.1 + 0.2, "an undefined value enters a mean"
    assert found["n_regions"].isna().tolist()[0], "an absent count must be absent"
    assert found["n_images"].sum() == sum(row.n_images for row in rows)
    assert str(found["started"].dt.tz) == "UTC"


def test_no_rows_are_a_table_with_columns():
    assert (len(frame([])), tuple(frame([]).columns)) == (0, FIELDS)
