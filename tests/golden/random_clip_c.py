"""Tiny CLIP models, trainable parameters and inputs behind adaclip.npz, aa_clip.npz and anovl.npz.

Extends ``random_clip.py`` (same value rules, same streams) to towers whose vision width differs from the
text / joint width, so that a transposed or wrongly sized map cannot pass unnoticed.  Only numpy is needed; torch and
open_clip are imported by the two functions at the bottom.  ``README_more.md`` states the recipe in words.
"""

from __future__ import annotations

import math

import numpy as np
from random_clip import _block_shapes, _rule, fingerprint

# vision width, vision blocks, patch, native grid, run-time grid, text (= joint) width, text blocks
CONFIGS = {
    "large": {"width": 128, "layers": 24, "patch": 14, "native": 4, "grid": 6, "text": 64, "text_layers": 12},
    "plus": {"width": 128, "layers": 12, "patch": 16, "native": 6, "grid": 6, "text": 64, "text_layers": 4},
}
METHOD_CONFIG = {"adaclip": "large", "aa_clip": "large", "anovl": "plus"}
VOCAB, CONTEXT, HEAD_V, TEXT_HEADS, BATCH = 49408, 77, 64, 2, 3

CLASSES = {
    "adaclip": ["bottle", "metal_nut", "pipe-fryum"],
    "aa_clip": ["bottle", "metal_nut", "bottle"],
    "anovl": ["bottle", "bottle", "bottle"],
}
LABELS = np.array([0, 1, 0], dtype=np.int64)


def clip_shapes(kind):
    c = CONFIGS[kind]
    w, t = c["width"], c["text"]
    shapes = {
        "positional_embedding": (CONTEXT, t),
        "text_projection": (t, t),
        "logit_scale": (),
        "token_embedding.weight": (VOCAB, t),
        "ln_final.weight": (t,),
        "ln_final.bias": (t,),
        "visual.class_embedding": (w,),
        "visual.positional_embedding": (c["native"] ** 2 + 1, w),
        "visual.proj": (w, t),
        "visual.conv1.weight": (w, 3, c["patch"], c["patch"]),
        "visual.ln_pre.weight": (w,),
        "visual.ln_pre.bias": (w,),
        "visual.ln_post.weight": (w,),
        "visual.ln_post.bias": (w,),
    }
    for i in range(c["layers"]):
        shapes.update(_block_shapes(f"visual.transformer.resblocks.{i}", w))
    for i in range(c["text_layers"]):
        shapes.update(_block_shapes(f"transformer.resblocks.{i}", t))
    return shapes


def clip_state_dict(kind, seed):
    """State dict at the native grid, float32 numpy, names of ``open_clip.model.CLIP``."""
    rng = np.random.RandomState(seed)
    shapes = clip_shapes(kind)
    out = {}
    for name in sorted(shapes):
        if name == "logit_scale":
            out[name] = np.asarray(math.log(1 / 0.07), dtype=np.float32)
            continue
        offset, scale = _rule(name, shapes[name])
        out[name] = (offset + scale * rng.standard_normal(shapes[name])).astype(np.float32)
    return out


def _draw(seed, shapes, scale):
    rng = np.random.RandomState(seed + 1)
    return {n: (scale(n, shapes[n]) * rng.standard_normal(shapes[n])).astype(np.float32) for n in sorted(shapes)}


def adaclip_params(seed, length=5, depth=4, taps=4):
    """Static prompts, dynamic prompt generators, patch maps, CLS map."""
    w, t = CONFIGS["large"]["width"], CONFIGS["large"]["text"]
    shapes = {"cls_token_layer.head.0.weight": (t, t), "cls_token_layer.head.0.bias": (t,)}
    for i in range(depth):
        shapes[f"text_prompter.static_prompts.{i}"] = (length, t)
        shapes[f"visual_prompter.static_prompts.{i}"] = (length, w)
    for i in range(length):
        shapes[f"dynamic_visual_prompt_generator.head.{i}.weight"] = (w, t)
        shapes[f"dynamic_visual_prompt_generator.head.{i}.bias"] = (w,)
        shapes[f"dynamic_text_prompt_generator.head.{i}.weight"] = (t, t)
        shapes[f"dynamic_text_prompt_generator.head.{i}.bias"] = (t,)
    for i in range(taps):
        shapes[f"patch_token_layer.head.{i}.weight"] = (t, w)
        shapes[f"patch_token_layer.head.{i}.bias"] = (t,)

    def scale(name, shape):
        if "static_prompts" in name:
            return 0.3
        if name.endswith("bias"):
            return 0.05
        return (0.5 if name.startswith("dynamic") else 1.0) * shape[1] ** -0.5

    return _draw(seed, shapes, scale)


def aa_clip_params(seed, text_until=3, image_until=6, taps=4):
    """Text adapters and text projection, vision adapters, segmentation and detection maps (all without bias)."""
    w, t = CONFIGS["large"]["width"], CONFIGS["large"]["text"]
    shapes = {f"text_adapter.{i}.fc.0.weight": (t, t) for i in range(text_until + 1)}
    shapes.update({f"image_adapter.layer_adapters.{i}.fc.0.weight": (w, w) for i in range(image_until)})
    shapes.update({f"image_adapter.seg_proj.{i}.fc.weight": (t, w) for i in range(taps)})
    shapes["image_adapter.det_proj.fc.weight"] = (t, w)
    return _draw(seed, shapes, lambda name, shape: shape[1] ** -0.5)


def anovl_draws(seed, images=BATCH, sentences=924, steps=5):
    """Per image: adapter weight and bias at reset, then the noise of each step (unit variance times 0.055)."""
    c = CONFIGS["plus"]
    rng = np.random.RandomState(seed + 1)
    bound = c["text"] ** -0.5
    out = {}
    for i in range(images):
        out[f"weight.{i}"] = rng.uniform(-bound, bound, (sentences, c["text"])).astype(np.float32)
        out[f"bias.{i}"] = rng.uniform(-bound, bound, (sentences,)).astype(np.float32)
        noise = rng.standard_normal((steps, 1, c["grid"], c["grid"], c["text"]))
        out[f"noise.{i}"] = (0.055 * noise).astype(np.float32)
    return out


def anovl_wide(seed, extra=24, steps=5):
    """One wide image (height = native size), the reset of the linear adapter and the noise for its two tiles."""
    c = CONFIGS["plus"]
    size, bound = c["grid"] * c["patch"], c["text"] ** -0.5
    rng = np.random.RandomState(seed + 3)
    image = rng.standard_normal((1, 3, size, size + extra))
    weight = rng.uniform(-bound, bound, (c["text"], c["text"]))
    bias = rng.uniform(-bound, bound, (c["text"],))
    noise = 0.055 * rng.standard_normal((steps, 2, c["grid"], c["grid"], c["text"]))
    out = {"image": image, "weight": weight, "bias": bias, "noise": noise}
    return {k: v.astype(np.float32) for k, v in out.items()}


def inputs(kind, seed):
    """Normalised images and binary masks (image 1 holds two rectangles, the others are empty)."""
    c = CONFIGS[kind]
    size = c["grid"] * c["patch"]
    rng = np.random.RandomState(seed + 2)
    coarse = rng.standard_normal((BATCH, 3, c["grid"], c["grid"]))
    fine = rng.standard_normal((BATCH, 3, size, size))
    images = coarse.repeat(c["patch"], axis=2).repeat(c["patch"], axis=3) + 0.5 * fine
    masks = np.zeros((BATCH, size, size), dtype=np.float32)
    masks[1, 20:45, 30:66] = 1.0
    masks[1, 60:70, 5:17] = 1.0
    return {"images": images.astype(np.float32), "labels": LABELS, "masks": masks}


def resized_state_dict(kind, seed, antialias):
    """Torch state dict with the positional table resized (bicubic, align_corners False) to the run-time grid."""
    import torch
    import torch.nn.functional as F

    c = CONFIGS[kind]
    sd = {k: torch.from_numpy(np.array(v)) for k, v in clip_state_dict(kind, seed).items()}
    if c["native"] != c["grid"]:
        pos = sd["visual.positional_embedding"]
        grid = pos[1:].reshape(1, c["native"], c["native"], -1).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, size=(c["grid"],) * 2, mode="bicubic", align_corners=False, antialias=antialias)
        sd["visual.positional_embedding"] = torch.cat([pos[:1], grid.permute(0, 2, 3, 1).reshape(-1, c["width"])])
    return sd


def build_open_clip(kind, seed, antialias=True):
    """open_clip.CLIP at the run-time size with exactly these float32 weights, exact GELU, eval mode."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    c = CONFIGS[kind]
    side = c["grid"] * c["patch"]
    vision = CLIPVisionCfg(
        layers=c["layers"], width=c["width"], head_width=HEAD_V, patch_size=c["patch"], image_size=side
    )
    text = CLIPTextCfg(
        context_length=CONTEXT, vocab_size=VOCAB, width=c["text"], heads=TEXT_HEADS, layers=c["text_layers"]
    )
    model = CLIP(embed_dim=c["text"], vision_cfg=vision, text_cfg=text, quick_gelu=False)
    model.load_state_dict(resized_state_dict(kind, seed, antialias), strict=True)
    return model.eval()


if __name__ == "__main__":
    import sys

    s = int(sys.argv[1]) if len(sys.argv) > 1 else 31415
    for kind in CONFIGS:
        print(kind, "weights", fingerprint(clip_state_dict(kind, s)), "inputs", fingerprint(inputs(kind, s)))
    print("adaclip", fingerprint(adaclip_params(s)))
    print("aa_clip", fingerprint(aa_clip_params(s)))
    print("anovl  ", fingerprint(anovl_draws(s)), "wide", fingerprint(anovl_wide(s)))
