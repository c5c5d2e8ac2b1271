# pytest tests/test_python.py
"""The front door for Python: docs/python.md literally, in one process and in two, and what is refused, in one line."""

from __future__ import annotations

import doctest
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image

import zsad_bench as zb
from tests.methods import toys
from tests.two_processes import by_gloo, run_script
from zsad_bench.errors import (
    CheckpointError,
    DatasetError,
    OverlapError,
    UnknownNameError,
    UsageError,
    ZsadError,
)
from zsad_bench.methods.base import MethodConfig
from zsad_bench.runner import checkpoint
from zsad_bench.types import Prediction

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
(SCRIPT,) = re.findall(r"```python\n(from lightning import Trainer\n.*?)```", PAGE, flags=re.DOTALL)
(TWO_PROCESSES,) = re.findall(r"```text\n(trainer = Trainer\(.*\))\n```", PAGE)
LEARNED = ("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "pixel_aupro")


def rand_image(height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def method():
    return zb.load_method("clip", backbone="tiny")


@pytest.fixture(scope="module")
def untrained():
    return zb.load_method("dive", backbone="tiny")


@pytest.fixture(scope="module")
def tiny():
    return zb.load_backbone("tiny")


def message(error: type[ZsadError], act) -> str:
    """What `act` raises, which is one line."""
    with pytest.raises(error) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_examples_of_the_page():
    test = doctest.DocTestParser().get_doctest(PAGE, {}, "docs/python.md", "docs/python.md", 0)
    assert len(test.examples) > 15, "the page has no examples: is it read at all?"
    said: list[str] = []
    doctest.DocTestRunner().run(test, out=said.append)
    assert not said, "".join(said)


def test_the_page_names_what_there_is():
    table = PAGE.split("| name | returns |")[1].split("\n\n")[0]
    assert set(re.findall(r"`zb\.(\w+)\(", table)) == set(zb.__all__) - {"Predictions"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict:
    """What the script's names are after one process ran it."""
    folder = tmp_path_factory.mktemp("script")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # Lightning leaves its logs there
        names: dict = {}
        exec(compile(SCRIPT, "docs/python.md", "exec"), names)
    return {**names, "folder": folder}


def test_the_script_has_ten_lines_and_metrics_come_out(alone):
    assert len([line for line in SCRIPT.splitlines() if line.strip()]) <= 10
    metrics, trainer = alone["metrics"], alone["trainer"]
    for key in ("image_auroc", "pixel_aupro"):
        assert 0 < metrics[key] < 1
        assert float(trainer.callback_metrics[key]) == pytest.approx(metrics[key])
        of_categories = [metrics[f"{key}/{category.name}"] for category in alone["target"].categories()]
        assert metrics[key] == pytest.approx(np.mean(of_categories), abs=1e-6)
    assert alone["method"].is_trained
    started = zb.load_method("dive", backbone="tiny").own_state()
    assert not all(torch.equal(started[name], tensor) for name, tensor in alone["method"].own_state().items())


def test_a_lightning_checkpoint_brings_back_what_was_learned_alone(alone, monkeypatch):
    monkeypatch.chdir(alone["folder"])
    (path,) = Path().glob("**/*.ckpt")
    state = torch.load(path, weights_only=False)["state_dict"]
    assert set(state) == set(alone["method"].own_state()), "the frozen weights are in it"
    fresh = zb.load_method("dive", backbone="tiny")
    (again,) = Trainer(logger=False).test(fresh, datamodule=alone["target"], ckpt_path=str(path), verbose=False)
    assert again == pytest.approx(alone["metrics"], abs=1e-6, nan_ok=True)
    torch.save({**torch.load(path, weights_only=False), "state_dict": dict(list(state.items())[1:])}, "short.ckpt")
    with pytest.raises(CheckpointError, match="missing or unknown"):
        Trainer(logger=False).test(fresh, datamodule=alone["target"], ckpt_path="short.ckpt", verbose=False)


@pytest.mark.slow
@by_gloo
def test_two_processes_give_what_one_gives(alone, tmp_path):
    """The same script with the page's other Trainer: same images, same metrics, and as good as the same training."""
    text = SCRIPT.replace("trainer = Trainer(max_epochs=1)", TWO_PROCESSES)
    assert text != SCRIPT
    text += """
import json, os, torch
ids = [sample.id for batch in target.test_dataloader() for sample in batch.samples]
learned = [sample.id for batch in auxiliary.train_dataloader() for sample in batch.samples]
torch.save(method.own_state(), f"state{trainer.global_rank}.pt")
with open(f"rank{trainer.global_rank}.json", "w") as file:
    json.dump({"metrics": metrics, "ids": ids, "learned": learned, "world": trainer.world_size}, file)
"""
    done = run_script(tmp_path, text)
    assert "sync_dist" not in done.stderr, "Lightning warns of metrics that are not gathered"
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert [rank["world"] for rank in ranks] == [2, 2]
    assert ranks[0]["metrics"] == pytest.approx(ranks[1]["metrics"], abs=0, nan_ok=True)

    target, auxiliary = alone["target"], alone["auxiliary"]
    for key, data in (("ids", target), ("learned", auxiliary)):
        everything = sorted(data.info(sample).id for sample in data.samples())
        assert sorted(ranks[0][key] + ranks[1][key]) == everything, f"{key}: an image twice, or left out"

    states = [torch.load(tmp_path / f"state{rank}.pt") for rank in range(2)]
    started, one = zb.load_method("dive", backbone="tiny").own_state(), alone["method"].own_state()
    for name, tensor in one.items():
        assert torch.equal(states[0][name], states[1][name]), f"the ranks learned different {name}"
        moved = (tensor.float() - started[name].float()).norm()
        apart = (states[0][name].float() - tensor.float()).norm()
        assert apart <= 0.02 * moved, f"{name}: two processes learn something else than one"

    same = zb.load_method("dive", backbone="tiny")
    same.load_own_state(states[0])
    (metrics,) = Trainer(logger=False).test(same, datamodule=target, verbose=False)
    assert metrics == pytest.approx(ranks[0]["metrics"], abs=1e-6, nan_ok=True)
    for key in LEARNED:
        assert ranks[0]["metrics"][key] == pytest.approx(alone["metrics"][key], abs=2e-3)


# --- predict ----------------------------------------------------------------------------------------------------------


def test_a_photo_scores_what_it_scores_in_a_dataset(method):
    """The same image, with a label in a test and without one here: one pass, one number."""
    data = zb.load_dataset("demo_objects:bottle", method, scale=0.04, batch_size=3)
    paths = [data.root / sample.image for sample in data.samples()]
    tested = Trainer(logger=False, enable_progress_bar=False).predict(method, datamodule=data)
    assert all(isinstance(one, Prediction) for one in tested)
    found = zb.predict(method, paths, name="bottle", batch_size=3)
    assert found.scores.tolist() == torch.cat([one.score for one in tested]).tolist()
    assert np.array_equal(found.maps, torch.cat([one.map for one in tested]).numpy())
    pictures = zb.predict(method, [Image.open(path) for path in paths], name="bottle", batch_size=3)
    arrays = zb.predict(method, [np.asarray(Image.open(path)) for path in paths], name="bottle", batch_size=3)
    assert np.array_equal(found.scores, pictures.scores)
    assert np.array_equal(found.scores, arrays.scores)


def test_the_name_is_what_prompts_say(method):
    one, other = (zb.predict(method, [rand_image()], name=name).scores for name in ("bottle", "brain"))
    assert one != other


def test_maps_have_the_size_of_the_method_or_of_the_images(method):
    images = [rand_image(40, 60), rand_image(200, 150)]
    small, large = zb.predict(method, images), zb.predict(method, images, full_size=True)
    assert small.maps.shape == (2, 96, 96)
    assert small.maps.dtype == small.scores.dtype == np.float32
    assert [one.shape for one in large.maps] == [(40, 60), (200, 150)]
    assert all(one.dtype == np.float32 for one in large.maps)
    for whole, one in zip(large.maps, small.maps, strict=True):
        assert whole.mean() == pytest.approx(one.mean(), abs=0.02), "another map, not another size of it"


def test_a_method_without_maps_gives_none(method, monkeypatch):
    bare = method.score
    monkeypatch.setattr(method, "score", lambda *given: Prediction(bare(*given).score))
    assert zb.predict(method, [rand_image()]).maps is None


def test_predict_leaves_the_method_as_it_was(method):
    method.train()
    zb.predict(method, [rand_image()])
    assert method.training
    method.eval()
    assert not torch.is_inference_mode_enabled()


def test_a_method_that_adapts_to_each_image(tiny):
    """With gradients, under a plain Trainer's inference mode and in `predict`; and it is put back."""
    method = toys.load("toy_adapts")(tiny, toys.load("toy_adapts").Config(image_size=96)).eval()
    data = zb.load_dataset("demo_objects:bottle", method, scale=0.04)
    found = zb.predict(method, [data.root / sample.image for sample in data.samples()], name="bottle")
    tested = Trainer(logger=False, enable_progress_bar=False).predict(method, datamodule=data)
    assert found.scores == pytest.approx(torch.cat([one.score for one in tested]).numpy(), abs=1e-6)
    (metrics,) = Trainer(logger=False, enable_progress_bar=False).test(method, datamodule=data, verbose=False)
    table = zb.evaluate(method, data).set_index("metric")["value"]
    assert metrics["pixel_auroc"] == pytest.approx(table["pixel_auroc"], abs=1e-6)
    assert not method.shift.any()


def test_a_transductive_method_wants_whole_categories(tiny):
    method = toys.load("toy_transductive")(tiny, MethodConfig(image_size=96)).eval()
    data = zb.load_dataset("demo_objects:bottle", method, scale=0.1, batch_size=3)
    assert "evaluate" in message(UsageError, lambda: zb.predict(method, [rand_image()]))
    trainer = Trainer(logger=False, enable_progress_bar=False)
    assert "whole categories" in message(UsageError, lambda: trainer.test(method, datamodule=data, verbose=False))
    table = zb.evaluate(method, data)
    assert set(table["n_images"]) == {10}
    assert 0 <= table.set_index("metric")["value"]["pixel_auroc"] <= 1


def test_stages_are_fitted_one_by_one(tiny):
    method = toys.load("toy_two_stages")(tiny, toys.load("toy_two_stages").Config(image_size=96, batch_size=4))
    data = zb.load_dataset("demo_limited", method, scale=0.04, batch_size=4)
    fresh = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    assert "begin_stage" in message(UsageError, lambda: Trainer(max_epochs=1, **fresh).fit(method, datamodule=data))
    for stage in method.stages():
        method.begin_stage(stage)
        Trainer(max_epochs=stage.epochs, **fresh).fit(method, datamodule=data)
    assert zb.predict(method, [rand_image()], name="bottle").scores.shape == (1,)


@pytest.mark.parametrize("augment", [(), ("flip",)])
def test_what_predict_has_read_can_be_learned_from(tiny, augment):
    """By the data module, and by the loader that the Trainer made of it in inference mode."""
    method = toys.load("toy_two_stages")(tiny, toys.load("toy_two_stages").Config(image_size=96, batch_size=4))
    data = zb.load_dataset("demo_objects:bottle", method, scale=0.04, batch_size=4, augment=augment)
    options = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    before = Trainer(**options)
    read = before.predict(zb.load_method("clip", backbone=tiny, image_size=96), datamodule=data)
    loader = before.predict_dataloaders
    assert loader.dataset.epoch == 1
    for given in ({"datamodule": data}, {"train_dataloaders": loader}):
        method.begin_stage(method.stages()[0])
        trainer = Trainer(max_epochs=1, **options)
        trainer.fit(method, **given)
        assert trainer.global_step == len(read), given
    assert loader.dataset.epoch == 2, "a pass was not counted"


# --- evaluate ---------------------------------------------------------------------------------------------------------


def test_evaluate_is_what_a_trainer_tests(method):
    data = zb.load_dataset("demo_objects:bottle+key", method, scale=0.1)
    table = zb.evaluate(method, data)
    (metrics,) = Trainer(logger=False).test(method, datamodule=data, verbose=False)
    found = {f"{line.metric}/{line.category}": line.value for line in table.itertuples()}
    assert found == pytest.approx({key: value for key, value in metrics.items() if "/" in key}, abs=1e-6, nan_ok=True)
    assert set(table["category"]) == {"bottle", "key"}
    assert (table["n_images"] == 10).all()
    assert table["n_regions"].isna().tolist() == [key.startswith("image") for key in table["metric"]]
    assert table["reason"].notna().tolist() == table["value"].isna().tolist()


def test_evaluate_says_what_was_left_out(method, tmp_path):
    for kind in ("good", "broken"):
        (tmp_path / "parts" / kind).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(rand_image(50 + number, 50)).save(tmp_path / "parts" / kind / f"{number}.png")
    (tmp_path / "parts" / "good" / "2.png").write_bytes(b"no image")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        table = zb.evaluate(method, f"folder:{tmp_path / 'parts'}", on_bad_image="skip")
    assert any("left out" in str(warning.message) and "2.png" in str(warning.message) for warning in said)
    assert set(table["n_skipped"]) == {1}
    assert set(table["metric"]) == {"image_auroc", "image_ap", "image_f1max"}, "there are no masks"


def test_a_checkpoint_is_not_evaluated_on_what_it_learned_from(untrained, tmp_path):
    training = {"prior": "limited", "prior_hash": "0", "auxiliary": ["demo_limited"], "seed": 0}
    checkpoint.save(tmp_path / "dive.safetensors", untrained, training)
    loaded = zb.load_method("dive", checkpoint=tmp_path / "dive.safetensors")
    assert loaded.backbone.name == "tiny"
    assert zb.predict(loaded, [rand_image()]).scores.shape == (1,)
    assert "demo_limited" in message(OverlapError, lambda: zb.evaluate(loaded, "demo_limited", scale=0.04))


def test_what_was_learned_is_kept_with_what_it_was_learned_from(alone, tmp_path):
    method, auxiliary = alone["method"], alone["auxiliary"]
    path = zb.save_method(method, tmp_path / "new" / "dive.safetensors", auxiliary)
    loaded = zb.load_method("dive", checkpoint=path)
    before, after = (zb.predict(one, [rand_image()], name="bottle") for one in (method, loaded))
    assert np.array_equal(before.scores, after.scores)
    assert np.array_equal(before.maps, after.maps)
    header = checkpoint.read_header(path)
    assert header.training["auxiliary"] == ["demo_limited"]
    assert header.training["variant"] == {"checkpoint": "python"}
    message(OverlapError, lambda: zb.evaluate(loaded, auxiliary))
    copy = tmp_path / "copy"  # the same images under another name
    for sample in auxiliary.samples():
        kind = copy / ("good" if sample.label == 0 else "bad") / sample.image.replace("/", "_")
        kind.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(auxiliary.root / sample.image, kind)
    message(OverlapError, lambda: zb.evaluate(loaded, f"folder:{copy}"))


def test_what_learns_nothing_is_not_saved(method, untrained, alone, tmp_path):
    for one, words in ((method, "learns nothing"), (untrained, "has learned nothing yet")):
        assert words in message(UsageError, lambda one=one: zb.save_method(one, tmp_path / "a", alone["auxiliary"]))


# --- what is refused --------------------------------------------------------------------------------------------------


def test_names_that_there_are_not(method):
    assert "did you mean clip" in message(UnknownNameError, lambda: zb.load_method("cilp", backbone="tiny"))
    assert "did you mean visa" in message(UnknownNameError, lambda: zb.load_dataset("vias"))
    assert "did you mean bottle" in message(UnknownNameError, lambda: zb.load_dataset("demo_objects:botle"))
    assert "did you mean scale" in message(UnknownNameError, lambda: zb.load_dataset("demo_objects", scael=1))
    assert "did you mean tiny" in message(UnknownNameError, lambda: zb.load_backbone("tinny"))
    assert "did you mean lr" in message(UnknownNameError, lambda: zb.load_method("dive", backbone="tiny", lrr=1))
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        _ = zb.train


def test_checkpoints_that_do_not_fit(untrained, tmp_path):
    path = tmp_path / "dive.safetensors"
    checkpoint.save(path, untrained, {"prior": "limited", "prior_hash": "0", "auxiliary": [], "seed": 0})
    assert "is of dive" in message(CheckpointError, lambda: zb.load_method("coop", checkpoint=path))
    assert "no such file" in message(CheckpointError, lambda: zb.load_method("dive", checkpoint=tmp_path / "no"))
    assert "leave out lr" in message(UsageError, lambda: zb.load_method("dive", checkpoint=path, lr=1.0))


def test_a_method_that_learned_nothing(untrained):
    for act in (lambda: zb.predict(untrained, [rand_image()]), lambda: zb.evaluate(untrained, "demo_objects")):
        said = message(UsageError, act)
        assert "checkpoint=" in said
        assert "Trainer(…).fit" in said
    assert "load_method" in message(UsageError, lambda: zb.predict("clip", [rand_image()]))


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        ([], UsageError, "no image given"),
        (["photo.png"], DatasetError, "photo.png does not exist"),
        ([3], UsageError, "images[0] is of type int"),
        (np.zeros((3, 20, 20)), UsageError, "give a list"),
        ([rand_image(), np.zeros((3, 20, 20), np.uint8)], DatasetError, "images[1] (it is an array of shape (3, 20"),
        ([np.zeros((20, 20), np.int64)], DatasetError, "array of int64"),
        ([np.full((20, 20), np.nan)], DatasetError, "400 of its 400 values are nan"),
        ([np.full((20, 20, 3), 255.0)], DatasetError, "expected 0 to 1"),
        ([np.full((20, 20), -0.5)], DatasetError, "expected 0 to 1"),
        ([np.zeros((0, 20, 3), np.uint8)], DatasetError, "no pixel"),
        ([Image.new("I", (20, 20), 70_000)], DatasetError, "range of its values"),
    ],
)  # fmt: skip
def test_images_that_cannot_be_read(method, images, error, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words in message(error, lambda: zb.predict(method, images))


def test_files_that_cannot_be_read(method, tmp_path):
    whole = tmp_path / "whole.png"
    Image.fromarray(rand_image()).save(whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:200])
    assert "cut.png" in message(DatasetError, lambda: zb.predict(method, [whole, tmp_path / "cut.png"]))
    assert "cut.png" in message(DatasetError, lambda: zb.predict(method, tmp_path / "cut.png"))
    with Image.open(tmp_path / "cut.png") as picture:
        assert "images[0]" in message(DatasetError, lambda: zb.predict(method, [picture]))
    assert "is a folder" in message(UsageError, lambda: zb.predict(method, tmp_path))


def test_a_data_module_of_another_size(method):
    data = zb.load_dataset("demo_objects", method, scale=0.04, image_size=64)
    assert "demo_objects gives 64" in message(UsageError, lambda: zb.evaluate(method, data))
    trainer = Trainer(logger=False, enable_progress_bar=False)
    assert "image_size=96" in message(UsageError, lambda: trainer.test(method, datamodule=data, verbose=False))


# --- the package ------------------------------------------------------------------------------------------------------


def test_importing_it_and_listing_names_leaves_torch_out():
    code = "import sys, zsad_bench as zb; zb.list_methods(), zb.list_datasets(), dir(zb); print('torch' in sys.modules)"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


def test_every_name_is_there_and_every_method_a_method():
    assert set(zb.__all__) <= set(dir(zb))
    assert all(callable(getattr(zb, name)) for name in zb.__all__)
    assert {"clip", "dive"} <= set(zb.list_methods())
    assert {"mvtec", "folder", "demo_limited"} <= set(zb.list_datasets())


def test_the_wheel_says_that_it_is_typed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "Typing :: Typed" in project["project"]["classifiers"]
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["zsad_bench"], "the marker lies in the package, all of which is shipped"
    assert "exclude" not in wheel
    assert (ROOT / "zsad_bench" / "py.typed").is_file()
