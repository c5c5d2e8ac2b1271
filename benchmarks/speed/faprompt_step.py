"""FAPrompt's training step, all sentences in one call and cut after their end, against one sentence at a time.

The step is losses, backward and optimiser on features that are there already, as with a store of features: ViT-L/14-336
with random weights, the method's own batch of 8 images at 518 px. Ours encodes all prompts of the batch in one text
call of as many rows as the longest sentence has. The usual way, written out below on open_clip's own blocks, encodes
the prompts of one image after the other, sentence by sentence, with all 77 rows of the context. Both must have the same
losses and gradients.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from _methods_measured import SMALL_SIZE, random_batches, seeded_backbone
from _suite import TIMED_HEAD, Benchmark, Claim, Found, alternate, check_same, main, ratio, timed_line

if TYPE_CHECKING:
    from torch import Tensor

    from zsad_bench.methods.faprompt import FaPrompt
    from zsad_bench.types import Batch, Features

IMAGES = 8  # the method's own batch
TOLERANCE = 1e-4  # of losses (some units) and gradients (less than one)


def sentence_by_sentence(method: FaPrompt, prompts: Tensor, eot: Tensor) -> Tensor:
    """(n,D) features of prompts (n,77,W): each by itself through open_clip's blocks, deep tokens put in by hand."""
    import torch

    model, features = method.backbone.model, []
    for prompt, end in zip(prompts, eot.tolist(), strict=True):
        x = (prompt + model.positional_embedding)[None]
        for number, block in enumerate(model.transformer.resblocks):
            if 1 <= number <= len(method.deep_tokens):
                deep = method.deep_tokens[number - 1][None]
                x = torch.cat([x[:, :1], deep, x[:, 1 + deep.shape[1] :]], dim=1)
            x = block(x, attn_mask=model.attn_mask)
        features.append(model.ln_final(x)[0, end] @ model.text_projection)
    return torch.stack(features)


def read_sentence_by_sentence(method: FaPrompt) -> None:
    """Gives a method the usual way to its texts; all else of its step stays ours."""
    import torch

    normal, abnormal = method.backbone.text_tower.end_of_text(method.token_ids)

    def static_texts() -> Tensor:
        prompts = torch.cat([method.normal_prompt(), method.abnormal_prompts()])
        return sentence_by_sentence(method, prompts, torch.stack([normal, *[abnormal] * (len(prompts) - 1)]))

    def adapted_texts(shift: Tensor) -> Tensor:
        prompts = method.abnormal_prompts(shift)
        return sentence_by_sentence(method, prompts, abnormal.expand(len(prompts))).unflatten(0, (len(shift), -1))

    method.static_texts, method.adapted_texts = static_texts, adapted_texts


def step_of(method: FaPrompt, features: Features, batch: Batch) -> Callable[[], Tensor]:
    """One training step as a call, which returns the loss before it."""
    from zsad_bench.methods._scoring import added

    stage = method.stages()[0]
    method.begin_stage(stage)
    method.train()
    optimizer = method.optimizer_for(stage)

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = added(list(method.losses(features, batch).values()))
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def measure(options: argparse.Namespace) -> Found:
    import torch

    from zsad_bench.planning.configure import build

    device, quick = options.device, options.quick
    backbone = seeded_backbone(quick).to(device)
    overrides = {"image_size": SMALL_SIZE} if quick else {}
    ours = build("faprompt", backbone, overrides, seed=0).to(device)
    plain = build("faprompt", backbone, {**overrides, "truncate_context": False}, seed=0).to(device)
    read_sentence_by_sentence(plain)
    (batch,) = random_batches(ours.config.image_size, 2 if quick else options.images, 1)
    batch = batch.to(device)
    with torch.no_grad():
        features = ours.encode(batch.images, batch.samples)
    ways = {"ours, one call": step_of(ours, features, batch), "sentence by sentence": step_of(plain, features, batch)}
    losses = [step() for step in ways.values()]  # the warm-up, from equal parameters
    check_same("FAPrompt's loss", *losses, TOLERANCE)
    for (name, one), other in zip(ours.own_parameters().items(), plain.own_parameters().values(), strict=True):
        check_same(f"the gradient of {name}", one.grad, other.grad, TOLERANCE)
    spent = alternate(ways, options.repeats, device, warm_up=False)
    one_call, usual = spent.values()
    sentences = 1 + ours.config.n_prompts * (1 + len(batch))
    rows = int(ours.backbone.text_tower.end_of_text(ours.token_ids).max()) + 1
    gain = ratio(usual, one_call, device)
    return Found(
        TIMED_HEAD,
        [timed_line(name, each, one_call, device) for name, each in spent.items()],
        [Claim("FAPrompt's step, sentence by sentence over one call", gain, "at least", 8)],
        f"Losses, backward and optimiser of one step on given features: {len(batch)} images of "
        f"{ours.config.image_size} px on {backbone.name}, {sentences} sentences. Ours encodes them in two text calls "
        f"(without and with the image's prior) of {rows} rows each; the usual way encodes each sentence by itself with "
        f"{backbone.text_tower.context_length} rows. Losses and gradients are the same to {TOLERANCE:g}.",
        {"spent": spent},
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=int, default=IMAGES, help="in the batch")


BENCHMARK = Benchmark("FAPrompt's training step", measure, add_options)

if __name__ == "__main__":
    raise SystemExit(main(BENCHMARK))
