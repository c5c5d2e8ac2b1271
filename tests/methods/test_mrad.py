# pytest tests/methods/test_mrad.py
"""MRAD-TF beside a plain reading of its description in numpy: one image, one patch and one key at a time."""

from __future__ import annotations

import math
import multiprocessing
import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import distributed

from tests.methods.conftest import learn, some
from tests.miniature import random_batch
from tests.two_processes import by_gloo, run_script
from zsad_bench.backbones.load import architecture
from zsad_bench.data.loaders import ShuffledShard
from zsad_bench.data.prior import ranked
from zsad_bench.errors import TrainingError, UsageError
from zsad_bench.methods.mrad import Mrad, masks_on_grid
from zsad_bench.planning.configure import build
from zsad_bench.types import Batch, Tap

SIZE = 48
MEMORY = ("image_keys", "image_values", "patch_keys", "patch_values")


@pytest.fixture(scope="module")
def auxiliary() -> Batch:
    """Seven images to learn from, of which one is covered by its mask and another has a mask that vanishes."""
    batch = random_batch(SIZE, 7, seed=5)
    masks = batch.masks.clone()
    masks[2] = True
    masks[3] = False
    masks[3, 3:6, 3:6] = True  # nine of the 64 pixels of a patch
    return replace(batch, masks=masks)


@pytest.fixture
def learned(mini, auxiliary):
    """learned(batch, **settings): a method whose memory is of this batch."""

    def made(batch: Batch = auxiliary, **settings) -> Mrad:
        method = build("mrad", mini, {"image_size": SIZE, **settings}, seed=0)
        with (
            pytest.warns(UserWarning, match="1 of 3 anomalous images have no anomalous")
            if batch is auxiliary
            else nullcontext()
        ):
            learn(method, 0, batch)
        return method.eval()

    return made


# --- a plain reading --------------------------------------------------------------------------------------------------


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / math.sqrt(sum(float(x) ** 2 for x in vector))


def features_of(method: Mrad, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Class tokens (B,D) and patches (B,36,D) of AnomalyCLIP's V-V path, which its golden numbers are of."""
    with torch.no_grad():
        found = method.encode(batch.images, batch.samples)
    patches = found.patches(Tap(method.backbone.vision.n_blocks, method.backbone.scale_block(6)))
    return found.pooled("cls_raw").double().numpy(), patches.double().numpy()


def memory_of(method: Mrad, batch: Batch) -> tuple[list, list]:
    """The image memory and the patch memory: (key, state) each."""
    tokens, patches = features_of(method, batch)
    of_images, of_patches = [], []
    for i in range(len(batch)):
        of_images.append((unit(tokens[i]), int(batch.labels[i])))
        inside, outside = [], []
        for row in range(6):
            for column in range(6):
                block = batch.masks[i, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].numpy()
                (inside if block.mean() > 0.5 else outside).append(unit(patches[i, 6 * row + column]))
        for state, region in ((0, outside), (1, inside)):
            if region:
                of_patches.append((unit(sum(region) / len(region)), state))
    return of_images, of_patches


def anomalous_part(query: np.ndarray, memory: list, temperature: float) -> float:
    weights = [math.exp(float(unit(query) @ key) / temperature) for key, _ in memory]
    return sum(w for w, (_, state) in zip(weights, memory, strict=True) if state == 1) / sum(weights)


def enlarged(grid: np.ndarray, size: int) -> np.ndarray:
    """Bilinear, pixels being areas, repeated beyond the border."""
    scale = len(grid) / size
    at = [min(max((i + 0.5) * scale - 0.5, 0.0), len(grid) - 1.0) for i in range(size)]
    lines = []
    for y in at:
        top, below, down = int(y), min(int(y) + 1, len(grid) - 1), y - int(y)
        line = (1 - down) * grid[top] + down * grid[below]
        lines.append([(1 - (x - int(x))) * line[int(x)] + (x - int(x)) * line[min(int(x) + 1, len(grid) - 1)]
                      for x in at])  # fmt: skip
    return np.array(lines)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_it_follows_the_description_step_by_step(learned, predict, auxiliary, temperature):
    method, tested = learned(temperature=temperature), random_batch(SIZE)
    of_images, of_patches = memory_of(method, auxiliary)
    assert [len(of_images), len(of_patches)] == [7, 8], "7 images; 6 with normal and 2 with anomalous patches"
    tokens, patches = features_of(method, tested)
    found = predict(method, tested)
    for i in range(len(tested)):
        grid = np.array([anomalous_part(patch, of_patches, temperature) for patch in patches[i]]).reshape(6, 6)
        raw = enlarged(grid, SIZE)
        largest = sorted(raw.ravel())[-23:]  # a hundredth of 2304 pixels
        score = anomalous_part(tokens[i], of_images, temperature) + sum(largest) / len(largest)
        assert float(found.score[i]) == pytest.approx(score, abs=2e-6)
        expected = gaussian_filter(raw, 4 * SIZE / 518)
        assert np.abs(found.map[i].numpy() - expected).max() < 2e-6, f"map of image {i}"


def test_it_asks_for_what_anomalyclip_asks_for(mini):
    method, other = (build(name, mini, {"image_size": SIZE}, 0) for name in ("mrad", "anomalyclip"))
    assert method.encoder_spec == other.encoder_spec, "one pass and the same kept features serve both"
    full = Mrad(architecture("ViT-L-14-336-quickgelu"))
    assert full.encoder_spec.taps == {Tap(24, 6)}
    assert (full.config.image_size, full.config.gaussian_sigma, full.config.temperature) == (518, 4.0, 0.07)


# --- its memory -------------------------------------------------------------------------------------------------------


def test_a_patch_is_inside_where_more_than_half_of_it_is():
    masks = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    masks[0, 0:8, 0:4] = True  # half of the first patch
    masks[0, 8:16, 0:4] = masks[0, 8, 4] = True  # a pixel more of the one below it
    assert masks_on_grid(masks, (6, 6)).nonzero().tolist() == [[0, 6]]


def test_neither_seed_nor_order_nor_batches_change_the_memory(learned, auxiliary, mini):
    one = learned().own_state()
    assert set(one) == set(MEMORY), "only buffers, and all of them are in a checkpoint"
    order = [6, 2, 0, 5, 1, 4, 3]
    for batches in ([some(auxiliary, order)], [some(auxiliary, part) for part in (order[:3], order[3:5], order[5:])]):
        other = build("mrad", mini, {"image_size": SIZE}, seed=9)
        other.begin_stage(other.stages()[0])
        for batch in batches:
            other.training_step(batch, 0)
        with pytest.warns(UserWarning, match="1 of 3 anomalous images have no anomalous"):
            other.on_train_end()
        for name in MEMORY:
            torch.testing.assert_close(other.own_state()[name], one[name], rtol=0, atol=2e-6)


def test_fewer_keys_are_drawn_as_a_prior_draws_images(learned, auxiliary):
    """Of each state in turn, by rank; both states are left."""
    whole = learned()
    in_order = ranked("image", 0, [sample.id for sample in auxiliary.samples])
    label = {sample.id: int(of) for sample, of in zip(auxiliary.samples, auxiliary.labels, strict=True)}
    tokens = dict(zip(label, features_of(whole, auxiliary)[0], strict=True))
    normal, anomalous = ([i for i in in_order if label[i] == state] for state in (0, 1))
    for most, wanted in ((2, (1, 1)), (3, (2, 1)), (6, (3, 3)), (7, (4, 3)), (99, (4, 3))):
        method = learned(max_keys=most)
        expected = np.array([unit(tokens[i]) for i in (*normal[: wanted[0]], *anomalous[: wanted[1]])])
        assert np.abs(method.image_keys.numpy() - expected).max() < 1e-6, f"{most} keys"
        assert method.image_values.tolist() == [[1, 0]] * wanted[0] + [[0, 1]] * wanted[1]
        assert len(method.patch_keys) == min(most, len(whole.patch_keys))


def test_a_second_training_starts_anew(learned, auxiliary):
    method = learned()
    learn(method, 0, some(auxiliary, [0, 1, 4]))
    assert len(method.image_keys) == 3


def test_without_a_memory_there_is_no_score(mini, predict, batch):
    method = build("mrad", mini, {"image_size": SIZE}, seed=0)
    with pytest.raises(UsageError, match="MRAD-TF: its memory is empty; train"):
        predict(method.eval(), batch)
    method.begin_stage(method.stages()[0])
    with pytest.raises(TrainingError, match="MRAD-TF: no image was seen"):
        method.on_train_end()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_keys": 1}, "max_keys=1; expected 2 or more"),
        ({"temperature": 0.0}, "temperature=0.0; expected more than 0"),
        ({"top_share": 1.5}, "top_share=1.5; expected a share of the pixels, 1 at most"),
    ],
)
def test_what_it_refuses(mini, settings, message):
    with pytest.raises(UsageError, match=f"MRAD-TF: {message}"):
        build("mrad", mini, {"image_size": SIZE, **settings}, seed=0)


# --- several processes ------------------------------------------------------------------------------------------------


SCRIPT = """
import sys, torch
from lightning import Trainer
import zsad_bench as zb

method, devices = zb.load_method("mrad", backbone="tiny"), int(sys.argv[1])
data = zb.load_dataset("demo_limited", method, scale=0.04, batch_size=4)
trainer = Trainer(accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", logger=False,
                  enable_progress_bar=False, enable_checkpointing=False, max_epochs=1)
trainer.fit(method, datamodule=data)
wanting = [name for name, parameter in method.named_parameters() if parameter.requires_grad]
torch.save({"state": method.own_state(), "wanting": wanting}, f"{devices}_{trainer.global_rank}.pt")
"""


@pytest.mark.slow
@by_gloo
def test_a_trainer_with_two_processes_fills_the_memory_of_one(tmp_path, cache):
    """Through Lightning's own wrapper, which refuses a module that wants no gradient."""
    for devices in ("1", "2"):
        run_script(tmp_path, SCRIPT, devices)
    alone, *ranks = (torch.load(tmp_path / name) for name in ("1_0.pt", "2_0.pt", "2_1.pt"))
    assert len(alone["state"]["image_keys"]) > 8
    for rank in ranks:
        assert not rank["wanting"], "a parameter of the frozen backbone wants gradients still"
        for name in MEMORY:
            torch.testing.assert_close(rank["state"][name], alone["state"][name], rtol=0, atol=2e-6)


def work(method: Mrad, batch: Batch, rank: int, rendezvous: str, answers: multiprocessing.Queue) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # no name of this machine needs to resolve
    torch.set_num_threads(1)  # a forked process must not start OpenMP threads again
    distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    method.begin_stage(method.stages()[0])
    for image in ShuffledShard(len(batch), 0, rank, 2):  # one of the seven images is seen twice
        method.training_step(some(batch, [image]), 0)
    method.on_train_end()
    answers.put({name: value.numpy() for name, value in method.own_state().items()})
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.skipif(sys.platform != "linux", reason="forks, so that torch is not imported once more for each rank")
def test_two_processes_fill_the_memory_of_one(learned, auxiliary, mini, tmp_path: Path):
    alone = learned().own_state()
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    method = build("mrad", mini, {"image_size": SIZE}, seed=0)
    rendezvous = f"file://{tmp_path / 'rendezvous'}"
    ranks = [context.Process(target=work, args=(method, auxiliary, rank, rendezvous, answers), daemon=True)
             for rank in (0, 1)]  # fmt: skip
    try:
        for process in ranks:
            process.start()
        found = [answers.get(timeout=120) for _ in ranks]
    finally:
        for process in ranks:
            process.join(timeout=10)
            process.kill()
    for state in found:
        for name in MEMORY:
            assert state[name].shape == alone[name].shape, f"{name}: another number of keys"
            assert np.abs(state[name] - alone[name].numpy()).max() < 2e-6, name
