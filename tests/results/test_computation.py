# pytest tests/results/test_computation.py
"""What configurations compute is kept beside the rows that do not say it."""

from __future__ import annotations

import pytest

from tests.made_up_rows import make_row
from zsad_bench.errors import RowError
from zsad_bench.results import computation
from zsad_bench.results.computation import Computation, Configuration
from zsad_bench.results.merge import merge
from zsad_bench.results.rows import append, load

CLIP, DIVE = Configuration("clip", "1", "tiny", "c1"), Configuration("dive", "2", "tiny", "c2")


def test_what_is_written_is_read_again_in_any_order(tmp_path):
    found = {DIVE: Computation(117_696, 0.2), CLIP: Computation(0, None)}
    path = computation.write(tmp_path, found)
    first = path.read_bytes()
    assert computation.read(tmp_path) == found
    computation.write(tmp_path, dict(reversed(found.items())))
    assert path.read_bytes() == first, "the order of counting is in the file"
    assert computation.read(tmp_path / "elsewhere") == {}


@pytest.mark.parametrize("content", ["{", "[]", '{"form": 2, "configurations": []}', '{"form": 1}',
                                     '{"form": 1, "configurations": [{"method": "clip"}]}'])  # fmt: skip
def test_a_damaged_file_is_refused_in_one_line(tmp_path, content):
    (tmp_path / computation.FILE).write_text(content)
    with pytest.raises(RowError, match=r"costs\.json: not the costs of configurations .*run `zsad-bench rows costs`"):
        computation.read(tmp_path)


def test_a_row_says_its_own(tmp_path):
    row = make_row(trained_parameters=7, gflops=0.125)
    append(tmp_path / "a.jsonl", [row, make_row(seed=1)])
    said, silent = load(tmp_path / "a.jsonl")
    assert Computation.of(said) == Computation(7, 0.125)
    assert Computation.of(silent) == Computation(None, None)
    assert Configuration.of(said) == Configuration.of(silent) == CLIP


def test_merged_boards_have_the_costs_of_all(tmp_path):
    for name, found in (("one", {CLIP: Computation(0, 0.1)}), ("two", {DIVE: Computation(5, 0.2)})):
        append(tmp_path / name / "rows" / "clip.jsonl", [make_row(run_id=name)])
        computation.write(tmp_path / name, found)
    merge([tmp_path / "one", tmp_path / "two"], tmp_path / "both")
    assert computation.read(tmp_path / "both") == {CLIP: Computation(0, 0.1), DIVE: Computation(5, 0.2)}
