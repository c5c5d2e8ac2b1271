# pytest tests/leaderboard/test_dive_claim.py
"""The answers about DIVE's claim from made-up scores whose direction is known, and what they say when they cannot."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from tests.made_up_rows import make_row
from zsad_bench.errors import RowError
from zsad_bench.leaderboard.statistics import dive_claim
from zsad_bench.leaderboard.statistics.dive_claim import (
    AGNOSTIC,
    BARE,
    DIVE,
    ENTANGLED,
    METRIC,
    NAMING,
    Answer,
    ClaimData,
    answers,
)
from zsad_bench.leaderboard.tables.dive_claim import table
from zsad_bench.results.class_embeddings import Classes, distance, read_classes, write_classes
from zsad_bench.results.image_scores import write_scores
from zsad_bench.results.prior_contents import Kept, read_kept, write_kept

TYPES = ["good"] * 30 + ["Metal_Crack"] * 15 + ["stain"] * 15 + ["other"] * 5
KEPT = Kept("limited", 0, {"aux": {"leather": {"good": 9, "metal crack": 4}}})
# The angle to leather grows from carpet to screw.
CLASSES = {"leather": (1.0, 0.0), "carpet": (0.96, 0.28), "felt": (0.8, 0.6), "nut": (0.6, 0.8), "screw": (0.0, 1.0)}
# What each side lifts scores by: of seen cracks, and of stains that no auxiliary image shows.
LIFT = {DIVE: (1.5, 3.0), ENTANGLED: (1.5, 0.5), BARE: (3.0, 3.0), AGNOSTIC: (1.5, 1.5), NAMING[0]: (3.5, 3.5)}
GAIN = {"carpet": 0.01, "felt": 0.02, "nut": 0.03, "screw": 0.04}


@pytest.fixture
def world(tmp_path):
    """world(kept): the rows of five sides on four categories, with what lies beside the rows."""

    def make(kept: Kept = KEPT) -> ClaimData:
        rows = []
        for number, (side, (seen, absent)) in enumerate(LIFT.items()):
            for category in ("carpet", "felt", "nut", "screw"):
                target, generator = (
                    "parts" if category in ("nut", "screw") else "cloth",
                    random.Random(f"{number} {category}"),
                )
                lift = {"Metal_Crack": seen, "stain": absent}
                values = [lift.get(kind, 0) + generator.gauss(0, 1) for kind in TYPES]
                row = make_row(
                    method=side.method, variant=side.variant, prior="limited", prior_hash="h" * 64, target=target,
                    category=category, metric=METRIC, value=0.7 + (GAIN[category] if side == DIVE else 0),
                    key=f"k{number}",
                )  # fmt: skip
                ids = [f"{category}/{i}.png" for i in range(len(TYPES))]
                labels = [int(kind != "good") for kind in TYPES]
                write_scores(tmp_path / "scores", row.key, category, ids, labels, values, TYPES)
                rows.append(row)
        write_kept(tmp_path, "h" * 64, kept)
        for dataset, names in {"aux": ["leather"], "cloth": ["carpet", "felt"], "parts": ["nut", "screw"]}.items():
            known = Classes({name: name for name in names}, {name: CLASSES[name] for name in names})
            write_classes(tmp_path, "w1", dataset, known)
        return ClaimData(rows, tmp_path, ("cloth", "parts"))

    return make


def verdicts(data: ClaimData) -> dict[str, str]:
    return {answer.text: answer.verdict or answer.why_not for answer in answers(data, resamples=200)}


def test_directions_and_verdicts(world):
    assert verdicts(world()) == {
        "absent types, over DIVE without disentanglement": "supported",
        "types that were seen, over DIVE without disentanglement": "undecided",
        "absent more than seen, over DIVE without disentanglement": "supported",
        "absent types, over DIVE without text injection": "undecided",
        "types that were seen, over DIVE without text injection": "contradicted",
        "absent more than seen, over DIVE without text injection": "supported",
        "absent types, over AnomalyCLIP": "supported",
        "types that were seen, over AnomalyCLIP": "undecided",
        "absent more than seen, over AnomalyCLIP": "supported",
        "correlation of distance and gain over DIVE without disentanglement": "undecided",
        "AnomalyCLIP over CoOp": "contradicted",
        "AnomalyCLIP over CoCoOp (zsad)": "not run",
    }


def test_distance_orders_gains_perfectly(world):
    found = next(answer for answer in answers(world(), resamples=5) if answer.claim == "distance")
    assert found.value == pytest.approx(1), "gains grow with the distance of the name"
    assert (found.n_categories, found.n_datasets, found.points) == (4, 2, False)


def test_coverage_and_shown_numbers(world):
    found = answers(world(), resamples=50)
    absent = found[0]
    assert (absent.n_types, absent.n_categories, absent.n_images) == (4, 4, 4 * (15 + 30)), "`other` is in neither part"
    grids, records = table(found)
    assert [grid.title for grid in grids] == [
        "Anomaly types that are absent from the auxiliary data gain from DIVE",
        "Disentanglement gains more on classes that are far from the auxiliary ones",
        "Prompts that name the object hurt",
    ]
    label, cells = grids[0].lines[0]
    assert label == "limited · absent types, over DIVE without disentanglement"
    assert [cell.text for cell in cells][2:] == ["supported", "4 types, 4 categories, 180 images, 1 run"]
    assert cells[0].text == f"{100 * absent.value:+.2f}"
    assert {record["unit"] for record in records} == {"fraction", "correlation"}
    assert len({tuple(record) for record in records}) == 1, "records of different columns make no CSV"


def test_what_cannot_be_answered_says_why(world, tmp_path):
    nameless = world(Kept("limited", 0, {"aux": {"leather": {"good": 9, "bad": 4}}}))
    assert verdicts(nameless)["absent types, over AnomalyCLIP"] == "the types of the auxiliary data have no names"
    (tmp_path / "auxiliary" / f"{'h' * 16}.json").unlink()
    rows = [row for of in nameless.cells.values() for row in of.values()]
    lost = verdicts(ClaimData(rows, tmp_path, ("cloth", "parts")))
    assert "not on disk" in lost["absent types, over AnomalyCLIP"]
    assert "not on disk" in lost["correlation of distance and gain over DIVE without disentanglement"]
    with pytest.raises(RowError, match="no two methods to compare"):
        answers(ClaimData([], tmp_path, ("cloth",)))


def test_other_auxiliary_images_are_not_compared(world):
    data = world()
    side = *AGNOSTIC[:2], "limited"
    assert data.cells[side], "AnomalyCLIP has no rows here"
    data.cells[side] = {at: replace(row, prior_hash="x") for at, row in data.cells[side].items()}
    assert verdicts(data)["absent types, over AnomalyCLIP"] == "not run"


@pytest.mark.parametrize(
    ("kind", "seen", "expected"),
    [
        ("broken_large", {"Broken large"}, False),
        ("scratch", {"crack"}, True),
        ("scratch, crack", {"crack"}, False),
        ("scratch,dent", {"crack"}, True),
        ("other", {"crack"}, None),
        ("other, scratch", {"crack"}, True),
        ("scratch", {"bad"}, None),
    ],
)
def test_absence(kind, seen, expected):
    assert dive_claim.absence(kind, set(map(dive_claim.plain, seen))) is expected


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.2, "supported"), (-0.2, -0.1, "contradicted"), (0.0, 0.2, "undecided"), (None, None, "undecided")],
)
def test_verdict_is_by_the_interval(low, high, verdict):
    assert Answer("types", "", "", 0.15, low, high, 0.95, True).verdict == verdict


def test_what_lies_beside_the_rows_comes_back(tmp_path):
    write_kept(tmp_path, "a" * 64, KEPT)
    assert read_kept(tmp_path, "a" * 64) == KEPT
    assert KEPT.types == {"metal crack"}
    assert Kept("p", 0, {"visa": {"pcb1": {"bent, melt": 2}}}).types == {"bent", "melt"}
    write_classes(tmp_path, "w" * 64, "cloth", Classes({"felt": "felt"}, {"felt": (0.123456789, 1.0)}))
    assert read_classes(tmp_path, "w" * 64, "cloth").embeddings == {"felt": [0.123457, 1.0]}
    assert (read_kept(tmp_path, "b" * 64), read_classes(tmp_path, "w" * 64, "parts")) == (None, None)
    assert distance((1, 0), [(0, 1), (0.6, 0.8)]) == pytest.approx(0.4), "to the nearest"
    (tmp_path / "auxiliary" / f"{'a' * 16}.json").write_text("{")
    with pytest.raises(RowError, match="cannot read what a prior kept"):
        read_kept(tmp_path, "a" * 64)
