# pytest tests/commands/test_toy_methods.py
"""What the interface promises, kept where it counts: by `bench` and `sweep`, for methods that ask for it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.methods import toys
from tests.methods.toys import toy_adapts, toy_memory, toy_second_network, toy_transductive, toy_two_stages
from zsad_bench.results import rows as store
from zsad_bench.results.row import Row
from zsad_bench.runner.computation import NOMINAL

ROOT = Path(__file__).resolve().parents[2]
COMMON = ("--suite", "demo", "--targets", "demo_textures", "--prior", "limited", "--epochs", "1",
          "--set", "image_size=32")  # fmt: skip
CATEGORIES = ("perforated", "terrazzo", "carpet")
TRAINED = ("toy_edits", "toy_memory", "toy_second_network", "toy_two_stages")


@pytest.fixture(autouse=True)
def site(plug_in) -> Iterator[Path]:
    """The toys as plug-ins, and where they are installed."""
    toys.forget()
    yield plug_in("zsad_toys", {}, methods=toys.ENTRY_POINTS)
    toys.forget()


@pytest.fixture
def bench(zsad, small, tmp_path, recwarn) -> Callable[..., SimpleNamespace]:
    """bench(name): all toys in one run, whose rows and checkpoints go to a folder of that name."""

    def ran(name: str, *options: str, methods: str = ",".join(toys.NAMES)) -> SimpleNamespace:
        toys.forget()
        said = zsad("bench", "--method", methods, *COMMON, "--out", name, "--runs", f"{name}_runs", *options)
        assert said.code == 0, said.err
        assert said.err == ""
        assert not list(recwarn), f"warnings reach the user: {[str(w.message) for w in recwarn]}"
        rows = store.load(tmp_path / name / "demo" / "rows")
        return SimpleNamespace(rows=rows, runs=tmp_path / f"{name}_runs", said=said)

    return ran


@pytest.fixture(scope="module")
def shared() -> dict[str, Any]:
    """Results of a run that several tests read; the first of them fills it."""
    return {}


@pytest.fixture
def two_stages(bench, shared) -> list[tuple]:
    """The diary of a run of `toy_two_stages`."""
    if "two_stages" not in shared:
        bench("board", methods="toy_two_stages")
        shared["two_stages"] = list(toy_two_stages.DIARY)
    return shared["two_stages"]


def values(rows: list[Row], method: str = "") -> dict[tuple, float | None]:
    return {(r.method, r.category, r.metric): r.value for r in rows if method in ("", r.method)}


@pytest.mark.slow
def test_all_of_them_are_benchmarked_in_one_run(bench, shared):
    ran = bench("board")
    shared["values"] = values(ran.rows)
    assert {(row.method, row.category) for row in ran.rows} == {(m, c) for m in toys.NAMES for c in CATEGORIES}
    priors = {row.method: row.prior for row in ran.rows}
    assert priors == {name: "limited" if name in TRAINED else "none" for name in toys.NAMES}
    saved = {file.stem for file in ran.runs.glob("*/*.safetensors")}
    assert saved == set(TRAINED), "what learned has a checkpoint, and nothing else"

    images = {row.category: row.n_images for row in ran.rows}
    adapted = Counter(toy_adapts.DIARY)
    del adapted[NOMINAL.id]  # an image of noise, whose operations are counted
    assert len(adapted) == sum(images.values()), "each image is adapted to"
    assert set(adapted.values()) == {1}, "once, and alone"
    sets = [ids for ids in toy_transductive.DIARY if ids != (NOMINAL.id,)]
    assert sorted(map(len, sets)) == sorted(images.values()), "a category at once, whole, once"

    (classes, told), (what, remembered) = toy_memory.DIARY
    assert (classes, what) == ("classes", "stage"), "told once, before the only stage, which ends once"
    assert told, "of no category"
    assert remembered > 0


def test_stages_have_their_schedule_their_groups_and_their_limit(two_stages):
    steps = [entry[1:] for entry in two_stages if entry[0] == "step"]
    config = toy_two_stages.TwoStagesConfig()
    first = [(rates, norm) for stage, rates, norm in steps if stage == "texts"]
    each = len(first) // config.text_epochs
    assert each > 1, "an epoch of one step shows nothing"
    shares = [1 - epoch / config.text_epochs for epoch in range(config.text_epochs) for _ in range(each)]
    assert [rate for (rate,), _ in first] == pytest.approx([config.lr * share for share in shares]), "once per epoch"
    assert max(norm for _, norm in first) == pytest.approx(config.largest_gradient), "gradients are clipped"

    second = [(rates, norm) for stage, rates, norm in steps if stage == "images"]
    shares = [1 - step / len(second) for step in range(len(second))]
    usual, slow = zip(*(rates for rates, _ in second), strict=True)
    assert usual == pytest.approx([config.lr * share for share in shares]), "stepped with each batch, down to nothing"
    assert slow == pytest.approx([config.slow_lr * share for share in shares]), "a group with a rate of its own"
    assert max(norm for _, norm in second) > config.largest_gradient, "nobody asked for a limit in the second stage"


def test_a_frozen_text_side_is_encoded_once_a_stage(two_stages):
    steps = Counter(entry[1] for entry in two_stages if entry[0] == "step")
    assert steps["images"] > 1, "one step shows nothing"
    encoded = Counter(entry[1:] for entry in two_stages if entry[0] == "text")
    frozen = {
        category: n for (stage, category), n in encoded.items() if stage == "images" and category not in CATEGORIES
    }
    assert frozen, "the second stage encodes no text"
    assert set(frozen.values()) == {1}, f"texts that do not change are encoded {frozen}"
    learnt = max(n for (stage, _), n in encoded.items() if stage == "texts")
    assert learnt > 1, "texts that learn were kept"
    tested = {category: encoded["images", category] for category in CATEGORIES}
    assert set(tested.values()) == {1}, f"when tested, texts of a category are encoded {tested}"


@pytest.mark.slow
def test_the_size_of_batches_changes_no_number(bench, shared):
    one = shared.get("values") or values(bench("one").rows)
    other = values(bench("other", "--data", "batch_size=3").rows)
    assert one.keys() == other.keys()
    for key, value in one.items():
        # Training reads batches of the method's own size; what is tested differs by rounding alone.
        assert other[key] == pytest.approx(value, abs=0.02), f"{key}: {value} in large batches, {other[key]} in small"


@pytest.mark.slow
def test_a_second_network_is_in_rows_and_in_no_checkpoint(bench, monkeypatch):
    ran = bench("one", methods="toy_second_network")
    (saved,) = ran.runs.glob("*/toy_second_network.safetensors")
    own = {name for name in load_file(saved) if not name.startswith("learned_from.")}
    assert own == {"share"}, f"the checkpoint holds {sorted(own)}"
    monkeypatch.setattr(toy_second_network, "WEIGHTS", 101)
    other = bench("other", methods="toy_second_network")
    keys = [{row.key for row in rows} for rows in (ran.rows, other.rows)]
    assert not keys[0] & keys[1], "rows of other weights have the same key"


@pytest.mark.slow
def test_a_checkpoint_made_beside_other_weights_is_refused(bench, zsad, refused, monkeypatch):
    ran = bench("one", methods="toy_second_network")
    (saved,) = ran.runs.glob("*/toy_second_network.safetensors")
    tested = ("bench", "--method", "toy_second_network", "--checkpoint", str(saved), *COMMON[:6])
    assert zsad(*tested, "--out", "again").code == 0
    monkeypatch.setattr(toy_second_network, "WEIGHTS", 101)
    line = refused(1, *tested)
    assert "trained beside 'edges' with weights" in line
    assert line.endswith("use the same weights")


def test_each_method_is_told_what_it_took(bench, monkeypatch):
    from zsad_bench.runner import row_writer

    costs = {}
    write = row_writer.RowWriter._write

    def watched(self, category, found, *rest):
        costs.setdefault(self.spec.method, []).append((found.seconds_encode, found.seconds_score))
        return write(self, category, found, *rest)

    monkeypatch.setattr(row_writer.RowWriter, "_write", watched)
    bench("board", methods="toy_adapts,toy_no_text,random")
    assert {len(of) for of in costs.values()} == {len(CATEGORIES)}
    assert all(seconds > 0 for of in costs.values() for _, seconds in of), "scoring takes time"
    assert costs["toy_adapts"][0][0] > 0, "encoding takes time"
    for one, other in zip(costs["toy_adapts"], costs["toy_no_text"], strict=True):
        assert one[0] == pytest.approx(other[0], rel=0.2), "they shared one pass, and both are told its time"
    adapting, plain = (sum(seconds for _, seconds in costs[name]) for name in ("toy_adapts", "toy_no_text"))
    assert adapting > plain, "three steps of gradient descent per image take longer than none"


# --- sweep, in processes of its own ----------------------------------------------------------------------------------


RECIPE = f"""
suite: demo
methods: [{", ".join(toys.NAMES)}]
priors: [limited]
targets: [demo_textures]
settings: {{image_size: 36}}
epochs: 1
data:
  "*": {{scale: 0.04, workers: 0}}
"""


def zsad_bench(folder: Path, site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]), "COLUMNS": "200"}
    command = [sys.executable, "-m", "zsad_bench.cli", *words]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=900, check=False)


@pytest.mark.slow
def test_a_sweep_computes_them_and_goes_on_from_their_checkpoints(site, tmp_path):
    (tmp_path / "toys.yaml").write_text(RECIPE)
    done = zsad_bench(tmp_path, site, "sweep", "toys.yaml")
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    board, trained = tmp_path / "leaderboards" / "demo" / "rows", trainings(tmp_path)
    rows = store.load(board)
    assert {row.method for row in rows} == set(toys.NAMES)
    assert set(trained) == set(TRAINED)

    kept = {file: [line for line in file.read_text().splitlines(keepends=True) if '"carpet"' not in line]
            for file in board.glob("*.jsonl")}  # fmt: skip
    for file, lines in kept.items():
        file.write_text("".join(lines))
    again = zsad_bench(tmp_path, site, "sweep", "toys.yaml")
    assert again.returncode == 0, f"{again.stdout[-3000:]}\n{again.stderr[-3000:]}"
    assert trainings(tmp_path) == trained, "something was trained again though its checkpoint is there"
    resumed = values(store.load(board))
    for key, value in values(rows).items():
        assert resumed[key] == pytest.approx(value, abs=1e-6), f"{key}: {value} at once, {resumed[key]} resumed"


def trainings(folder: Path) -> Counter[str]:
    events = [json.loads(line) for file in (folder / "runs").rglob("*.jsonl") for line in file.read_text().splitlines()]
    return Counter(event["method"] for event in events if event.get("kind") == "trained")


# --- promises that a plug-in breaks -----------------------------------------------------------------------------------


BROKEN = '''"""A method that does not keep its word."""

import torch

from zsad_bench.methods.base import MethodConfig, ZeroShotMethod
from zsad_bench.types import Prediction


class Broken(ZeroShotMethod[MethodConfig]):
    title = "Broken"
    Config = MethodConfig

    def __init__(self, backbone, config=None):
        super().__init__(backbone, config)
        self.register_buffer("seen", torch.zeros(()))

    def score(self, features, samples):
        score, maps = torch.rand(len(samples)), torch.rand(len(samples), *features.image_size)
        {body}
        return Prediction(score, maps)
'''


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("maps = maps[:, ::2, ::2]", r"map of shape \(\d+, 32, 32\), one number per pixel .*; found \(\d+, 16, 16\)"),
        ("score = score[:1]", r"score of shape \(\d+,\), one number per image; found \(1,\)"),
        ("score = score / 0", "a finite score; found nan or an infinity"),
        ("maps[0, 0, 0] = float('nan')", "a finite map; found nan or an infinity"),
        ("maps = maps.double()", "map in float32; found float64"),
        ("score = score.half()", "score in float32; found float16"),
        ("return score, maps", "a Prediction for each batch; found tuple"),
        ("self.seen += 1", "no image knows of another, but `seen` was changed .* says adapts_at_test = True"),
    ],
)
def test_a_broken_promise_is_one_line_that_names_it(refused, small, plug_in, body, said):
    plug_in("shaky", {"broken.py": BROKEN.replace("{body}", body)}, methods={"broken": "shaky.broken"})
    line = refused(1, "bench", "--method", "broken", *COMMON)
    pattern = rf"zsad-bench: method broken breaks a promise of the interface: {said}"
    assert re.fullmatch(pattern, line), line


def test_a_method_says_what_its_backbone_lacks(refused, small, mini, monkeypatch):
    monkeypatch.setattr(type(mini), "offers", frozenset())
    line = refused(1, "bench", "--method", "toy_two_stages", *COMMON)
    assert line.endswith("Toy: two stages needs a text tower, and backbone mini has none; take another --backbone")
    assert torch.is_grad_enabled()
