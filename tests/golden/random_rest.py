"""Tiny models, trainable parameters and inputs behind filo.npz, af_clip.npz and blip.npz.

FiLo and AF-CLIP use the tiny CLIP ``large`` of ``random_clip_c.py`` (which needs ``random_clip.py``; both beside
this file); BLIP has its own two towers.  Only numpy is needed; torch, open_clip and transformers are imported by the
functions at the bottom.  ``README_rest.md`` states the recipe in words.
"""

from __future__ import annotations

import numpy as np
from random_clip import fingerprint
from random_clip_c import CONFIGS, clip_state_dict
from random_clip_c import inputs as clip_inputs

PUBLIC_SEED = 16180
LARGE = CONFIGS["large"]  # vision width 128, 24 blocks, patch 14, grid 4 -> 6; text = joint width 64
N_CTX = 12


def _draw(seed, shapes, rule):
    """One stream RandomState(seed + 1) over the sorted names: offset + scale * normal in float64, cast to float32."""
    rng = np.random.RandomState(seed + 1)
    out = {}
    for name in sorted(shapes):
        offset, scale = rule(name, shapes[name])
        out[name] = (offset + scale * rng.standard_normal(shapes[name])).astype(np.float32)
    return out


def _fan_in(shape):
    return int(np.prod(shape[1:]))


# --------------------------------------------------------------------------
# FiLo
# --------------------------------------------------------------------------
FILO_KERNELS = {"11": (1, 1), "33": (3, 3), "55": (5, 5), "77": (7, 7), "15": (1, 5), "51": (5, 1)}


def filo_shapes():
    w, t = LARGE["width"], LARGE["text"]
    shapes = {"adapter.fc.0.weight": (t // 2, t), "adapter.fc.2.weight": (t, t // 2)}
    for side in ("normal", "abnormal"):
        shapes[f"{side}_prompt_learner.ctx"] = (N_CTX, t)
        shapes[f"{side}_prompt_learner.meta_net.linear1.weight"] = (t // 16, t)
        shapes[f"{side}_prompt_learner.meta_net.linear1.bias"] = (t // 16,)
        shapes[f"{side}_prompt_learner.meta_net.linear2.weight"] = (t, t // 16)
        shapes[f"{side}_prompt_learner.meta_net.linear2.bias"] = (t,)
    for i in range(4):
        shapes[f"decoder_linear.fc.{i}.weight"] = (t, w)
        shapes[f"decoder_linear.fc.{i}.bias"] = (t,)
    for i in range(3):
        for name, (kh, kw) in FILO_KERNELS.items():
            shapes[f"decoder_cov.fc_{name}.{i}.weight"] = (t, w, kh, kw)
            shapes[f"decoder_cov.fc_{name}.{i}.bias"] = (t,)
    return shapes


def filo_params(seed):
    def rule(name, shape):
        if name.endswith(".ctx"):
            return 0.0, 0.1
        if name.endswith(".bias"):
            return 0.0, 0.05
        if "meta_net.linear1" in name:
            return 0.0, 1.0  # its input is a unit vector
        if "meta_net.linear2" in name:
            return 0.0, 0.2 * _fan_in(shape) ** -0.5
        if name == "adapter.fc.0.weight":
            return 0.0, 1.0
        return 0.0, _fan_in(shape) ** -0.5  # adapter.fc.2, decoder_linear, decoder_cov

    return _draw(seed, filo_shapes(), rule)


# --------------------------------------------------------------------------
# AF-CLIP
# --------------------------------------------------------------------------
AF_HEADS, AF_HEAD_WIDTH = 8, 64


def af_clip_shapes():
    w, t, inner = LARGE["width"], LARGE["text"], AF_HEADS * AF_HEAD_WIDTH
    return {
        "context": (N_CTX, t),
        "adapter.norm.weight": (w,),
        "adapter.norm.bias": (w,),
        "adapter.q.weight": (inner, w),
        "adapter.k.weight": (inner, w),
        "adapter.v.weight": (inner, w),
        "adapter.out.weight": (w, inner),
        "adapter.out.bias": (w,),
    }


def af_clip_params(seed):
    def rule(name, shape):
        if name == "context":
            return 0.0, 0.1
        if name.startswith("adapter.norm"):
            return (1.0, 0.1) if name.endswith("weight") else (0.0, 0.1)
        if name.endswith("bias"):
            return 0.0, 0.05
        if name in ("adapter.q.weight", "adapter.k.weight"):
            return 0.0, 2.5 * _fan_in(shape) ** -0.5  # makes the attention clearly non-uniform
        return 0.0, _fan_in(shape) ** -0.5

    return _draw(seed, af_clip_shapes(), rule)


# --------------------------------------------------------------------------
# BLIP
# --------------------------------------------------------------------------
BLIP = {
    "image": 96,
    "patch": 16,
    "width": 128,
    "mlp": 256,
    "blocks": 12,
    "heads": 2,
    "text": 72,
    "text_mlp": 160,
    "text_blocks": 4,
    "text_heads": 6,
    "positions": 40,
    "joint": 48,
}
BLIP_CLASSES = ["bottle", "metal_nut", "pipe_fryum"]
BLIP_VOCAB = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] . , - ' a an the photo of normal anomalous object damaged bottle metal nut pipe "
    "with without flaw defect perfect is there in scene fry ##um ##s ##ed ##ing scratch crack"
).split()


def blip_shapes():
    """Names of ``transformers.BlipForImageTextRetrieval`` (unused cross-attention and matching head included)."""
    b = BLIP
    w, t, side = b["width"], b["text"], b["image"] // b["patch"]
    shapes = {
        "vision_model.embeddings.class_embedding": (1, 1, w),
        "vision_model.embeddings.position_embedding": (1, side * side + 1, w),
        "vision_model.embeddings.patch_embedding.weight": (w, 3, b["patch"], b["patch"]),
        "vision_model.embeddings.patch_embedding.bias": (w,),
        "vision_model.post_layernorm.weight": (w,),
        "vision_model.post_layernorm.bias": (w,),
        "text_encoder.embeddings.word_embeddings.weight": (len(BLIP_VOCAB), t),
        "text_encoder.embeddings.position_embeddings.weight": (b["positions"], t),
        "text_encoder.embeddings.LayerNorm.weight": (t,),
        "text_encoder.embeddings.LayerNorm.bias": (t,),
        "vision_proj.weight": (b["joint"], w),
        "vision_proj.bias": (b["joint"],),
        "text_proj.weight": (b["joint"], t),
        "text_proj.bias": (b["joint"],),
        "itm_head.weight": (2, t),
        "itm_head.bias": (2,),
    }

    def linear(name, out, into):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, into), (out,)

    def norm(name, width):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (width,), (width,)

    for i in range(b["blocks"]):
        p = f"vision_model.encoder.layers.{i}"
        linear(f"{p}.self_attn.qkv", 3 * w, w)
        linear(f"{p}.self_attn.projection", w, w)
        linear(f"{p}.mlp.fc1", b["mlp"], w)
        linear(f"{p}.mlp.fc2", w, b["mlp"])
        norm(f"{p}.layer_norm1", w)
        norm(f"{p}.layer_norm2", w)
    for i in range(b["text_blocks"]):
        p = f"text_encoder.encoder.layer.{i}"
        for attention, source in (("attention", t), ("crossattention", w)):
            linear(f"{p}.{attention}.self.query", t, t)
            linear(f"{p}.{attention}.self.key", t, source)
            linear(f"{p}.{attention}.self.value", t, source)
            linear(f"{p}.{attention}.output.dense", t, t)
            norm(f"{p}.{attention}.output.LayerNorm", t)
        linear(f"{p}.intermediate.dense", b["text_mlp"], t)
        linear(f"{p}.output.dense", t, b["text_mlp"])
        norm(f"{p}.output.LayerNorm", t)
    return shapes


def _is_norm(name):
    return name.split(".")[-2].lower().replace("_", "").startswith(("layernorm", "postlayernorm"))


def blip_state_dict(seed):
    """Stream RandomState(seed), names in plain string order (as for the CLIP weights)."""
    rng = np.random.RandomState(seed)
    shapes = blip_shapes()
    out = {}
    for name in sorted(shapes):
        shape = shapes[name]
        if _is_norm(name):
            offset, scale = (1.0, 0.1) if name.endswith("weight") else (0.0, 0.1)
        elif name.endswith("bias"):
            offset, scale = 0.0, 0.05
        elif "embedding" in name and not name.endswith("patch_embedding.weight"):
            offset, scale = 0.0, 0.3  # class, position and word embeddings
        elif name.endswith(("projection.weight", "fc2.weight")):
            offset, scale = 0.0, 0.5 * _fan_in(shape) ** -0.5
        else:
            offset, scale = 0.0, _fan_in(shape) ** -0.5
        out[name] = (offset + scale * rng.standard_normal(shape)).astype(np.float32)
    return out


def blip_params(seed):
    """Learnable context of variant B, text width."""
    t = BLIP["text"]
    return _draw(seed, {"ctx_normal": (N_CTX, t), "ctx_abnormal": (N_CTX, t)}, lambda name, shape: (0.0, 0.3))


def blip_inputs(seed):
    """Normalised images, labels and masks as for the CLIP models, at 96 px (patch 16, 6 x 6)."""
    rng = np.random.RandomState(seed + 2)
    patch, side = BLIP["patch"], BLIP["image"]
    grid = side // patch
    coarse = rng.standard_normal((3, 3, grid, grid))
    fine = rng.standard_normal((3, 3, side, side))
    images = coarse.repeat(patch, axis=2).repeat(patch, axis=3) + 0.5 * fine
    masks = np.zeros((3, side, side), dtype=np.float32)
    masks[1, 20:45, 30:66] = 1.0
    masks[1, 60:70, 5:17] = 1.0
    return {"images": images.astype(np.float32), "labels": np.array([0, 1, 0], dtype=np.int64), "masks": masks}


def inputs(method, seed):
    return blip_inputs(seed) if method == "blip" else clip_inputs("large", seed)


def weights(method, seed):
    return blip_state_dict(seed) if method == "blip" else clip_state_dict("large", seed)


def params(method, seed):
    return {"filo": filo_params, "af_clip": af_clip_params, "blip": blip_params}[method](seed)


def fingerprints(method, seed):
    """Weights, parameters, inputs, in this order; what ``fingerprints`` in the file must equal."""
    return [fingerprint(weights(method, seed)), fingerprint(params(method, seed)), fingerprint(inputs(method, seed))]


# --------------------------------------------------------------------------
# torch conveniences
# --------------------------------------------------------------------------
POSITIONS = {"filo": "bicubic", "af_clip": "bilinear"}  # neither with antialias
QUICK_GELU = {"filo": False, "af_clip": True}


def clip_torch_state_dict(method, seed):
    """Torch state dict, positional table resized 4 -> 6 the way the method does it (align_corners False)."""
    import torch
    import torch.nn.functional as F

    sd = {k: torch.from_numpy(np.array(v)) for k, v in clip_state_dict("large", seed).items()}
    pos, native, grid = sd["visual.positional_embedding"], LARGE["native"], LARGE["grid"]
    table = pos[1:].reshape(1, native, native, -1).permute(0, 3, 1, 2)
    table = F.interpolate(table, size=(grid, grid), mode=POSITIONS[method], align_corners=False)
    table = table.permute(0, 2, 3, 1).reshape(grid * grid, -1)
    sd["visual.positional_embedding"] = torch.cat([pos[:1], table])
    return sd


def build_open_clip(method, seed):
    """open_clip.CLIP at 84 px with exactly these float32 weights, eval mode."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    c = LARGE
    vision = CLIPVisionCfg(
        layers=c["layers"], width=c["width"], head_width=64, patch_size=c["patch"], image_size=c["grid"] * c["patch"]
    )
    text = CLIPTextCfg(context_length=77, vocab_size=49408, width=c["text"], heads=2, layers=c["text_layers"])
    model = CLIP(embed_dim=c["text"], vision_cfg=vision, text_cfg=text, quick_gelu=QUICK_GELU[method])
    model.load_state_dict(clip_torch_state_dict(method, seed), strict=True)
    return model.eval()


def build_blip(seed):
    """transformers.BlipForImageTextRetrieval with exactly these float32 weights, eval mode."""
    import torch
    from transformers import BlipConfig, BlipForImageTextRetrieval

    b = BLIP
    config = BlipConfig(
        vision_config={
            "hidden_size": b["width"],
            "intermediate_size": b["mlp"],
            "num_hidden_layers": b["blocks"],
            "num_attention_heads": b["heads"],
            "image_size": b["image"],
            "patch_size": b["patch"],
        },
        text_config={
            "vocab_size": len(BLIP_VOCAB),
            "hidden_size": b["text"],
            "encoder_hidden_size": b["width"],
            "intermediate_size": b["text_mlp"],
            "num_hidden_layers": b["text_blocks"],
            "num_attention_heads": b["text_heads"],
            "max_position_embeddings": b["positions"],
            "bos_token_id": 2,
            "eos_token_id": 3,
            "sep_token_id": 3,
            "pad_token_id": 0,
        },
        image_text_hidden_size=b["joint"],
    )
    model = BlipForImageTextRetrieval(config)
    model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in blip_state_dict(seed).items()}, strict=True)
    return model.eval()


if __name__ == "__main__":
    import sys

    s = int(sys.argv[1]) if len(sys.argv) > 1 else PUBLIC_SEED
    for m in ("filo", "af_clip", "blip"):
        print(m, *fingerprints(m, s))
