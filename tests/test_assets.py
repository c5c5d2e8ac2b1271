# pytest tests/test_assets.py
from __future__ import annotations

import csv
from pathlib import Path

import pytest

from zsad_bench import assets


def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "zsad_bench"
    package.mkdir()
    monkeypatch.setattr(assets, "_PACKAGE", package)
    return package


@pytest.mark.parametrize("name", ["recipes", "published"])
def test_packaged_folder_comes_first_then_the_checkouts(name, tmp_path, monkeypatch):
    package = _package(tmp_path, monkeypatch)
    checkout = tmp_path / {"recipes": "benchmarks", "published": "leaderboards"}[name] / name
    checkout.mkdir(parents=True)
    assert assets.data_folder(name) == checkout, "without packaged data the checkout's folder is the one"
    packaged = package / "_data" / name
    packaged.mkdir(parents=True)
    assert assets.data_folder(name) == packaged, "a wheel must read its own copy, not a folder that lies beside it"


def test_a_damaged_installation_is_one_clear_line(tmp_path, monkeypatch):
    _package(tmp_path, monkeypatch)
    with pytest.raises(FileNotFoundError, match=r"recipes: expected .* found neither; reinstall") as error:
        assets.data_folder("recipes")
    assert "\n" not in str(error.value), "the message must be one line"


def test_published_numbers_are_there_and_are_percent():
    tables = sorted(assets.data_folder("published").glob("*.csv"))
    assert {t.name for t in tables} >= {"faprompt_tables_1_2.csv", "dive_averages.csv"}
    for table in tables:
        with table.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        assert rows, f"{table.name} is empty"
        for row in rows:
            assert 0 <= float(row["value"]) <= 100, f"{table.name}: {row} is not in percent"


def test_faprompt_tables_reproduce_the_papers_own_averages():
    """The transcription against Table 3 of the paper: industrial, image level, without mvtec: 88.5 and 87.5."""
    with (assets.data_folder("published") / "faprompt_tables_1_2.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 594, "FAPrompt's Tables 1 and 2 hold 594 numbers"
    for metric, printed in {"image_auroc": 88.5, "image_ap": 87.5}.items():
        values = [
            float(row["value"])
            for row in rows
            if (row["method"], row["domain"], row["metric"]) == ("faprompt", "industrial", metric)
            and row["dataset"] != "mvtec"
        ]
        mean = sum(values) / len(values)
        assert abs(mean - printed) <= 0.1, f"{metric}: mean {mean:.2f} of {len(values)}, the paper prints {printed}"


def test_anomalyvfms_tables_reproduce_its_readmes_averages():
    """RADIO over nine industrial sets, as the README of the repository prints them beside its other methods."""
    with (assets.data_folder("published") / "anomalyvfm_repository.csv").open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["backbone"] == "radio"]
    nine = {"btad", "dagm", "dtd", "ksdd2", "ksdd_whole", "mpdd", "mvtec", "real_iad", "visa"}
    printed = {"image_auroc": 94.5, "image_f1max": 89.2, "image_ap": 93.2, "pixel_auroc": 96.3, "pixel_f1max": 44.8,
               "pixel_ap": 44.1, "pixel_aupro": 89.3}  # fmt: skip
    for metric, average in printed.items():
        values = [float(row["value"]) for row in rows if row["metric"] == metric and row["dataset"] in nine]
        assert len(values) == 9
        assert abs(sum(values) / 9 - average) <= 0.06, f"{metric}: {sum(values) / 9:.2f}, the README prints {average}"
