# pytest tests/runner/test_conditions.py
"""Tests under conditions: rows and keys of their own beside the standard ones, one pass for all methods."""

from __future__ import annotations

import pytest

from tests.cells import run
from zsad_bench.errors import UsageError
from zsad_bench.results import rows as store
from zsad_bench.runner import opened, shared_encoder
from zsad_bench.runner.opened import Opened

TARGETS = ("demo_textures", "demo_textures@gaussian_noise:5", "demo_textures@wording:german")


@pytest.fixture(scope="module")
def ran(group_in, tmp_path_factory):
    """CLIP and AnomalyCLIP on a target as it is and under conditions; and alone on the target as it is."""
    import io

    from zsad_bench.console import Console

    quiet = Console(file=io.StringIO(), width=200, force_terminal=False)
    folder = tmp_path_factory.mktemp("conditions")
    passes = []
    original = shared_encoder.SharedPass.__init__

    def counted(self, methods, *args, **kwargs):
        passes.append(sorted(methods))
        original(self, methods, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_encoder.SharedPass, "__init__", counted)
        whole = group_in(folder / "whole", methods=("clip", "anomalyclip"), targets=TARGETS)
        found = run(whole, quiet)
    alone = run(group_in(folder / "alone", methods=("clip", "anomalyclip")), quiet)
    return whole, found, alone, passes, quiet.file.getvalue()


def by_condition(rows) -> dict[str, list]:
    found: dict[str, list] = {}
    for row in rows:
        found.setdefault(row.data_options, []).append(row)
    return found


def test_standard_rows_are_those_of_a_run_without_conditions(ran):
    _, found, alone, *_ = ran
    plain = by_condition(found.rows)[""]
    kept = ("key", "category", "metric", "value", "data_hash", "prior_hash", "config_hash", "data_options")
    shown = [sorted(tuple(getattr(r, name) for name in kept) for r in rows) for rows in (plain, alone.rows)]
    assert shown[0] == shown[1]
    assert store.standard(found.rows) == plain


def test_conditions_have_keys_and_rows_of_their_own(ran):
    _, found, *_ = ran
    rows = by_condition(found.rows)
    assert set(rows) == {"", "corruption=gaussian_noise:5", "wording=german"}
    keys = [{row.key for row in own} for own in rows.values()]
    assert all(len(own) == 2 for own in keys), "one of each method"
    assert len(set().union(*keys)) == 6
    assert len({row.prior_hash for row in found.rows if row.method == "anomalyclip"}) == 1, "trained once"
    values = {o: {(r.method, r.category, r.metric): r.value for r in own} for o, own in rows.items()}
    assert values["corruption=gaussian_noise:5"].keys() == values[""].keys()
    assert values["corruption=gaussian_noise:5"] != values[""]


def test_a_wording_changes_what_reads_names_and_leaves_out_what_has_no_word(ran):
    *_, said = ran
    rows = by_condition(ran[1].rows)
    assert {row.category for row in rows["wording=german"]} == {"perforated", "carpet"}
    assert {row.target_partial for row in rows["wording=german"]} == {""}
    assert said.count("1 of 3 categories are left out, as there is no other word for them: terrazzo") == 1
    place = lambda row: (row.method, row.category, row.metric)  # noqa: E731
    plain = {place(row): row.value for row in rows[""]}
    german = {place(row): row.value for row in rows["wording=german"]}
    same = {method: [german[p] == plain[p] for p in german if p[0] == method] for method in ("clip", "anomalyclip")}
    assert not all(same["clip"])
    assert all(same["anomalyclip"]), "its prompts say object"


def test_corrupted_images_are_encoded_once_for_all_methods(ran):
    assert len(ran[3]) == len(TARGETS)
    assert all(len(methods) == 2 for methods in ran[3])


def test_pictures_are_of_images_as_they_are_and_scores_of_all(ran):
    board = ran[0].board
    standard = {row.key for row in store.standard(ran[1].rows)}
    assert {path.name for path in (board / "scores").iterdir()} == {row.key for row in ran[1].rows}
    assert {path.name for path in (board / "pictures").iterdir()} - {"images"} == standard


def test_what_is_there_is_not_computed_again(ran, quiet, monkeypatch):
    whole = ran[0]
    monkeypatch.setattr(shared_encoder.SharedPass, "test_step", lambda *_: pytest.fail("tested again"))
    assert run(whole, quiet, True).rows == []


def test_a_prior_of_one_target_is_that_of_the_target_under_conditions(group_in, tmp_path):
    (spec,) = group_in(tmp_path, methods=("anomalyclip",), targets=TARGETS).specs
    assert Opened._prior(spec).auxiliary == ("demo_limited",)
    assert [data.name for data in Opened().plain_targets(spec)] == ["demo_textures"]


def test_a_condition_is_no_option_of_data(mini):
    with pytest.raises(UsageError, match="--data condition=jpeg:3: name it with --corruption or --wording instead"):
        opened.data_module("demo_textures", {"*": {"condition": "jpeg:3"}}, mini)
