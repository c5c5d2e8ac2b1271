# pytest tests/runner/test_row_writer.py
"""What decides the numbers of a cell is in the key of its rows, where and when it ran is not; rows say what it took."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from zsad_bench.metrics.category import CategoryMetrics
from zsad_bench.results import rows as store
from zsad_bench.runner import provenance, row_writer
from zsad_bench.runner.metric_collector import Finished
from zsad_bench.runner.opened import Opened
from zsad_bench.runner.prepared_run import prepare
from zsad_bench.variant import Variant


@pytest.fixture
def prepared(group_in, tmp_path):
    """prepared(**fields): runs of clip and random, ready, and the data of their first target."""

    def ready(**fields) -> SimpleNamespace:
        group = group_in(tmp_path, **{"methods": ("clip", "random"), "prior": "none", **fields})
        opened = Opened()
        data = opened.target(group.specs[0], group.specs[0].targets[0])
        clip, random = (prepare(spec, opened) for spec in group.specs)
        return SimpleNamespace(clip=clip, random=random, data=data, group=group)

    return ready


def keys(one: SimpleNamespace) -> tuple[str, ...]:
    """As writers that were made now would have them; a writer makes each once."""
    runs = (one.clip, one.random)
    return tuple(row_writer.RowWriter(run.record, run.spec, run.method).cell(one.data)["key"] for run in runs)


def test_where_and_when_it_ran_is_not_in_the_key(prepared, monkeypatch, tmp_path):
    before = keys(prepared())
    monkeypatch.setattr(provenance, "commit", lambda: "0123456789ab+")
    monkeypatch.setattr(provenance, "package_version", lambda: "9.9")
    monkeypatch.setattr(provenance, "device", lambda: "another")
    monkeypatch.setattr(torch, "__version__", "9.9")
    suite = replace(prepared().clip.spec.suite, name="elsewhere")
    other = prepared(suite=suite, board=tmp_path / "other", runs=tmp_path / "others", augment=("flip",), epochs=7)
    other.clip.record.near_duplicates = {other.data.name: frozenset({"a.png"})}
    assert other.clip.writer.common["commit"] == "0123456789ab+", "the change did not reach the rows"
    assert keys(other) == before


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({"settings": {"image_size": 48}}, (True, True)),
        ({"targets": ("demo_objects",)}, (True, True)),
        ({"seed": 2}, (False, True)),  # of these only random draws
    ],
    ids=str,
)
def test_what_is_asked_for_is_in_the_key(prepared, fields, changed):
    pairs = zip(keys(prepared()), keys(prepared(**fields)), strict=True)
    assert tuple(one != other for one, other in pairs) == changed


@pytest.mark.parametrize("what", ["version", "networks", "weights", "data", "precision", "metrics", "prior", "draws"])
def test_what_decides_the_numbers_is_in_the_key(prepared, monkeypatch, what):
    one = prepared()
    before, clip = keys(one)[0], one.clip.method
    trained = {"prior": "rich", "prior_hash": "p1", "auxiliary": ["demo_rich"]}
    changes = {
        "version": lambda: monkeypatch.setattr(type(clip), "version", "other"),
        "networks": lambda: monkeypatch.setattr(type(clip), "frozen_networks", {"boxes": "b1"}, raising=False),
        "weights": lambda: monkeypatch.setattr(clip.backbone, "weights_hash", "other"),
        "data": lambda: monkeypatch.setitem(vars(one.data), "manifest_hash", "other"),
        "precision": lambda: setattr(one.clip, "spec", replace(one.clip.spec, precision="bf16")),
        "metrics": lambda: monkeypatch.setattr(row_writer, "METRIC_VERSION", "other"),
        "prior": lambda: setattr(one.clip.record, "training", trained),
        "draws": lambda: setattr(
            one.clip.record, "training", {**trained, "prior": "none", "prior_hash": "p2"}),
    }  # fmt: skip
    changes[what]()
    assert keys(one)[0] != before


def test_rows_say_what_a_pass_took(prepared):
    one = prepared(settings={"image_size": 24})
    infos = [one.data.info(sample) for sample in one.data.samples()]
    category, ids = infos[0].category, [info.id for info in infos[:2]]
    metrics = CategoryMetrics("image")
    metrics.update(scores=torch.tensor([0.1, 0.2]), labels=torch.tensor([0, 1]), maps=None, masks=None)
    took = {"seconds_encode": 1.5, "seconds_score": 0.25, "pass_id": "one pass", "peak_memory_mb": 7.5}
    one.clip.writer.bind(one.data)("clip", category, Finished(metrics.result(), ids, 0, 9.0, [], **took))
    rows = store.load(one.group.board / "rows")
    assert rows == one.clip.record.rows
    for row in rows:
        assert {name: getattr(row, name) for name in took} == took
        assert (row.schema, row.seconds, row.variant) == (store.SCHEMA, 9.0, Variant({"image_size": 24}))
        assert (row.transductive, row.networks) == (False, {})
