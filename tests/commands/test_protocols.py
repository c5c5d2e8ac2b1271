# pytest tests/commands/test_protocols.py
"""Protocols as a user meets them: listed, asked for, refused in one line, and compared under."""

from __future__ import annotations

import csv

import pytest

from tests.made_up_rows import make_row
from zsad_bench.results.rows import append


def test_protocols_are_listed_with_what_is_missing(zsad):
    said = zsad("ls", "protocols")
    assert said.code == 0, said.err
    assert [line.split()[0] for line in said.out.splitlines() if line[:1].islower()][1:] == [
        "demo", "dive", "faprompt", "synthetic", "visa2026",
    ]  # fmt: skip
    assert "visa2026: visa, mvtec for visa; ViT-L-14-336-quickgelu at 518 px" in " ".join(said.out.split())


def test_what_a_protocol_does_not_have_is_one_line(refused):
    bench = ("bench", "--method", "clip")
    assert "missing --prior SPEC[,SPEC…]; or --protocol NAME" in refused(2, *bench)
    assert "unknown protocol 'visa2025'; did you mean visa2026" in refused(2, *bench, "--protocol", "visa2025")
    assert "prior 'rich': protocol visa2026 has visa2026" in refused(
        2, *bench, "--protocol", "visa2026", "--prior", "rich"
    )
    under = ("--protocol", "visa2026", "--suite", "demo")
    assert "protocol visa2026 is for suite paper, found suite demo" in refused(2, *bench, *under)
    assert "unknown protocol 'visa'" in refused(2, "table", "compare", "--protocol", "visa")
    assert "no such folder of rows" in refused(1, "table", "compare")


def test_compare_says_what_differs(zsad, refused, tmp_path):
    row = {
        "suite": "paper", "method": "anomalyclip", "variant": 'fidelity="official"', "prior": "rich",
        "auxiliary": "mvtec", "target": "btad", "value": 0.9,
        "backbone": "ViT-L-14-336-quickgelu", "image_size": 518,
    }  # fmt: skip
    other = {**row, "prior": "visa2026", "auxiliary": "visa", "value": 0.8}
    whole = [("01", 70, 49), ("02", 230, 200), ("03", 441, 41)]  # 741 images, 290 of them anomalous
    counts = [{"category": name, "n_images": n, "n_anomalous": bad} for name, n, bad in whole]
    rows = tmp_path / "leaderboards" / "paper" / "rows" / "r.jsonl"
    append(rows, [make_row(**of, **category) for of in (row, other) for category in counts])
    said = zsad("table", "compare", "--out", "out")
    assert said.code == 0, said.err
    with (tmp_path / "out" / "compare.csv").open(newline="") as file:
        found = {(line["table"], line["prior"]): line for line in csv.DictReader(file)}
    # AnomalyCLIP on BTAD is in FAPrompt's Table 1, and a baseline of VisualAD.
    printed = float(found["faprompt_1", "rich"]["published"])
    assert float(found["faprompt_1", "rich"]["difference"]) == pytest.approx(0.9 - printed)
    assert found["faprompt_1", "visa2026"]["why_not"] == "auxiliary set visa, the paper mvtec"
    assert found["visualad", "visa2026"]["why_not"].startswith(
        "backbone, image size and auxiliary data of the baselines"
    )
    assert all(not line["difference"] for where, line in found.items() if where != ("faprompt_1", "rich"))
    said = zsad("table", "compare", "--protocol", "faprompt", "--prior", "rich", "--dataset", "btad", "--out", "out")
    assert "Δ, measured minus printed, is shown for 1 of 1 pairs" in " ".join(said.out.split())
    assert "none of 3 rows" in refused(1, "table", "compare", "--prior", "rich", "--method", "dive")
