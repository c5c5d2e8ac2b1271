"""WinCLIP's windows, in batches through the tower, against one window at a time: `--help`.

ViT-B-16-plus-240 with random weights at 240 px, the backbone and size that WinCLIP was published with: 196 windows of
2 x 2 patches and 169 of 3 x 3. Ours embeds the patches of an image once and runs the windows together. Two usual ways
are written out below on open_clip's own layers: one window at a time through the tower (with the patches embedded
once), and one pass of the masked picture per window, as the definition of a window embedding reads. The latter is
measured on some of the windows. The embeddings of the first way must be ours.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from _methods_measured import random_batches, seeded_backbone
from _suite import TIMED_HEAD, Benchmark, Claim, Found, alternate, check_same, main, ratio, timed_line

if TYPE_CHECKING:
    from torch import Tensor

    from zsad_bench.methods.winclip import WinClip

BACKBONE = "ViT-B-16-plus-240"
MASKED = 4  # windows of the pass per window, of each side: it costs the same for all
TOLERANCE = 1e-4


def tokens_of(visual, images: Tensor) -> Tensor:
    """(B,1+P,C): what enters the blocks, as open_clip computes it at the native size."""
    import torch

    patches = visual.conv1(images).flatten(2).transpose(1, 2)
    class_token = visual.class_embedding.expand(len(images), 1, -1)
    return visual.ln_pre(torch.cat([class_token, patches], 1) + visual.positional_embedding)


def embedding(visual, tokens: Tensor) -> Tensor:
    """(B,D): the class token's feature of sequences (B,T,C)."""
    for block in visual.transformer.resblocks:
        tokens = block(tokens)
    return visual.ln_post(tokens[:, 0]) @ visual.proj


def one_by_one(method: WinClip, images: Tensor) -> dict[int, Tensor]:
    """By side: (1,W,D), a window at a time through the tower."""
    import torch

    from zsad_bench.methods.winclip import window_members

    visual = method.backbone.model.visual
    tokens = tokens_of(visual, images)
    found = {}
    for side in method.config.scales:
        members = window_members(*visual.grid_size, side).to(images.device)
        windows = [torch.cat([tokens[:, :1], tokens[:, 1 + window]], 1) for window in members]
        found[side] = torch.stack([embedding(visual, window) for window in windows], 1)
    return found


def masked(method: WinClip, images: Tensor, count: int) -> None:
    """A whole pass per window, of the picture with all but the window blacked out, for some windows of each side."""
    import torch

    visual = method.backbone.model.visual
    patch = visual.patch_size[0]
    for side in method.config.scales:
        for number in range(count):
            inside = slice(number * patch, (number + side) * patch)
            picture = torch.zeros_like(images)
            picture[:, :, inside, inside] = images[:, :, inside, inside]
            embedding(visual, tokens_of(visual, picture))


def measure(options: argparse.Namespace) -> Found:
    import torch

    from zsad_bench.planning.configure import build

    device = options.device
    backbone = seeded_backbone(options.quick, BACKBONE).to(device)
    method = build("winclip", backbone, {}, seed=0).eval().to(device)
    (batch,) = random_batches(method.config.image_size, 1, 1)
    batch = batch.to(device)
    tokens, grid = backbone.embed_patches(batch.images, method.config.pos_interp), backbone.vision.native_grid

    def ours() -> dict[int, Tensor]:
        tokens = backbone.embed_patches(batch.images, method.config.pos_interp)
        return {side: method.encode_windows(tokens, grid, side) for side in method.config.scales}

    with torch.inference_mode():
        found, expected = ours(), one_by_one(method, batch.images)
        for side, windows in expected.items():
            check_same(f"windows of {side} x {side}", found[side], windows, TOLERANCE)
        n_windows = sum(windows.shape[1] for windows in expected.values())
        some = min(MASKED, *(grid[0] - side + 1 for side in method.config.scales))
        n_masked = some * len(method.config.scales)
        spent = alternate(
            {
                "ours, in batches": ours,
                "one window at a time": lambda: one_by_one(method, batch.images),
                f"a masked picture per window, {n_masked} windows": lambda: masked(method, batch.images, some),
            },
            options.repeats,
            device,
            warm_up=False,
        )
    batched, single, pictures = spent.values()
    gain, part = ratio(single, batched, device), ratio(pictures, batched, device)
    by_masks = type(part)(*(value * n_windows / n_masked for value in part))
    lines = [timed_line(name, each, batched, device) for name, each in spent.items()]
    lines.append([f"the same for all {n_windows}, extrapolated", "–", "–", str(by_masks)])
    return Found(
        TIMED_HEAD,
        lines,
        [
            Claim("WinCLIP's windows, one at a time over batches", gain, "at least", 4),
            Claim("WinCLIP's windows, a masked picture each over batches (extrapolated)", by_masks),
        ],
        f"All {n_windows} windows of one image of {method.config.image_size} px on {backbone.name}, "
        f"{grid[0]} x {grid[1]} patches, from pixels to embeddings. A pass of the masked picture costs the same for "
        f"each window: {n_masked} of them were measured. Embeddings are the same to {TOLERANCE:g}.",
        {"spent": spent, "windows": n_windows, "masked": n_masked, "tokens": tokens.shape[1]},
    )


BENCHMARK = Benchmark("WinCLIP's windows", measure)

if __name__ == "__main__":
    raise SystemExit(main(BENCHMARK))
