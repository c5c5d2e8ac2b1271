# pytest tests/runner/test_row_writer.py
"""What decides the numbers of a cell is in the key of its rows, where and when it ran is not; rows say what it took."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from zsad_bench.metrics.category import CategoryMetrics
from zsad_bench.results import rows as store
from zsad_bench.runner import provenance, row_writer, run_group
from zsad_bench.runner.metric_collector import Finished
from zsad_bench.variant import Variant


@pytest.fixture
def prepared(group_in, tmp_path):
    """prepared(**fields): a group of clip and random that is ready to run, and the data of its first target."""

    def prepare(**fields) -> SimpleNamespace:
        group = group_in(tmp_path, **{"methods": ("clip", "random"), "prior": "none", **fields})
        backbone = run_group.open_backbone(group)
        data = run_group.open_targets(group, backbone)[0]
        return SimpleNamespace(member=run_group.prepare(group, backbone, [data]), data=data, group=group)

    return prepare


def keys(one: SimpleNamespace) -> tuple[str, ...]:
    return tuple(one.member.row_fields(name, one.data)["key"] for name in ("clip", "random"))


def test_where_and_when_it_ran_is_not_in_the_key(prepared, monkeypatch, tmp_path):
    before = keys(prepared())
    monkeypatch.setattr(provenance, "commit", lambda: "0123456789ab+")
    monkeypatch.setattr(provenance, "package_version", lambda: "9.9")
    monkeypatch.setattr(provenance, "device", lambda: "another")
    monkeypatch.setattr(torch, "__version__", "9.9")
    suite = replace(prepared().group.suite, name="elsewhere")
    other = prepared(suite=suite, board=tmp_path / "other", runs=tmp_path / "others", augment=("flip",), epochs=7)
    other.member.record.near_duplicates["clip"] = {other.data.name: frozenset({"a.png"})}
    assert other.member.recorder.common["commit"] == "0123456789ab+", "the change did not reach the rows"
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
    before, clip = keys(one)[0], one.member.built["clip"]
    trained = {"prior": "rich", "prior_hash": "p1", "auxiliary": ["demo_rich"]}
    changes = {
        "version": lambda: monkeypatch.setattr(type(clip), "version", "other"),
        "networks": lambda: monkeypatch.setattr(type(clip), "frozen_networks", {"boxes": "b1"}, raising=False),
        "weights": lambda: monkeypatch.setattr(one.member.recorder, "backbone", SimpleNamespace(
            name=clip.backbone.name, weights_hash="other")),
        "data": lambda: monkeypatch.setitem(vars(one.data), "manifest_hash", "other"),
        "precision": lambda: monkeypatch.setattr(row_writer, "PRECISION", "other"),
        "metrics": lambda: monkeypatch.setattr(row_writer, "METRIC_VERSION", "other"),
        "prior": lambda: one.member.record.training.update(clip=trained),
        "draws": lambda: one.member.record.training.update(clip={**trained, "prior": "none", "prior_hash": "p2"}),
    }  # fmt: skip
    changes[what]()
    assert keys(one)[0] != before


def test_rows_say_what_a_pass_took(prepared):
    one = prepared(settings={"image_size": 32})
    infos = [one.data.info(sample) for sample in one.data.samples()]
    category, ids = infos[0].category, [info.id for info in infos[:2]]
    metrics = CategoryMetrics("image")
    metrics.update(scores=torch.tensor([0.1, 0.2]), labels=torch.tensor([0, 1]), maps=None, masks=None)
    took = {"seconds_encode": 1.5, "seconds_score": 0.25, "pass_id": "one pass", "peak_memory_mb": 7.5}
    one.member.recorder.bind(one.data)("clip", category, Finished(metrics.result(), ids, 0, 9.0, [], **took))
    rows = store.load(one.group.board / "rows")
    assert rows == one.member.record.rows
    for row in rows:
        assert {name: getattr(row, name) for name in took} == took
        assert (row.schema, row.seconds, row.variant) == (store.SCHEMA, 9.0, Variant({"image_size": 32}))
        assert (row.transductive, row.networks) == (False, {})
