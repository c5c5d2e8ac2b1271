# pytest tests/runner/test_run_group.py
"""One cell group end to end on generated data: trained, tested, written down as it goes, whatever ends it."""

from __future__ import annotations

import csv
import io
import json
import signal
from types import SimpleNamespace

import pytest
import torch

from tests.cells import run
from tests.miniature import SCALE
from zsad_bench import registry
from zsad_bench.console import Console
from zsad_bench.data import prior as priors
from zsad_bench.errors import CheckpointError, OverlapError, TrainingError, UsageError, ZsadError
from zsad_bench.methods.anomalyclip import AnomalyClip
from zsad_bench.methods.clip import Clip
from zsad_bench.metrics import IMAGE_KEYS, PIXEL_KEYS
from zsad_bench.planning.suite import PAPER
from zsad_bench.results import rows as store
from zsad_bench.results.image_scores import read_scores
from zsad_bench.runner import checkpoint, opened, run_group
from zsad_bench.variant import PLAIN, Variant

METHODS = ("clip", "anomalyclip", "random")
CATEGORIES = ("perforated", "terrazzo", "carpet")


def values(rows) -> dict[tuple[str, str, str], float]:
    return {(row.method, row.category, row.metric): row.value for row in rows}


@pytest.fixture(scope="module")
def ran(group_in, tmp_path_factory) -> SimpleNamespace:
    """One run of everything; several tests look at what it left."""
    folder = tmp_path_factory.mktemp("ran")
    console = Console(file=io.StringIO(), width=40)
    group = group_in(folder)
    record = run(group, console)
    folders = {name: group.runs / of.run_id for name, of in zip(METHODS, record.records, strict=True)}
    said = console.file.getvalue().splitlines()
    return SimpleNamespace(group=group, record=record, folders=folders, folder=folders["anomalyclip"], said=said)


def test_every_category_and_metric_has_its_row_on_disk(ran):
    rows = store.load(ran.group.board / "rows")
    expected = {(m, c, k) for m in METHODS for c in CATEGORIES for k in (*IMAGE_KEYS, *PIXEL_KEYS)}
    assert set(values(rows)) == expected
    assert len(rows) == len(expected), "a row was written twice"
    assert sorted(rows, key=str) == sorted(ran.record.rows, key=str), "disk and record differ"
    for row in rows:
        if row.metric == "pixel_aupimo":
            assert "too few" in row.reason, "a few images of 32 px hold too few normal pixels"
        else:
            assert row.value is not None, f"undefined on {row.category}: {row.reason}"
        assert (row.n_images, row.n_anomalous) == (4, 2), f"{row.category}: counts"
        assert (row.n_regions is None) == row.metric.startswith("image_")
        assert row.image_size == 32


def test_rows_say_what_was_learned_from(ran):
    by_method = {row.method: row for row in ran.record.rows}
    learned = by_method["anomalyclip"]
    data = registry.load("datasets", "demo_limited")(scale=SCALE)
    assert (learned.prior, learned.auxiliary, learned.seed) == ("limited", "demo_limited", 1)
    assert learned.prior_hash == priors.prior_hash({data.name: data.manifest_hash}), "not the images that were used"
    for name in ("clip", "random"):
        row = by_method[name]
        assert (row.prior, row.prior_hash, row.auxiliary) == ("none", "", ""), f"{name} learned from nothing"
    assert by_method["clip"].seed == 0, "without training or draws the seed is no part of the cell"
    assert by_method["random"].seed == 1, "its draws depend on the seed"
    assert by_method["random"].backbone == by_method["random"].weights_hash == "none", "it read no backbone"
    assert by_method["clip"].backbone == "mini"
    assert by_method["anomalyclip"].variant == Variant({"epochs": 1}), "what differs from the suite names the variant"
    assert by_method["clip"].variant == PLAIN, "epochs mean nothing to a method that does not train"


def test_a_setting_at_its_default_is_no_variant(group_in, quiet, tmp_path):
    """Its rows have the same key, and stand in the same line of a table."""
    found = {}
    for name, settings in (("plain", {}), ("spelled", {"temperature": 0.07, "gaussian_sigma": None})):
        group = group_in(tmp_path / name, methods=("clip",), targets=("demo_textures:carpet",), settings=settings)
        found[name] = {(row.key, row.variant) for row in run(group, quiet).rows}
    assert found["spelled"] == found["plain"]
    assert {variant for _, variant in found["plain"]} == {PLAIN}


def test_scores_of_each_image_are_kept(ran):
    row = next(r for r in ran.record.rows if (r.method, r.category, r.metric) == ("clip", "carpet", "image_auroc"))
    kept = read_scores(ran.group.board / "scores", row.key, "carpet")
    assert [i.split("/")[:2] for i in kept.ids] == [["demo_textures", "carpet"]] * 4
    good = [score for score, label in zip(kept.scores, kept.labels, strict=True) if label == 0]
    bad = [score for score, label in zip(kept.scores, kept.labels, strict=True) if label == 1]
    wins = sum((b > g) + 0.5 * (b == g) for b in bad for g in good) / (len(good) * len(bad))
    assert row.value == pytest.approx(wins), "the row's AUROC does not follow from its scores"


def test_configuration_log_and_checkpoint_are_kept(ran, mini):
    config = json.loads((ran.folder / "config.json").read_text())
    assert (config["prior"], config["seed"], config["backbone"]) == ("limited", 1, mini.id)
    assert (config["method"], config["config"]["taps"]) == ("anomalyclip", [4]), (
        "the resolved configuration, not what was left open"
    )
    with (ran.folder / "anomalyclip" / "prompts" / "metrics.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert {"loss", "loss_image", "loss_local"} <= set(line)
    assert float(line["loss"]) == pytest.approx(float(line["loss_image"]) + float(line["loss_local"]), rel=1e-4)
    header = checkpoint.read_header(ran.folder / "anomalyclip.safetensors")
    assert header.training["auxiliary"] == ["demo_limited"]
    assert header.training["seed"] == 1
    assert [path.name for path in ran.folder.glob("*.safetensors")] == ["anomalyclip.safetensors"]
    sheets = [path.name for folder in ran.folders.values() for path in folder.glob("*.png")]
    assert sheets == ["maps_demo_textures_32px.png"], "one sheet of all methods"
    assert len(set(ran.folders.values())) == 3


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({}, ("ViT-L-14-336-quickgelu", "openai")),
        ({"weights": "here.pt"}, ("ViT-L-14-336-quickgelu", "here.pt")),
        ({"backbone": "tiny"}, ("tiny", None)),
        ({"backbone": "tiny", "weights": "there"}, ("tiny", "there")),
    ],
)
def test_the_suites_weights_are_for_the_suites_backbone(group_in, quiet, tmp_path, monkeypatch, fields, asked):
    def load(*names):
        assert names == (*asked, "float32", "no")
        raise LookupError("far enough")

    monkeypatch.setattr(opened, "load_backbone", load)
    with pytest.raises(LookupError, match="far enough"):
        run(group_in(tmp_path, suite=PAPER, **fields), quiet)


def test_progress_is_plain_lines(ran):
    (epoch,) = [line for line in ran.said if "epoch" in line]
    loss = float(epoch.split("loss ")[1].split()[0])
    assert loss > 0
    assert "AnomalyCLIP" in epoch, f"the line does not say who learns: {epoch}"
    assert "epoch 1/1" in epoch
    assert [line for line in ran.said if line.startswith("test on Demo textures: done")], ran.said
    # A machine that is busy is told in between how long it will still take.
    said = [line for line in ran.said if not line.endswith(" left")]
    assert len(said) == 2, f"one line per epoch and one per test, none of them broken: {ran.said}"


def test_running_again_gives_the_same_numbers(ran, group_in, quiet, tmp_path):
    torch.rand(3)  # whatever was drawn before
    again = run(group_in(tmp_path), quiet)
    assert values(again.rows) == values(ran.record.rows), "two runs of the same cells differ"
    assert {row.key for row in again.rows} == {row.key for row in ran.record.rows}
    assert not set(again.run_ids) & set(ran.record.run_ids)


def test_a_method_alone_gives_the_numbers_it_gives_in_company(ran, group_in, quiet, tmp_path):
    alone = run(group_in(tmp_path, methods=("anomalyclip",)), quiet)
    company = {key: value for key, value in values(ran.record.rows).items() if key[0] == "anomalyclip"}
    assert values(alone.rows) == pytest.approx(company, abs=1e-6)


def test_another_seed_trains_another_model(ran, group_in, quiet, tmp_path):
    other = run(group_in(tmp_path, methods=("anomalyclip",), seed=2), quiet)
    one, two = (
        checkpoint.read_header(path) for path in (ran.folder / "anomalyclip.safetensors",
                                                  tmp_path / "runs" / other.run_ids[0] / "anomalyclip.safetensors")
    )  # fmt: skip
    assert (one.training["seed"], two.training["seed"]) == (1, 2)
    assert {row.seed for row in other.rows} == {2}
    assert values(other.rows) != {k: v for k, v in values(ran.record.rows).items() if k[0] == "anomalyclip"}


# --- checkpoints ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_tested_instead_of_training(ran, group_in, quiet, tmp_path, monkeypatch):
    monkeypatch.setattr(run_group, "fit", lambda *args: pytest.fail("trained although a checkpoint was given"))
    file = ran.folder / "anomalyclip.safetensors"
    # Another seed and prior are asked for: the rows must tell what the checkpoint was trained with.
    group = group_in(tmp_path, methods=("anomalyclip",), checkpoint=file, epochs=None, seed=7, prior="rich")
    loaded = run(group, quiet)
    expected = {key: value for key, value in values(ran.record.rows).items() if key[0] == "anomalyclip"}
    assert values(loaded.rows) == pytest.approx(expected, abs=1e-6), "the checkpoint does not give its run's numbers"
    (original,) = {(r.key, r.seed, r.prior, r.variant) for r in ran.record.rows if r.method == "anomalyclip"}
    assert {(r.key, r.seed, r.prior, r.variant) for r in loaded.rows} == {original}, "it is the same cell"
    config = json.loads((tmp_path / "runs" / loaded.run_ids[0] / "config.json").read_text())
    assert config["config"]["seed"] == 1, "config.json shows another configuration than was tested"


def test_a_checkpoint_is_not_tested_on_what_it_learned_from(ran, group_in, quiet, tmp_path):
    group = group_in(
        tmp_path, methods=("anomalyclip",), checkpoint=ran.folder / "anomalyclip.safetensors", epochs=None,
        prior="rich", targets=("demo_limited",),
    )  # fmt: skip
    with pytest.raises(OverlapError, match="demo_limited"):
        run(group, quiet)


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"methods": ("anomalyclip",), "epochs": 3}, UsageError, "leave out --set and --epochs"),
        ({"methods": ("anomalyclip",), "epochs": None, "settings": {"lr": 1.0}}, UsageError, "leave out --set and"),
        ({"methods": ("clip",), "epochs": None}, CheckpointError, "is of anomalyclip, asked for clip"),
    ],
)
def test_a_checkpoint_that_cannot_be_meant_is_refused(ran, group_in, quiet, tmp_path, fields, error, said):
    with pytest.raises(error, match=said) as caught:
        run(group_in(tmp_path, checkpoint=ran.folder / "anomalyclip.safetensors", **fields), quiet)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "board").exists(), "rows were written"


# --- what ends a run early --------------------------------------------------------------------------------------------


def test_what_was_learned_from_is_never_tested_on(group_in, quiet, tmp_path, monkeypatch):
    monkeypatch.setattr(run_group, "fit", lambda *args: pytest.fail("trained before the overlap was seen"))
    with pytest.raises(OverlapError, match="dataset 'demo_limited' is both auxiliary and target"):
        run(group_in(tmp_path, targets=("demo_textures", "demo_limited")), quiet)
    training_free = run(group_in(tmp_path, methods=("clip",), targets=("demo_limited",)), quiet)
    assert training_free.rows, "a method that learns from nothing overlaps with nothing"


@pytest.mark.parametrize(("fields", "said"), [
    ({"epochs": -1}, "anomalyclip: -1 epochs"),
    ({"settings": {"batch_size": 0}, "methods": ("anomalyclip",)}, "batches of 0"),
    ({"settings": {"image_size": 33}}, "multiples of 8"),
])  # fmt: skip
def test_impossible_numbers_are_refused_before_training(group_in, quiet, tmp_path, monkeypatch, fields, said):
    monkeypatch.setattr(run_group, "fit", lambda *args: pytest.fail("training began"))
    with pytest.raises(UsageError, match=said):
        run(group_in(tmp_path, **fields), quiet)


def fails_to_build(monkeypatch) -> None:
    def refuse(self, backbone, config=None):
        raise UsageError("its second network is not on this machine")

    monkeypatch.setattr(AnomalyClip, "__init__", refuse)


def fails_to_train(monkeypatch) -> None:
    def broken(self, features, batch):
        raise TrainingError("its second network is not on this machine")

    monkeypatch.setattr(AnomalyClip, "losses", broken)


def fails_on_a_category(monkeypatch) -> None:
    def refuse(self, category):
        raise UsageError("its second network is not on this machine")

    monkeypatch.setattr(AnomalyClip, "remark", refuse)


@pytest.mark.parametrize("fails", [fails_to_build, fails_on_a_category, fails_to_train])
def test_a_run_that_fails_takes_no_other_along(ran, group_in, quiet, tmp_path, monkeypatch, fails):
    fails(monkeypatch)
    with pytest.raises(ZsadError, match="its second network"):
        run(group_in(tmp_path), quiet)
    said = "AnomalyCLIP · prior limited · seed 1 is left out: its second network is not on this machine"
    assert quiet.file.getvalue().count(said) == 1
    expected = {key: value for key, value in values(ran.record.rows).items() if key[0] != "anomalyclip"}
    assert values(store.load(tmp_path / "board" / "rows")) == expected


@pytest.mark.parametrize("blow", [RuntimeError("the disk melted"), KeyboardInterrupt()], ids=lambda e: type(e).__name__)
def test_what_was_complete_stays(group_in, quiet, tmp_path, monkeypatch, blow):
    """Batches of three straddle the categories of four; the blow falls in the one that ends the second category."""
    monkeypatch.setattr(opened, "TEST_BATCH", 3)
    score = Clip.score

    def dying(self, features, samples):
        if samples[-1].category.name == "carpet":
            raise blow
        return score(self, features, samples)

    monkeypatch.setattr(Clip, "score", dying)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(type(blow)):
        run(group_in(tmp_path, methods=("clip", "random")), quiet)
    assert signal.getsignal(signal.SIGINT) is handler, "Ctrl-C is no longer heard"
    rows = store.load(tmp_path / "board" / "rows")
    expected = {(m, "perforated", k) for m in ("clip", "random") for k in (*IMAGE_KEYS, *PIXEL_KEYS)}
    assert set(values(rows)) == expected, "the first category must be whole, and of the others nothing"
    assert {row.n_images for row in rows} == {4}


def test_a_terminal_gets_bars(group_in, tmp_path, capsys):
    terminal = Console(file=io.StringIO(), force_terminal=True)
    assert run(group_in(tmp_path), terminal).rows, "nothing was computed"
    assert "Epoch" in capsys.readouterr().out, "no bar was drawn"
    assert "epoch 1/1" not in terminal.file.getvalue(), "plain lines and a bar both"


def test_ctrl_c_while_training_leaves_as_such(group_in, quiet, tmp_path, monkeypatch):
    def interrupted(self, features, batch):
        raise KeyboardInterrupt

    monkeypatch.setattr(AnomalyClip, "losses", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(group_in(tmp_path), quiet)
    assert not list((tmp_path / "runs").glob("*/*.safetensors")), "a half-trained checkpoint was left"
