# pytest tests/runner/test_board_metadata.py
"""What a run leaves beside its rows for tables: types of images, what the prior kept, how near classes are."""

from __future__ import annotations

import pytest

from tests.cells import run
from zsad_bench.data import prior as priors
from zsad_bench.results.class_embeddings import distance, read_classes
from zsad_bench.results.image_scores import read_scores
from zsad_bench.results.prior_contents import read_kept
from zsad_bench.runner import board_metadata, opened


@pytest.fixture(scope="module")
def ran(group_in, tmp_path_factory):
    import io

    from zsad_bench.console import Console

    group = group_in(tmp_path_factory.mktemp("ran"), methods=("clip", "anomalyclip"), prior="rich:types=3")
    return group, run(group, Console(file=io.StringIO()))


def test_types_stand_beside_scores(ran):
    group, record = ran
    row = next(row for row in record.rows if (row.method, row.category) == ("clip", "carpet"))
    kept = read_scores(group.board / "scores", row.key, "carpet")
    assert [kind == "good" for kind in kept.types] == [label == 0 for label in kept.labels]
    assert {image.split("/")[3] for image in kept.ids} == set(kept.types), "the type is not the image's own"


def test_what_the_prior_kept_is_named_by_its_hash(ran, mini):
    group, record = ran
    row = next(row for row in record.rows if row.method == "anomalyclip")
    kept = read_kept(group.board, row.prior_hash)
    assert (kept.prior, kept.draw, list(kept.classes)) == ("rich:types=3", 0, ["demo_rich"])
    module = opened.data_module("demo_rich", {}, mini)
    wanted = priors.select(module.samples(), priors.resolve("rich:types=3", "demo").parts[0])
    counted = sum(count for types in kept.classes["demo_rich"].values() for count in types.values())
    assert counted == len(wanted)
    assert kept.types == {sample.anomaly_type for sample in wanted if sample.label}


def test_names_are_encoded_once_and_give_distances(ran, mini, monkeypatch):
    group, _ = ran
    own, other = (read_classes(group.board, mini.weights_hash, name) for name in ("demo_textures", "demo_rich"))
    assert own.names["perforated"] == "perforated plate"
    assert distance(own.embeddings["carpet"], [own.embeddings["carpet"]]) == pytest.approx(0, abs=1e-5)
    far = distance(own.embeddings["carpet"], other.embeddings.values())
    assert 0 < far < 2
    targets = [opened.data_module("demo_textures", {}, mini)]
    monkeypatch.setattr(board_metadata, "_encoded", lambda *_: pytest.fail("known names were encoded again"))
    board_metadata.describe(group.board, mini, targets, None)
