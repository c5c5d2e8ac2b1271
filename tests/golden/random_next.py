"""Tiny models, trainable parameters, draws and inputs behind visualad.npz, bayes_pfl.npz and musc.npz.

Extends ``random_clip_c.py`` (configuration ``large``, same streams and value rules); keep the three files side by
side.  numpy only; torch and open_clip are imported by ``build_open_clip_next``.  ``README_next.md`` states it in words.
"""

from __future__ import annotations

import math

import numpy as np
from random_clip import fingerprint
from random_clip_c import CONFIGS, CONTEXT, HEAD_V, TEXT_HEADS, VOCAB, clip_state_dict, inputs

KIND = "large"
LAYERS = (6, 12, 18, 24)
WIDTH, JOINT = CONFIGS[KIND]["width"], CONFIGS[KIND]["text"]
PUBLIC_SEED = 27182
# method -> (positional table: mode, antialias), QuickGELU
BACKBONE = {
    "visualad": ("bilinear", False, True),
    "bayes_pfl": ("bicubic", True, False),
    "musc": ("bicubic", False, False),
}


def _draw(seed, shapes, rule):
    """One stream RandomState(seed + 1) over the sorted names; value = offset + scale * standard_normal."""
    rng = np.random.RandomState(seed + 1)
    out = {}
    for name in sorted(shapes):
        offset, scale = rule(name, shapes[name])
        out[name] = (offset + scale * rng.standard_normal(shapes[name])).astype(np.float32)
    return out


# ---- VisualAD ----
def visualad_params(seed, anchors=4, max_patches=1536):
    """Two tokens, a trained copy of ln_post, one MLP (SAF) and one cross-attention (SCA) a layer."""
    w = WIDTH
    shapes = {"anomaly_token": (w,), "normal_token": (w,), "ln_post.weight": (w,), "ln_post.bias": (w,)}
    for k in LAYERS:
        for i in (0, 3):
            shapes[f"saf.layer_{k}.mlp.{i}.weight"] = (w, w)
            shapes[f"saf.layer_{k}.mlp.{i}.bias"] = (w,)
        p = f"sca.layer_{k}"
        shapes.update({f"{p}.anchor_queries": (anchors, w), f"{p}.pos_encoding": (1, max_patches, w)})
        shapes.update({f"{p}.{n}_proj.weight": (w, w) for n in ("q", "k", "v", "out")})
        shapes.update({f"{p}.{n}_norm.{s}": (w,) for n in ("q", "k") for s in ("weight", "bias")})
        shapes.update({f"{p}.out_proj.bias": (w,), f"{p}.gate.0.weight": (anchors, w), f"{p}.gate.0.bias": (anchors,)})
        shapes[f"{p}.res_scale"] = (1,)

    def rule(name, shape):
        if name.endswith("res_scale"):
            return 0.3, 0.05
        if "norm.weight" in name or name == "ln_post.weight":
            return 1.0, 0.1
        if "norm.bias" in name or name == "ln_post.bias":
            return 0.0, 0.1
        if name.endswith("bias"):
            return 0.0, 0.05
        if name.endswith("_token"):
            return 0.0, 1.0
        if name.endswith(("anchor_queries", "pos_encoding")):
            return 0.0, 0.3
        return 0.0, shape[1] ** -0.5

    return _draw(seed, shapes, rule)


# ---- Bayes-PFL ----
BANK, CONTEXT_LEN, STATE_LEN, FLOWS, SAMPLES = 3, 5, 5, 10, 3
PROMPT_INDEX = 1  # the prompt of the bank that the training step picks


def bayes_params(seed):
    """Prompt bank, two pairs of encoders, three flows, class and image maps, attention (RCA), global feature."""
    w, t = WIDTH, JOINT
    hid = w // 2
    shapes = {
        "prompt_context": (BANK, CONTEXT_LEN, t),
        "prompt_state_normal": (BANK, STATE_LEN, t),
        "prompt_state_abnormal": (BANK, STATE_LEN, t),
        "temperature_pixel": (),
        "temperature_image": (),
        "class_mapping.weight": (t, t),
        "class_mapping.bias": (t,),
        "image_mapping.weight": (t, t),
        "image_mapping.bias": (t,),
        "RCA.q_proj_pre.weight": (t, t, 1),
        "RCA.q_proj_pre.bias": (t,),
        "fuse.fuse_modules.weight": (hid, w * len(LAYERS)),
        "fuse.fuse_modules.bias": (hid,),
        "fuse.compress.weight": (1, hid),
        "fuse.compress.bias": (1,),
        "fuse.post_process.weight": (t, hid),
        "fuse.post_process.bias": (t,),
    }
    for i in range(len(LAYERS)):
        shapes[f"RCA.linear_proj.{i}.weight"] = (t, w)
    for enc in ("context_encoder", "state_encoder"):
        for head in ("weight_mean", "weight_log_variance"):
            for j, (rows, cols) in {0: (hid, t), 2: (hid, hid), 4: (t, hid)}.items():
                shapes[f"{enc}.{head}.module.{j}.weight"] = (rows, cols)
                shapes[f"{enc}.{head}.module.{j}.bias"] = (rows,)
    for name, rows in {"amor_u": FLOWS * t, "amor_w": FLOWS * t, "amor_b": FLOWS}.items():
        shapes[f"PFL_context.{name}.weight"] = (rows, t)
        shapes[f"PFL_context.{name}.bias"] = (rows,)
    for side in ("PFL_normal", "PFL_abnormal"):
        shapes[f"{side}.amor_u"] = (1, FLOWS, t, 1)
        shapes[f"{side}.amor_w"] = (1, FLOWS, 1, t)
        shapes[f"{side}.amor_b"] = (1, FLOWS, 1, 1)
        shapes[f"{side}.state"] = (1, t)

    def rule(name, shape):
        if name.startswith("temperature"):
            return math.log(1 / 0.07), 0.1
        if name.startswith("prompt_state"):
            return (0.1 if name.endswith("_normal") else -0.1), 0.1
        if name.startswith("prompt_"):
            return 0.0, 0.1
        if name.endswith(".state"):
            return 0.0, 1.0
        if name.startswith(("PFL_normal", "PFL_abnormal")):
            return 0.0, 0.15
        if name.endswith("bias"):
            return 0.0, 0.05
        if name.startswith("PFL_context.amor_"):
            return 0.0, 0.3 * shape[1] ** -0.5
        if "encoder" in name:
            return 0.0, (0.3 if ".module.4." in name else 1.0) * shape[1] ** -0.5
        return 0.0, shape[1] ** -0.5

    return _draw(seed, shapes, rule)


def bayes_draws(seed, images=3, samples=SAMPLES):
    """Standard normal noise in the order in which it is used (stream RandomState(seed + 3)).

    train.*: one draw for the batch.  test.{i}.context: image i's draws; test.normal, test.abnormal: drawn once, at the
    first image, and kept.
    """
    rng = np.random.RandomState(seed + 3)
    t = JOINT
    out = {"train.context": rng.standard_normal((images, t))}
    out["train.normal"] = rng.standard_normal((1, t))
    out["train.abnormal"] = rng.standard_normal((1, t))
    out["test.normal"] = rng.standard_normal((samples, 1, t))
    out["test.abnormal"] = rng.standard_normal((samples, 1, t))
    for i in range(images):
        out[f"test.{i}.context"] = rng.standard_normal((samples, 1, t))
    return {k: v.astype(np.float32) for k, v in out.items()}


# ---- MuSc ----
def musc_inputs(seed, images=12, odd=(2, 7, 10)):
    """Images of one category: a common pattern, variation of each, a foreign patch in three (RandomState(seed + 2))."""
    rng = np.random.RandomState(seed + 2)
    g, p = CONFIGS[KIND]["grid"], CONFIGS[KIND]["patch"]
    common = rng.standard_normal((1, 3, g, g))
    coarse = common + 0.25 * rng.standard_normal((images, 3, g, g))
    fine = rng.standard_normal((images, 3, g * p, g * p))
    foreign = rng.standard_normal((len(odd), 3, 2 * p, 2 * p))
    x = coarse.repeat(p, axis=2).repeat(p, axis=3) + 0.2 * fine
    for n, i in enumerate(odd):
        x[i, :, 2 * p : 4 * p, p : 3 * p] = 1.5 * foreign[n]
    labels = np.zeros(images, dtype=np.int64)
    labels[list(odd)] = 1
    return {"images": x.astype(np.float32), "labels": labels}


# ---- torch ----
def resized(method, seed):
    """Torch state dict with the positional table at the run-time grid, by the method's own interpolation."""
    import torch
    import torch.nn.functional as F

    mode, antialias, _ = BACKBONE[method]
    c = CONFIGS[KIND]
    sd = {k: torch.from_numpy(np.array(v)) for k, v in clip_state_dict(KIND, seed).items()}
    pos = sd["visual.positional_embedding"]
    grid = pos[1:].reshape(1, c["native"], c["native"], -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(c["grid"],) * 2, mode=mode, align_corners=False, antialias=antialias)
    sd["visual.positional_embedding"] = torch.cat([pos[:1], grid.permute(0, 2, 3, 1).reshape(-1, c["width"])])
    return sd


def build_open_clip_next(method, seed):
    """open_clip.CLIP at the run-time size (84 px) with these float32 weights and the method's activation, eval mode."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    c = CONFIGS[KIND]
    side = c["grid"] * c["patch"]
    vision = CLIPVisionCfg(
        layers=c["layers"], width=c["width"], head_width=HEAD_V, patch_size=c["patch"], image_size=side
    )
    text = CLIPTextCfg(
        context_length=CONTEXT, vocab_size=VOCAB, width=c["text"], heads=TEXT_HEADS, layers=c["text_layers"]
    )
    model = CLIP(embed_dim=c["text"], vision_cfg=vision, text_cfg=text, quick_gelu=BACKBONE[method][2])
    model.load_state_dict(resized(method, seed), strict=True)
    return model.eval()


if __name__ == "__main__":
    import sys

    s = int(sys.argv[1]) if len(sys.argv) > 1 else PUBLIC_SEED
    print("clip     ", fingerprint(clip_state_dict(KIND, s)))
    print("visualad ", fingerprint(visualad_params(s)), "inputs", fingerprint(inputs(KIND, s)))
    print("bayes_pfl", fingerprint(bayes_params(s)), "draws", fingerprint(bayes_draws(s)))
    print("musc     ", fingerprint(musc_inputs(s)))
