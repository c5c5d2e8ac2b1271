"""V-V attention beside the plain path, against a second forward pass with explicit attention: `--help`.

ViT-L/14-336 with random weights, one image of 518 px: 1,370 tokens. Both ways give the class token of the plain path
and the patches of the V-V path from block 6 on, as AnomalyCLIP reads them. Ours takes both from one pass: values,
norms and projections are shared, and no matrix of attention weights is made. The usual way, written out below, is
open_clip's own forward pass for the class token and a second pass for the patches, in which both attentions are
softmaxes of explicit matrices; of that second pass alone the time is given, too. The results must be the same.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from _methods_measured import SMALL_SIZE, random_batches, seeded_backbone
from _suite import TIMED_HEAD, Benchmark, Claim, Found, alternate, check_same, main, ratio, timed_line

if TYPE_CHECKING:
    from torch import Tensor

    from zsad_bench.backbones.base import Backbone

SIZE, FIRST = 518, 6
TOLERANCE = 2e-4  # of features with values up to some units


def explicit(attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention (1,T,C) by its formula: (heads,T,T) weights, softmax, times the values."""
    weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    return attention.out_proj((weights.softmax(-1) @ v).transpose(1, 2).flatten(2))


def second_pass(backbone: Backbone, images: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """(1,D) class token and (1,N,D) patches of the V-V path, every attention explicit."""
    import torch.nn.functional as F

    visual = backbone.model.visual
    plain, vv = backbone.embed_patches(images), None
    for number, block in enumerate(visual.transformer.resblocks, start=1):
        attention = block.attn
        qkv = F.linear(block.ln_1(plain), attention.in_proj_weight, attention.in_proj_bias)
        q, k, v = qkv.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        if number >= first:
            vv = (plain if vv is None else vv) + explicit(attention, v, v, v)
        plain = plain + explicit(attention, q, k, v)
        plain = plain + block.mlp(block.ln_2(plain))
    return visual.ln_post(plain[:, 0]) @ visual.proj, visual.ln_post(vv[:, 1:]) @ visual.proj


def first_pass(backbone: Backbone, images: Tensor) -> Tensor:
    """(1,D): the class token by open_clip's own blocks."""
    visual, x = backbone.model.visual, backbone.embed_patches(images)
    for block in visual.transformer.resblocks:
        x = block(x)
    return visual.ln_post(x[:, 0]) @ visual.proj


def measure(options: argparse.Namespace) -> Found:
    import torch

    from zsad_bench.types import EncoderSpec, Tap

    device = options.device
    backbone = seeded_backbone(options.quick).to(device)
    size, first = (SMALL_SIZE, 2) if options.quick else (SIZE, FIRST)
    (batch,) = random_batches(size, 1, 1)
    images, tap = batch.images.to(device), Tap(backbone.vision.n_blocks, first)
    spec = EncoderSpec(backbone.forward_spec(size), frozenset({tap}), frozenset({"cls"}))
    plain_spec = EncoderSpec(spec.forward, frozenset(), frozenset({"cls"}))
    ways = {
        "ours, both paths": lambda: backbone.encode_image(images, spec),
        "ours, the plain path alone": lambda: backbone.encode_image(images, plain_spec),
        "two passes, explicit": lambda: (first_pass(backbone, images), second_pass(backbone, images, first)),
        "the second of them alone": lambda: second_pass(backbone, images, first),
    }
    with torch.inference_mode():
        found, (of_first, (class_token, patches)) = ways["ours, both paths"](), ways["two passes, explicit"]()
        check_same("class tokens", found.pooled("cls"), class_token, TOLERANCE)
        check_same("class tokens of the first pass", found.pooled("cls"), of_first, TOLERANCE)
        check_same("patches", found.patches(tap), patches, TOLERANCE)
        spent = alternate(ways, options.repeats, device, warm_up=False)
    ours, plain, two, second = spent.values()
    n_tokens = 1 + found.grid[0] * found.grid[1]
    return Found(
        TIMED_HEAD,
        [timed_line(name, each, ours, device) for name, each in spent.items()],
        [
            Claim("V-V attention, two explicit passes over one", ratio(two, ours, device), "at least", 2),
            Claim("V-V attention, one explicit pass of both paths over ours", ratio(second, ours, device)),
            Claim("V-V attention, both paths over the plain one", ratio(ours, plain, device)),
        ],
        f"One image of {size} px on {backbone.name}: {n_tokens:,} tokens, V-V path from block {first} of "
        f"{backbone.vision.n_blocks}. Features are the same to {TOLERANCE:g}.",
        {"spent": spent, "tokens": n_tokens},
    )


BENCHMARK = Benchmark("V-V attention", measure)

if __name__ == "__main__":
    raise SystemExit(main(BENCHMARK))
