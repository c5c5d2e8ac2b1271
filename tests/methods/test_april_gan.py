# pytest tests/methods/test_april_gan.py
"""What is special to APRIL-GAN; parity with the released code is in tests/golden."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from lightning import Trainer
from torch.utils.data import DataLoader

from tests.float32 import assert_close
from tests.methods.conftest import learn
from zsad_bench.backbones.load import architecture
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.errors import UsageError
from zsad_bench.methods.april_gan import AprilGan, AprilGanConfig
from zsad_bench.types import Category, Tap

NUT = Category("mvtec", "metal_nut", "nut", "object", "industrial")


@pytest.fixture
def april_gan(make):
    return lambda **settings: make("april_gan", **settings)


def test_sizes_are_those_of_the_paper_on_its_backbone():
    backbone = architecture("ViT-L-14-336-quickgelu")
    method = AprilGan(backbone, AprilGanConfig())
    assert method.config.taps == (6, 12, 18, 24)
    assert sum(p.numel() for p in method.own_parameters().values()) == 3_148_800
    assert method.encoder_spec.taps == {Tap(block, raw=True) for block in (6, 12, 18, 24)}
    assert (method.encoder_spec.forward.activation, method.encoder_spec.forward.pos_interp) == (
        "gelu", "bicubic_antialias",
    )  # fmt: skip


def test_sentences_of_a_class(april_gan):
    normal, anomalous = april_gan().sentences(NUT)
    assert (len(normal), len(anomalous)) == (7 * 35, 5 * 35)
    assert len(set(normal + anomalous)) == 420, "a sentence comes twice"
    assert "a photo of a flawless metal_nut." in normal, "the released code keeps underscores"
    assert "this is one metal_nut with flaw in the scene." in anomalous
    named = {how: april_gan(class_names=how).sentences(NUT)[1][0] for how in ("raw", "prompt_name", "object")}
    assert named == {
        "raw": "a bad photo of a damaged metal nut.",
        "prompt_name": "a bad photo of a damaged nut.",
        "object": "a bad photo of a damaged object.",
    }


def test_the_map_is_the_sum_of_what_each_depth_says(april_gan, batch, mini, predict):
    """Written out for one image, with nothing of the method's but its parameters."""
    method = april_gan(taps=(1, 3), temperature=0.05)
    text = method.text_for(batch.samples)[1]
    with torch.no_grad():
        features = method.encode(batch.images, batch.samples)
        expected = torch.zeros(48, 48)
        for linear, block in zip(method.maps, (1, 3), strict=True):
            patches = features.rows[Tap(block, raw=True)][1, 1:] @ linear.weight.T + linear.bias
            cosines = F.cosine_similarity(patches[:, None], text[None], dim=-1) / 0.05
            logits = F.interpolate(cosines.T.reshape(1, 2, 6, 6), (48, 48), mode="bilinear", align_corners=True)
            expected += logits.softmax(1)[0, 1]
    found = predict(method, batch)
    assert_close(found.map[1], expected, "the sum of both depths")
    halved = predict(april_gan(taps=(1, 3), temperature=0.05, map_reduction="mean"), batch)
    assert_close(halved.map, found.map / 2, "the mean of both depths")


def test_training_leaves_image_scores_alone(april_gan, predict, batch):
    method = april_gan()
    before = predict(method, batch)
    learn(method, 0, batch)
    after = predict(method, batch)
    assert torch.equal(after.score, before.score), "what is learned reached the image score"
    assert not torch.equal(after.map, before.map)


def test_the_activation_reaches_both_towers(april_gan, batch, mini):
    """The miniature has QuickGELU, so that the released behaviour is another function of its weights."""
    assert mini.vision.activation == "quickgelu"
    released, own = april_gan(), april_gan(activation="own")
    assert released.config.activation == "gelu"
    with torch.no_grad():
        one, other = (m.encode(batch.images, batch.samples).pooled("cls") for m in (released, own))
        assert not torch.allclose(one, other, atol=1e-3), "the visual tower keeps its own activation"
        one, other = (m.text_for(batch.samples) for m in (released, own))
        assert not torch.allclose(one, other, atol=1e-5), "the text tower keeps its own activation"
    assert april_gan(activation="quickgelu").encoder_spec == own.encoder_spec


# --- what the auxiliary data decide -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("datasets", "settings", "epochs"),
    [
        (["mvtec"], {}, 3),
        (["visa"], {}, 15),
        (["demo_rich"], {}, 15),
        (["visa", "mvtec"], {}, 3),
        (["mvtec"], {"epochs": 7}, 7),
        ([], {}, 15),
    ],
)
def test_epochs_are_those_of_the_released_training(april_gan, datasets, settings, epochs):
    method = april_gan(**settings)
    method.begin_training([replace(NUT, dataset=name) for name in datasets])
    (stage,) = method.stages()
    assert stage.epochs == epochs


@pytest.mark.parametrize(("prob", "mosaic"), [(None, {"mvtec": 0.2}), (0.0, {}), (0.5, {"*": 0.5}), (1.0, {"*": 1.0})])
def test_what_mosaics_are_asked_for(april_gan, prob, mosaic):
    (stage,) = april_gan(mosaic_prob=prob).stages()
    assert stage.mosaic == mosaic


class Nothing(ZeroShotDataModule):
    """A data module that only records its requests."""

    def prepare_data(self) -> None: ...
    def setup(self, stage=None) -> None: ...
    def categories(self) -> list[Category]:
        return [NUT]

    def train_dataloader(self) -> DataLoader:
        return DataLoader([], batch_size=None)


def fitted(method, **given) -> None:
    Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False).fit(method, **given)  # fmt: skip


def test_a_trainer_s_data_is_asked_for_mosaics(april_gan):
    data = Nothing()
    data.mosaic = {"*": 0.9}  # of another method before it
    fitted(april_gan(), datamodule=data)
    assert data.mosaic == {"mvtec": 0.2}
    fitted(april_gan(mosaic_prob=0.0), datamodule=data)
    assert data.mosaic == {}, "the next method gets the mosaics of the last"


def test_loaders_that_make_no_mosaics_are_told_of(april_gan, recwarn):
    fitted(april_gan(), train_dataloaders=DataLoader([], batch_size=None))
    said = [str(w.message) for w in recwarn if "mosaics" in str(w.message)]
    assert len(said) == 1
    assert "APRIL-GAN learns from mosaics of images of mvtec" in said[0]
    recwarn.clear()
    fitted(april_gan(mosaic_prob=0.0), train_dataloaders=DataLoader([], batch_size=None))
    assert not [w for w in recwarn if "mosaics" in str(w.message)]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mosaic_prob": 1.5}, "mosaic_prob=1.5; expected 0 to 1"),
        ({"mosaic_prob": -0.1}, "mosaic_prob=-0.1; expected 0 to 1"),
        ({"taps": ()}, r"taps=\[\]; expected at least one block"),
        ({"temperature": 0.0}, "temperature=0.0; expected more than 0"),
        ({"gaussian_sigma": -1.0}, "gaussian_sigma=-1.0; expected 0 or more"),
    ],
)
def test_numbers_that_no_run_can_have(april_gan, settings, said):
    with pytest.raises(UsageError, match=said):
        april_gan(**settings)
