"""Made-up rows for the leaderboard's tests; none of these numbers was measured."""

from __future__ import annotations

import pytest

from zsad_bench.leaderboard.tables.leaderboard_tables import LeaderboardLayout
from zsad_bench.results.row import SCHEMA, Row


def make_row(**changes: object) -> Row:
    """A valid row with some fields changed; its key follows from what usually makes a cell unless given."""
    fields = {
        "schema": SCHEMA,
        "suite": "made_up",
        "method": "clip",
        "method_version": "1",
        "prior": "none",
        "prior_hash": "",
        "auxiliary": "",
        "target": "cloth",
        "category": "carpet",
        "seed": 0,
        "metric": "image_auroc",
        "value": 0.5,
        "n_images": 10,
        "n_anomalous": 4,
        "image_size": 96,
        "backbone": "tiny",
        "weights_hash": "w1",
        "data_hash": "d1",
        "config_hash": "c1",
        "precision": "float32",
        "metric_version": "1",
        "package_version": "0.0.1",
        "commit": "abc1234",
        "torch": "2.0",
        "device": "cpu",
        "run_id": "run1",
        "started": "2026-01-02T03:04:05Z",
        "seconds": 1.0,
    }
    fields.update(changes)
    made = "-".join(str(fields[name]) for name in ("method", "variant", "prior", "target", "seed") if name in fields)
    return Row(**{"key": made, **fields})


@pytest.fixture
def board() -> LeaderboardLayout:
    """Two averaged groups, cloth and parts; anything else (photos) stands apart."""
    return LeaderboardLayout(
        suite="made_up",
        command="zsad-bench table made_up",
        groups={"cloth": "Cloth", "parts": "Parts"},
        titles={"clip": "CLIP", "random": "Random", "photos": "Photos"},
        note="Made up: not comparable with papers.",
        apart_note="Photographs: in no mean.",
    )
