# pytest tests/results/test_rows.py
"""Rows come back exactly, survive a kill, and a newer run supersedes."""

from __future__ import annotations

import inspect
import itertools
import json
import math
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.made_up_rows import make_row
from zsad_bench.errors import RowError
from zsad_bench.leaderboard.tables.mixed_rows import comparable, refuse_mixed
from zsad_bench.results.row import FIELDS
from zsad_bench.results.rows import SCHEMA, RowWarning, ahead, append, cell_key, current, is_complete, load, now, read
from zsad_bench.variant import PLAIN, UNPARSED

METHODS_OF_SCHEMA_1 = "anomalyclip center_prior clip clip_ac cocoop coop dive faprompt random winclip".split()
VARIANTS_OF_SCHEMA_1 = {
    "epochs=1", "epochs=1, fidelity=official, n_ctx=4", "checkpoint=official, image_size=96", "temperature=0.5",
    "augment=[blur], epochs=1, lr=0.0001", "disentangle=false, epochs=1", "augment=[flip, rotate], epochs=1",
    "augment=[flip], epochs=1, fidelity=official", "scales=[2]",
}  # fmt: skip
HISTORIC = Path(__file__).parents[1] / "data" / "rows"
KEY = {
    "method": "clip",
    "method_version": "1",
    "config": {"image_size": 96, "taps": (1, 2)},
    "prior": "none",
    "prior_hash": "",
    "target": "cloth",
    "data_hash": "d1",
    "weights_hash": "w1",
    "seed": 0,
    "precision": "fp32",
    "metric_version": "1",
    "networks": {},
    "maps_hash": "",
    "calibrated_on": "",
}
# Every other field of a row, and why it is not in the key itself.
FOLLOWS = {
    "variant": "config and prior_hash", "config_hash": "config", "image_size": "config", "backbone": "weights_hash",
    "auxiliary": "prior_hash", "auxiliary_partial": "prior_hash", "draw": "prior_hash", "target_partial": "data_hash",
    "data_options": "data_hash", "transductive": "method and method_version",
    "set_hash": "data_hash and category", "remark": "config_hash and category",
}  # fmt: skip
PLACE = {"key", "category", "metric"}
MEASURED = {
    "value", "reason", "error_bound", "ci_low", "ci_high", "ci_level", "n_images", "n_anomalous", "n_skipped",
    "n_vanished", "n_near_duplicates", "n_regions",
}  # fmt: skip
PROVENANCE = {
    "schema", "suite", "package_version", "commit", "torch", "device", "run_id", "started", "pass_id", "seconds",
    "seconds_encode", "seconds_score", "peak_memory_mb", "trained_parameters", "gflops",
}  # fmt: skip


def line_with(changes: dict) -> str:
    """A valid line with some fields changed, whatever they are."""
    return json.dumps(json.loads(make_row().to_json()) | changes)


def test_round_trip_is_exact(tmp_path):
    values = [0.1 + 0.2, 1 / 3, 5e-324, 0.0, 1.0]
    rows = [make_row(category=f"c{i}", value=value, seconds=math.pi) for i, value in enumerate(values)]
    rows.append(make_row(category="größe", value=math.nan, reason="no anomalous image", n_regions=7))
    append(tmp_path / "new" / "a.jsonl", rows[:2])
    append(tmp_path / "new" / "a.jsonl", rows[2:])
    assert load(tmp_path / "new") == rows, "rows changed on their way through the file"
    last = json.loads((tmp_path / "new" / "a.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert (last["value"], last["reason"]) == (None, "no anomalous image"), "nan must be null with a reason"


def test_numpy_scalars_are_plain_numbers_in_the_file(tmp_path):
    import numpy as np

    append(tmp_path / "a.jsonl", [make_row(value=np.float32(0.1), n_images=np.int64(3), seed=np.int64(2))])
    (row,) = load(tmp_path / "a.jsonl")
    assert (row.value, row.n_images, row.seed) == (float(np.float32(0.1)), 3, 2), (
        "a numpy scalar was not stored exactly"
    )


@pytest.mark.parametrize("path", sorted(HISTORIC.glob("v*.jsonl")), ids=lambda path: path.name)
def test_old_rows_load(path):
    rows = load(path)
    assert len(rows) == len(path.read_text().splitlines()), f"{path.name}: rows were lost"
    assert {row.schema for row in rows} == {int(path.stem[1])}, f"{path.name}: wrong schema"
    if path.stem != "v1_measured":
        assert {row.value is None for row in rows} == {True, False}, f"{path.name}: no null value came back as None"
    for row, line in zip(rows, path.read_text(encoding="utf-8").splitlines(), strict=True):
        written = json.loads(line)
        same = {name: value for name, value in written.items() if name not in ("schema", "variant")}
        assert {name: getattr(row, name) for name in same} == same, f"{path.name}: a field came back as another value"


def test_measured_rows_of_schema_1_say_their_variants():
    rows = load(HISTORIC / "v1_measured.jsonl")
    found = {(row.method, row.variant) for row in rows}
    assert {row.method for row in rows} == set(METHODS_OF_SCHEMA_1)
    assert {(method, PLAIN) for method in METHODS_OF_SCHEMA_1} < found, "each method as it is"
    said = {str(variant) for _, variant in found} - {""}
    assert said == VARIANTS_OF_SCHEMA_1
    assert not any(UNPARSED in variant for _, variant in found), "a text that was really written was not understood"
    assert all(row.seconds_encode is row.seconds_score is row.pass_id is None for row in rows)
    assert not any(row.transductive or row.networks for row in rows)


def test_old_and_new_rows_are_one_board(tmp_path):
    old = load(HISTORIC / "v1_measured.jsonl")
    append(tmp_path / "rows" / "new.jsonl", [replace(row, seed=7, key=f"{row.key}7") for row in old])
    (tmp_path / "rows" / "old.jsonl").write_bytes((HISTORIC / "v1_measured.jsonl").read_bytes())
    rows = load(tmp_path / "rows")
    assert [row.schema for row in rows] == [2] * len(old) + [1] * len(old)
    assert {row.variant for row in rows if row.schema == 2} == {row.variant for row in old}
    refuse_mixed(rows, "a resumed board is refused")
    alone, together = comparable(old)[0], comparable(rows)[0]
    assert len(together) == 2 * len(alone), "old rows are left out beside new ones"


def test_every_schema_has_a_historic_file():
    assert (HISTORIC / f"v{SCHEMA}.jsonl").is_file(), f"add tests/data/rows/v{SCHEMA}.jsonl for the new schema"


@pytest.mark.parametrize("cut", [1, 40, -2, -1])
def test_torn_last_line_is_ignored_then_cut_off(tmp_path, cut):
    path = tmp_path / "a.jsonl"
    whole, torn, after = (make_row(category=name) for name in ("whole", "torn", "after"))
    append(path, [whole])
    with path.open("a") as file:
        file.write(torn.to_json()[:cut])
    with pytest.warns(RowWarning, match="a.jsonl:2: the last line is half-written"):
        assert load(path) == [whole], "the half-written line must be ignored"
    with pytest.warns(RowWarning, match="cut off"):
        append(path, [after])
    assert load(path) == [whole, after], "the half-written line must be gone after the next append"


def test_torn_line_longer_than_one_block_is_cut_off(tmp_path):
    path = tmp_path / "a.jsonl"
    append(path, [make_row()])
    with path.open("ab") as file:
        file.write(b"\0" * 200_000)  # what some file systems leave after a power cut
    with pytest.warns(RowWarning):
        append(path, [make_row(category="after")])
    assert [row.category for row in load(path)] == ["carpet", "after"]


def test_whole_last_line_without_line_end_is_kept(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(make_row().to_json())
    append(path, [make_row(category="after")])
    assert [row.category for row in load(path)] == ["carpet", "after"], "a whole row was lost"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "a.jsonl:2: expected a JSON object"),
        (json.dumps({"schema": SCHEMA + 1}), "a.jsonl:2: schema 3 is newer than 2.*upgrade"),
        (json.dumps({"schema": 7, "variant": [], "key": 1}), "a.jsonl:2: schema 7 is newer than 2.*upgrade"),
        (line_with({"schema": 3}), "a.jsonl:2: schema 3 is newer than 2"),
        (json.dumps({"schema": SCHEMA}), "a.jsonl:2: fields missing: auxiliary, backbone"),
        (json.dumps({"key": "k"}), "a.jsonl:2: expected a JSON object with an integer `schema`"),
        (line_with({"n_images": "3"}), r"a.jsonl:2: .*wrong type .*\$\.n_images"),
        (line_with({"variant": 3}), r"a.jsonl:2: .*wrong type .*a variant is a map"),
        (line_with({"value": "high"}), "a.jsonl:2: a field has the wrong type"),
        (line_with({"value": 91.5}), r"a.jsonl:2: clip on cloth/carpet.*outside \[0, 1\]"),
    ],
)
def test_bad_line_is_named(tmp_path, line, message):
    path = tmp_path / "a.jsonl"
    path.write_text(f"{make_row().to_json()}\n{line}\n{make_row().to_json()}\n")
    with pytest.raises(RowError, match=message):
        load([path])


@pytest.mark.parametrize(
    "line", [make_row().to_json()[:50], make_row().to_json()[50:], "", "\0" * 9, f"{make_row().to_json()},{{}}"]
)
def test_torn_line_in_the_middle_is_left_out_and_the_rest_kept(tmp_path, line):
    path = tmp_path / "a.jsonl"
    before, after = make_row(category="before"), make_row(category="after")
    path.write_text(f"{before.to_json()}\n{line}\n{after.to_json()}\n")
    with pytest.warns(RowWarning, match="a.jsonl:2: damaged or half-written, not JSON and was ignored") as said:
        assert load(path) == [before, after], "the rows around a half-written line must be kept"
    assert len(said) == 1, "one line is one warning"
    assert read(tmp_path).torn == [(path, 2, False)]


def test_unknown_fields_are_ignored(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(line_with({"from_the_future": 1}) + "\n")
    assert load(path) == [make_row()]


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(RowError, match=r"gone\.jsonl: cannot read rows"):
        load(tmp_path / "gone.jsonl")
    (tmp_path / "file").write_text("")
    with pytest.raises(RowError, match="cannot append rows"):
        append(tmp_path / "file" / "a.jsonl", [make_row()])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": None}, "needs a reason"),
        ({"value": 0.5, "reason": "none"}, "give one"),
        ({"value": math.inf}, r"outside \[0, 1\]"),
        ({"value": -0.1}, r"outside \[0, 1\]"),
        ({"started": "2026-01-02T03:04:05+00:00"}, "is not UTC"),
    ],
)
def test_impossible_rows_are_refused(changes, message):
    with pytest.raises(RowError, match=message):
        make_row(**changes)


def test_rounding_dust_above_one_is_one():
    assert make_row(value=1.0000000000000002).value == 1.0
    assert make_row(started=now()).started.endswith("Z")


def test_two_processes_append_while_another_reads(tmp_path):
    script = textwrap.dedent("""
        import sys
        from msgspec.structs import replace
        from zsad_bench.results.rows import append, load
        (row,) = load(sys.argv[1])
        for i in range(40):
            for method in ("clip", "dive"):
                here = replace(row, category=f"{sys.argv[3]}{i}", method=method, device="x" * 9000)
                append(f"{sys.argv[2]}/{method}.jsonl", [here, replace(here, metric="image_ap")])
    """)
    append(tmp_path / "seed.jsonl", [make_row()])
    folder = tmp_path / "rows"
    folder.mkdir()
    workers = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "seed.jsonl"), str(folder), name])
        for name in "ab"
    ]
    counts = [0]
    while any(worker.poll() is None for worker in workers):
        rows, torn = read(folder)
        assert not torn, f"a line that was just being written was reported as damaged: {torn}"
        counts.append(len(rows))
    assert [worker.returncode for worker in workers] == [0, 0], "an appending process failed"
    assert counts == sorted(counts), "rows that had been read were gone later"
    found = sorted((row.method, row.category, row.metric) for row in load(folder))
    wanted = [(m, f"{n}{i}", k) for m in ("clip", "dive") for n in "ab" for i in range(40)
              for k in ("image_auroc", "image_ap")]  # fmt: skip
    assert found == sorted(wanted), "rows were lost or doubled"


NO_ROOM = """
import resource, sys
from zsad_bench.results.rows import append, load
rows = load(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
append(sys.argv[1], rows * 30)
"""
READ_ONLY = """
import ctypes, os, sys
from zsad_bench.results.rows import append, load
rows = load(sys.argv[1])
if os.geteuid() == 0:  # root without its capabilities has to ask like anyone else
    no_capabilities = (ctypes.c_uint32 * 6)(*[0] * 6)
    if ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), no_capabilities):
        sys.exit("cannot drop capabilities")
append(sys.argv[1], rows)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits and capabilities are set as on Linux")
@pytest.mark.parametrize(
    ("script", "said"), [(NO_ROOM, "File too large"), (READ_ONLY, "Permission denied")], ids=["full", "read-only"]
)
def test_what_cannot_be_written_leaves_the_file_as_it_was(tmp_path, script, said):
    path = tmp_path / "rows" / "a.jsonl"
    append(path, [make_row(), make_row(metric="image_ap")])
    before = path.read_bytes()
    if script is READ_ONLY:
        for one in (path, Path(f"{path}.lock"), path.parent):
            one.chmod(one.stat().st_mode & ~0o222)
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), str(len(before) + 3000)], capture_output=True, text=True, timeout=60
    )
    path.parent.chmod(0o755)
    if "cannot drop capabilities" in done.stderr:
        pytest.skip("root writes to read-only folders, and may not drop that here")
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"zsad_bench.errors.RowError: {path}: cannot append rows"), done.stderr
    assert said in last, f"the line lacks its cause: {last}"
    assert path.read_bytes() == before, "half of what was to be appended is in the file"


def test_newest_run_supersedes():
    old = make_row(value=0.9, run_id="old", started="2026-01-02T03:04:05Z")
    new = make_row(value=0.6, run_id="new", started="2026-01-02T03:04:05.500Z")
    other = make_row(value=0.1, run_id="old", metric="image_ap")
    for order in ([old, other, new], [new, old, other]):
        rows, conflicts = current(order)
        assert sorted(rows, key=lambda row: row.value) == [other, new], "the newest run must stand"
        assert not conflicts, "runs that differ are no conflict: the newer one supersedes"
    tie = replace(old, run_id="later in the file", value=0.7)
    assert current([old, tie]).rows == [tie], "a tie goes to the later row"


NOW = "2026-06-01T12:00:00.000Z"


@pytest.mark.parametrize("started", ["2099-01-01T00:00:00Z", "2026-06-01T12:10:00.001Z", "2026-06-02T00:00:00.5Z"])
def test_a_row_from_the_future_supersedes_nothing(started):
    past = make_row(value=0.9, run_id="past", started="2026-05-01T00:00:00Z")
    today = make_row(value=0.8, run_id="today", started=NOW)
    future = make_row(value=0.1, run_id="future", started=started)
    for order in itertools.permutations([past, future, today]):
        assert current(order, NOW).rows == [today], "a clock that ran ahead must not decide"
    for order in ([past, future], [future, past]):
        assert current(order, NOW).rows == [past], "the last run before now stands"
    assert current([future], NOW).rows == [future], "where there is no other, it is all there is"
    (said,) = ahead([past, future, today], NOW)
    assert f"1 row of clip, run future: started {started}, which is in the future" in said
    later = f"{int(started[:4]) + 1}{started[4:]}"
    assert current([past, future, today], later).rows == [future], "once its time has come it is a row like others"
    assert ahead([past, future, today], later) == []


def test_clocks_may_differ_by_minutes():
    today = make_row(value=0.8, run_id="today", started=NOW)
    other = make_row(value=0.7, run_id="other", started="2026-06-01T12:10:00.000Z")
    assert current([other, today], NOW).rows == [other]
    assert ahead([other, today], NOW) == []


def test_a_row_from_the_future_does_not_choose_what_is_comparable():
    rows = [make_row(category="a", data_hash="d1", started=NOW)]
    rows += [make_row(category="b", data_hash="d2", started="2099-01-01T00:00:00Z")]
    kept, (said,) = comparable(rows, NOW)
    assert kept == rows[:1], "the hash of a run from the future must not stand for the newest"
    assert "data hash" in said.replace("_", " ")


def test_conflict_within_a_run_is_returned_and_not_used():
    one, two, fine = make_row(value=0.5), make_row(value=0.6), make_row(metric="image_ap")
    rows, conflicts = current([one, fine, two])
    assert rows == [fine], "neither of two contradicting values may be used"
    assert [conflict.rows for conflict in conflicts] == [(one, two)]
    assert "0.5 and 0.6 in run run1" in str(conflicts[0])
    assert current([one, one]) == ([one], []), "equal values are no conflict"


def test_current_keeps_the_newest_run_when_the_conflict_is_older():
    old = [make_row(value=value, run_id="old", started="2025-01-01T00:00:00Z") for value in (0.1, 0.2)]
    new = make_row(value=0.3, run_id="new")
    assert current([*old, new]) == ([new], [])


def test_is_complete_counts_undefined_rows():
    rows = [make_row(key="k", category=c, metric=m) for c in ("a", "b") for m in ("image_auroc", "image_ap")]
    assert is_complete(rows, "k", ["a", "b"], ["image_auroc", "image_ap"])
    rows[-1] = replace(rows[-1], value=None, reason="no anomalous image")
    assert is_complete(rows, "k", ["a", "b"], ["image_auroc", "image_ap"]), "an undefined number is done too"
    assert not is_complete(rows[:-1], "k", ["a", "b"], ["image_auroc", "image_ap"])
    assert not is_complete(rows, "other", ["a"], ["image_auroc"])


def test_keys_are_what_they_were():
    """A key that changes orphans every row and checkpoint there is: these two are those of the first version."""
    assert cell_key(**KEY) == "4eebddd9d15ee85b"
    assert cell_key(**{**KEY, "networks": {"boxes": "b1"}}) == "777fc5e21931147d"


def test_cell_key_names_what_decides_the_number():
    key = cell_key(**KEY)
    assert inspect.signature(cell_key).parameters.keys() == KEY.keys(), "say here what else decides the number"
    assert key == cell_key(**{**KEY, "config": {"taps": [1, 2], "image_size": 96}}), "order and tuples must not matter"
    others = {"config": {"image_size": 112}, "seed": 1, "networks": {"boxes": "b1"}}
    changed = {name: cell_key(**{**KEY, name: others.get(name, "other")}) for name in KEY}
    assert len({key, *changed.values()}) == 1 + len(KEY), "each of these decides the number and must change the key"
    assert cell_key(**{**KEY, "networks": {"boxes": "b2"}}) != changed["networks"], "other weights, other numbers"


def test_every_field_of_a_row_is_in_the_key_or_known_not_to_be():
    sorts = [KEY.keys() - {"config"}, FOLLOWS.keys(), PLACE, MEASURED, PROVENANCE]
    assert sorted(name for sort in sorts for name in sort) == sorted(FIELDS), "a field that decides numbers is in a key"


def test_rows_and_tables_never_import_torch(tmp_path):
    append(tmp_path / "rows" / "a.jsonl", [make_row()])
    script = textwrap.dedent("""
        import sys
        import zsad_bench.results.rows
        import zsad_bench.leaderboard.tables.leaderboard_tables, zsad_bench.leaderboard.tables.leaderboard_files
        heavy = {"torch", "pandas", "rich", "numpy"} & sys.modules.keys()
        assert not heavy, f"importing the leaderboard imports {heavy}"
        from zsad_bench.leaderboard.tables.leaderboard_tables import LeaderboardLayout
        from zsad_bench.leaderboard.tables.leaderboard_files import write_leaderboard
        write_leaderboard(sys.argv[1] + "/rows", sys.argv[1], LeaderboardLayout("made_up", "x", {}, {}, "", ""))
        assert "torch" not in sys.modules, "writing tables imports torch"
    """)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
