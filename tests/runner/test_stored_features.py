# pytest tests/runner/test_stored_features.py
"""What a group of runs gains by stored features, and that no number notices."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
import torch

from tests.cells import Group, run
from zsad_bench.console import Console
from zsad_bench.errors import UsageError
from zsad_bench.methods._trainer_part import TrainerPart
from zsad_bench.results.row import Row
from zsad_bench.runner import computation, stored_features
from zsad_bench.runner.opened import Opened
from zsad_bench.runner.prepared_run import prepare
from zsad_bench.runner.run_spec import FeatureOptions

LEARNERS = ("anomalyclip", "april_gan")
EPOCHS = 3
NOTICING = ("anomalyclip", "april_gan", "adaclip")


@pytest.fixture
def encoded(mini, monkeypatch) -> list[int]:
    """Gets the number of images of each pass through the visual tower, but of those that count operations."""
    monkeypatch.setattr(computation, "gflops", lambda method: 1.0)
    passes: list[int] = []
    encode = type(mini).encode_image

    def counted(self, images, *args, **options):
        passes.append(len(images))
        return encode(self, images, *args, **options)

    monkeypatch.setattr(type(mini), "encode_image", counted)
    return passes


def losses(group: Group) -> list[float]:
    """Of each epoch, of each training: logged from all its steps."""
    values = []
    for file in sorted(group.runs.rglob("metrics.csv"), key=lambda file: (file.parts[-3], str(file))):
        values += [float(line["loss"]) for line in csv.DictReader(io.StringIO(file.read_text())) if line.get("loss")]
    return values


def both_seeds(group_in, folder: Path, where: str) -> Group:
    features = FeatureOptions(str(folder / "features") if where == "folder" else where)
    groups = [group_in(folder, LEARNERS, seed=seed, epochs=EPOCHS, features=features) for seed in (0, 1)]
    return Group([spec for group in groups for spec in group.specs])


@pytest.mark.slow
def test_epochs_and_seeds_encode_nothing_more(group_in, quiet, tmp_path, encoded):
    run(group_in(tmp_path / "one", LEARNERS, seed=0, epochs=1), quiet)
    once = sum(encoded)
    encoded.clear()
    ran = run(both_seeds(group_in, tmp_path / "both", "memory"), quiet)
    assert sum(encoded) == once
    assert {(row.method, row.seed) for row in ran.rows} == {(method, seed) for method in LEARNERS for seed in (0, 1)}
    encoded.clear()
    run(both_seeds(group_in, tmp_path / "off", "off"), quiet)
    assert sum(encoded) > 3 * once


def test_trainings_that_share_a_forward_pass_encode_their_images_once(group_in, quiet, tmp_path, encoded):
    """AnomalyCLIP asks for the V-V path, CoOp for the pooled feature: what the second one needs is there already."""
    both = ("anomalyclip", "coop")
    counts = {}
    for name, methods in {"both": both, "first": both[:1], "second": both[1:]}.items():
        encoded.clear()
        run(group_in(tmp_path / name, methods, epochs=2), quiet)
        counts[name] = sum(encoded)
    assert counts["both"] == counts["first"] == counts["second"], "one of two trainings encoded images of its own"
    encoded.clear()
    run(group_in(tmp_path / "off", both, epochs=1, features=FeatureOptions("off")), quiet)
    assert sum(encoded) > counts["both"], "the trainings encode nothing, so nothing was counted"


def test_other_auxiliary_images_and_augmented_ones_ask_for_nothing(group_in, tmp_path):
    def runs(**fields):
        specs = [spec for method in ("anomalyclip", "coop") for spec in group_in(tmp_path, (method,), **fields).specs]
        return [prepare(spec, opened) for spec in specs]

    opened = Opened()
    (first, second), (other, _), (flipped, _) = runs(), runs(prior="rich"), runs(augment=("flip",))
    own = {spec.forward: spec for spec in (first.method.encoder_spec,)}
    assert stored_features.coming([first]) == own
    (union,) = stored_features.coming([first, second]).values()
    assert union == first.method.encoder_spec.merge(second.method.encoder_spec) != first.method.encoder_spec
    assert stored_features.coming([first, other]) == own
    assert stored_features.coming([second, flipped]) == {second.method.encoder_spec.forward: second.method.encoder_spec}


@pytest.fixture(scope="module")
def plain(group_in, tmp_path_factory) -> tuple[list[float], list[Row]]:
    """Losses and rows of a run that stores nothing."""
    group = group_in(tmp_path_factory.mktemp("plain"), NOTICING, epochs=2, features=FeatureOptions("off"))
    rows = run(group, Console(file=io.StringIO())).rows
    return losses(group), rows


@pytest.mark.slow
@pytest.mark.parametrize("where", ["memory", "folder"])
def test_no_number_notices(group_in, quiet, tmp_path, plain, where):
    features = FeatureOptions(str(tmp_path / "features") if where == "folder" else where)
    stored = group_in(tmp_path, NOTICING, epochs=2, features=features)
    found, (expected_losses, expected) = run(stored, quiet).rows, plain
    torch.testing.assert_close(losses(stored), expected_losses, rtol=0, atol=1e-5)
    assert len(expected_losses) >= 2 * len(NOTICING)
    assert [row.key for row in found] == [row.key for row in expected]
    for row, other in zip(found, expected, strict=True):
        assert (row.value is None) == (other.value is None)
        if row.value is not None:
            assert row.value == pytest.approx(other.value, abs=1e-6), (row.method, row.category, row.metric)


def test_the_first_twenty_losses_are_the_same(group_in, quiet, tmp_path, monkeypatch):
    seen: list[float] = []
    step = TrainerPart.training_step

    def noted(self, batch, batch_idx):
        loss = step(self, batch, batch_idx)
        seen.append(float(loss.detach()))
        return loss

    monkeypatch.setattr(TrainerPart, "training_step", noted)
    of: dict[str, list[float]] = {}
    for where in ("off", "memory"):
        run(group_in(tmp_path / where, ("anomalyclip",), epochs=10, features=FeatureOptions(where)), quiet)
        of[where], seen = seen[:20], []
    assert len(of["off"]) == 20
    torch.testing.assert_close(of["memory"], of["off"], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_folder_serves_the_next_run(group_in, quiet, tmp_path, encoded):
    first = run(both_seeds(group_in, tmp_path, "folder"), quiet)
    encoded.clear()
    again = run(both_seeds(group_in, tmp_path, "folder"), quiet)
    assert not encoded
    assert [row.value for row in again.rows] == [row.value for row in first.rows]
    assert {row.seconds_encode is None for row in first.rows} == {False}
    assert {row.seconds_encode is None for row in again.rows} == {True}, "what encoding took is not known"


@pytest.mark.slow
def test_what_is_changed_in_each_epoch_is_not_stored(group_in, quiet, tmp_path, encoded):
    """Augmented by the data, by the method itself, or edited from the first block on."""
    for method, fields in (("anomalyclip", {"augment": ("flip",)}), ("aa_clip", {}), ("dive", {})):
        counts = []
        for where in ("memory", "off"):
            encoded.clear()
            group = group_in(tmp_path / f"{method}{where}", (method,), features=FeatureOptions(where), **fields)
            run(group, quiet)
            counts.append(sum(encoded))
        assert counts[0] == counts[1], method


def test_what_lies_below_an_edit_is_stored(group_in, quiet, tmp_path, monkeypatch, mini):
    """DIVE without visual prompts begins to edit in the last blocks."""
    blocks = []
    block = type(mini.vision).block
    monkeypatch.setattr(
        type(mini.vision), "block", lambda self, number, *rest: blocks.append(number) or block(self, number, *rest)
    )
    group = group_in(tmp_path, ("dive",), epochs=4, settings={"shallow": False})
    run(group, quiet)
    first, last = blocks.count(1), blocks.count(mini.vision.n_blocks)
    assert last > 2 * first


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (FeatureOptions(), "are kept in memory, which may take"),
        (FeatureOptions(budget=40_000), "in memory as far as 40 kB reach, and the others are encoded in each epoch"),
        (FeatureOptions("FOLDER"), "free), and in memory up to"),
    ],
)
def test_the_size_is_said_before_anything_is_written(group_in, quiet, tmp_path, monkeypatch, options, said):
    monkeypatch.setattr(stored_features, "UNSAID", 10_000)
    if options.where == "FOLDER":
        options = FeatureOptions(str(tmp_path / "features"))
    run(group_in(tmp_path, ("anomalyclip",), epochs=2, features=options), quiet)
    text = " ".join(quiet.file.getvalue().split())
    assert said in text
    assert text.index("features of at most") < text.index("train AnomalyCLIP")


def test_methods_that_nothing_is_kept_of_are_named_where_storing_was_asked_for(group_in, tmp_path):
    specs = [spec for name in ("visualad", "dive", "april_gan") for spec in group_in(tmp_path, (name,)).specs]
    learning, asked = [prepare(spec, Opened()) for spec in specs], FeatureOptions(str(tmp_path / "features"))
    for options, titles in ((asked, ["VisualAD", "DIVE"]), (FeatureOptions(), [])):
        said: list[str] = []
        stored_features.opened(options, learning, said.append)
        assert [line.partition(":")[0] for line in said if "none of its features are kept" in line] == titles


def test_little_is_not_worth_a_line(group_in, quiet, tmp_path):
    run(group_in(tmp_path, ("anomalyclip",)), quiet)
    assert "features" not in quiet.file.getvalue()


def test_a_budget_too_small_for_one_image_is_refused(group_in, quiet, tmp_path):
    with pytest.raises(
        UsageError, match=r"--feature-budget 10 bytes: the features of one image take .* --features off"
    ):
        run(group_in(tmp_path, ("anomalyclip",), features=FeatureOptions(budget=10)), quiet)


def test_a_folder_that_cannot_be_made_is_refused(group_in, quiet, tmp_path):
    (tmp_path / "file").write_text("")
    features = FeatureOptions(str(tmp_path / "file" / "folder"))
    with pytest.raises(UsageError, match="the folder cannot be made"):
        run(group_in(tmp_path, ("anomalyclip",), features=features), quiet)


@pytest.mark.parametrize(
    ("size", "said"), [(12, "12 bytes"), (1500, "1.5 kB"), (42 * 10**6, "42 MB"), (3_600_000_000, "3.6 GB")]
)
def test_sizes_are_readable(size, said):
    assert stored_features.readable(size) == said


def test_rows_say_what_was_rounded(group_in, quiet, tmp_path):
    half = FeatureOptions(type="float16")
    rows = run(group_in(tmp_path, ("clip", "anomalyclip"), features=half), quiet).rows
    plain = run(group_in(tmp_path / "plain", ("clip", "anomalyclip")), quiet).rows
    assert {(row.method, row.precision) for row in rows} == {
        ("clip", "float32"),
        ("anomalyclip", "float32+float16-features"),
    }
    same = {row.method for row, other in zip(rows, plain, strict=True) if row.key == other.key}
    assert same == {"clip"}
