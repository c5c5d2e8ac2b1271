"""The random-weight CLIP, prompt parameters and inputs behind the golden files, drawn from a seed.

Everything is drawn with ``numpy.random.RandomState`` so that the result is the
same on every platform.  The only dependency is numpy; torch / open_clip are
imported lazily by the two convenience functions at the bottom.

Recipe (see README.md for prose):
    weights  : RandomState(seed)      walked over sorted(parameter names)
    prompts  : RandomState(seed + 1)  walked over sorted(parameter names)
    inputs   : RandomState(seed + 2)
Every draw is ``standard_normal(shape)`` in float64, scaled, cast to float32.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

WIDTH = 128  # vision width == text width == joint embedding width
EMBED = 128
V_LAYERS = 24
T_LAYERS = 12
PATCH = 14
BASE_GRID = 4  # "pre-training" grid, i.e. 56 px
IMAGE = 84  # run-time image side -> 6 x 6 patches
VOCAB = 49408
CONTEXT = 77
BATCH = 3


# --------------------------------------------------------------------------
# names and shapes
# --------------------------------------------------------------------------
def _block_shapes(prefix, width):
    return {
        f"{prefix}.attn.in_proj_weight": (3 * width, width),
        f"{prefix}.attn.in_proj_bias": (3 * width,),
        f"{prefix}.attn.out_proj.weight": (width, width),
        f"{prefix}.attn.out_proj.bias": (width,),
        f"{prefix}.ln_1.weight": (width,),
        f"{prefix}.ln_1.bias": (width,),
        f"{prefix}.mlp.c_fc.weight": (4 * width, width),
        f"{prefix}.mlp.c_fc.bias": (4 * width,),
        f"{prefix}.mlp.c_proj.weight": (width, 4 * width),
        f"{prefix}.mlp.c_proj.bias": (width,),
        f"{prefix}.ln_2.weight": (width,),
        f"{prefix}.ln_2.bias": (width,),
    }


def clip_shapes():
    shapes = {
        "positional_embedding": (CONTEXT, WIDTH),
        "text_projection": (WIDTH, EMBED),
        "logit_scale": (),
        "token_embedding.weight": (VOCAB, WIDTH),
        "ln_final.weight": (WIDTH,),
        "ln_final.bias": (WIDTH,),
        "visual.class_embedding": (WIDTH,),
        "visual.positional_embedding": (BASE_GRID * BASE_GRID + 1, WIDTH),
        "visual.proj": (WIDTH, EMBED),
        "visual.conv1.weight": (WIDTH, 3, PATCH, PATCH),
        "visual.ln_pre.weight": (WIDTH,),
        "visual.ln_pre.bias": (WIDTH,),
        "visual.ln_post.weight": (WIDTH,),
        "visual.ln_post.bias": (WIDTH,),
    }
    for i in range(V_LAYERS):
        shapes.update(_block_shapes(f"visual.transformer.resblocks.{i}", WIDTH))
    for i in range(T_LAYERS):
        shapes.update(_block_shapes(f"transformer.resblocks.{i}", WIDTH))
    return shapes


def anomalyclip_shapes(n_ctx=12, t_n_ctx=4, depth=9):
    shapes = {"ctx_pos": (1, 1, n_ctx, WIDTH), "ctx_neg": (1, 1, n_ctx, WIDTH)}
    for i in range(depth - 1):
        shapes[f"compound_prompts_text.{i}"] = (t_n_ctx, WIDTH)
    return shapes


def faprompt_shapes(n_pos=5, n_neg=2, n_prompts=10, top_k=10, t_n_ctx=4, depth=9):
    hidden = EMBED * top_k // 16
    shapes = {
        "ctx_pos": (1, 1, n_pos, WIDTH),
        "ctx_neg": (1, n_prompts, n_neg, WIDTH),
        "patch_meta_net.linear1.weight": (hidden, EMBED * top_k),
        "patch_meta_net.linear1.bias": (hidden,),
        "patch_meta_net.linear2.weight": (WIDTH, hidden),
        "patch_meta_net.linear2.bias": (WIDTH,),
    }
    for i in range(depth - 1):
        shapes[f"compound_prompts_text.{i}"] = (t_n_ctx, WIDTH)
    return shapes


def coop_shapes(n_ctx=16, class_specific=False, n_cls=2):
    return {"ctx": (n_cls, n_ctx, WIDTH) if class_specific else (n_ctx, WIDTH)}


def cocoop_shapes(n_ctx=4):
    hidden = EMBED // 16
    return {
        "ctx": (n_ctx, WIDTH),
        "meta_net.linear1.weight": (hidden, EMBED),
        "meta_net.linear1.bias": (hidden,),
        "meta_net.linear2.weight": (WIDTH, hidden),
        "meta_net.linear2.bias": (WIDTH,),
    }


# --------------------------------------------------------------------------
# value rules
# --------------------------------------------------------------------------
def _rule(name, shape):
    """Return (offset, scale) of the normal draw for one CLIP parameter."""
    leaf_module = name.split(".")[-2] if "." in name else ""
    if leaf_module.startswith("ln_"):
        return (1.0, 0.1) if name.endswith(".weight") else (0.0, 0.1)
    if name == "token_embedding.weight":
        return 0.0, 0.1
    if name == "positional_embedding":
        return 0.0, 0.05
    if name == "text_projection" or name == "visual.proj":
        return 0.0, shape[0] ** -0.5
    if name in ("visual.class_embedding", "visual.positional_embedding"):
        return 0.0, 0.3
    if name == "visual.conv1.weight":
        return 0.0, (shape[1] * shape[2] * shape[3]) ** -0.5
    if name.endswith("bias"):
        return 0.0, 0.05
    if name.endswith(("out_proj.weight", "c_proj.weight")):
        return 0.0, 0.5 * shape[1] ** -0.5
    return 0.0, shape[1] ** -0.5  # in_proj_weight, c_fc.weight


def clip_state_dict(seed):
    """OpenAI-format CLIP state dict as float32 numpy arrays."""
    rng = np.random.RandomState(seed)
    shapes = clip_shapes()
    out = {}
    for name in sorted(shapes):
        shape = shapes[name]
        if name == "logit_scale":  # constant, consumes no draws
            out[name] = np.asarray(math.log(1 / 0.07), dtype=np.float32)
            continue
        offset, scale = _rule(name, shape)
        out[name] = (offset + scale * rng.standard_normal(shape)).astype(np.float32)
    return out


def _prompt_scale(name, shape):
    if name.endswith("bias"):
        return 0.02
    if "meta_net.linear1" in name:
        return 1.0  # inputs are unit-norm vectors
    if "meta_net.linear2" in name:
        return 0.1 * shape[1] ** -0.5
    if name.startswith("compound_prompts_text"):
        return 0.5
    return 0.1  # ctx, ctx_pos, ctx_neg


def _prompt_params(seed, shapes):
    rng = np.random.RandomState(seed + 1)
    return {
        name: (_prompt_scale(name, shapes[name]) * rng.standard_normal(shapes[name])).astype(np.float32)
        for name in sorted(shapes)
    }


def anomalyclip_params(seed, **kw):
    return _prompt_params(seed, anomalyclip_shapes(**kw))


def faprompt_params(seed, **kw):
    return _prompt_params(seed, faprompt_shapes(**kw))


def coop_params(seed, **kw):
    return _prompt_params(seed, coop_shapes(**kw))


def cocoop_params(seed, **kw):
    return _prompt_params(seed, cocoop_shapes(**kw))


def inputs(seed):
    """Images (already normalised), image labels and binary masks."""
    rng = np.random.RandomState(seed + 2)
    grid = IMAGE // PATCH
    coarse = rng.standard_normal((BATCH, 3, grid, grid))
    fine = rng.standard_normal((BATCH, 3, IMAGE, IMAGE))
    images = coarse.repeat(PATCH, axis=2).repeat(PATCH, axis=3) + 0.5 * fine
    labels = np.array([0, 1, 0], dtype=np.int64)
    masks = np.zeros((BATCH, IMAGE, IMAGE), dtype=np.float32)
    masks[1, 20:45, 30:66] = 1.0
    masks[1, 60:70, 5:17] = 1.0
    return {"images": images.astype(np.float32), "labels": labels, "masks": masks}


def fingerprint(arrays):
    """Short digest over name, shape and float32 bytes; lets a reader check the draw."""
    h = hashlib.sha256()
    for name in sorted(arrays):
        a = np.ascontiguousarray(arrays[name])
        h.update(name.encode())
        h.update(str(a.shape).encode())
        h.update(a.tobytes())
    return h.hexdigest()[:16]


# --------------------------------------------------------------------------
# torch / open_clip conveniences
# --------------------------------------------------------------------------
def torch_state_dict(seed):
    import torch

    return {k: torch.from_numpy(np.array(v)) for k, v in clip_state_dict(seed).items()}


def build_open_clip(seed):
    """open_clip.CLIP carrying exactly these float32 weights (no half-precision trip)."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    vision = CLIPVisionCfg(layers=V_LAYERS, width=WIDTH, head_width=64, patch_size=PATCH, image_size=BASE_GRID * PATCH)
    text = CLIPTextCfg(context_length=CONTEXT, vocab_size=VOCAB, width=WIDTH, heads=WIDTH // 64, layers=T_LAYERS)
    model = CLIP(embed_dim=EMBED, vision_cfg=vision, text_cfg=text, quick_gelu=True)
    model.load_state_dict(torch_state_dict(seed), strict=True)
    return model.eval()
