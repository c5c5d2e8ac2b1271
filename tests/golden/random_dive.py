"""The DIVE parameters, class labels and descriptions behind ``dive*.npz``, drawn from a seed.

Weights and images come from ``random_clip.py`` (same seed).  numpy only; see README_dive.md in data/.
"""

from __future__ import annotations

import numpy as np

WIDTH = 128  # D_v = D_t = D in the tiny model
N_CTX = 12
DEEP_LEN = 4
DEEP_DEPTH = 9
N_INJECT = 4  # drawn for four modules; sets with three blocks use inject.0 .. inject.2
HIDDEN = WIDTH // 4

CLASS_NAMES = ("carpet", "metal nut", "hazelnut", "printed circuit board")
CLASS_LABELS = np.array([2, 0, 3], dtype=np.int64)
DESCRIPTIONS = (
    "a photo of an object with a crack",
    "a photo of an object with a scratch",
    "a photo of an object with a missing part",
    "a photo of an object with an irregular dark lesion",
    "a photo of an object with contamination",
    "a photo of an object with a flawless surface",
    "a photo of an object with a clean surface",
    "a photo of an object with a uniform texture",
)
DESC_IS_ABNORMAL = np.array([1, 1, 1, 1, 1, 0, 0, 0], dtype=bool)


def dive_shapes():
    w = WIDTH
    shapes = {f"ctx_{k}": (N_CTX, w) for k in ("normal", "abnormal", "semantic")}
    shapes |= {f"deep_{k}": (DEEP_DEPTH - 1, DEEP_LEN, w) for k in ("state", "semantic")}
    shapes |= {"shallow.weight": (w, w), "shallow.bias": (w,), "desc_proj.weight": (w, w)}
    for i in range(N_INJECT):
        for ln in ("ln_q", "ln_kv"):
            shapes |= {f"inject.{i}.{ln}.weight": (w,), f"inject.{i}.{ln}.bias": (w,)}
        for p in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes[f"inject.{i}.{p}.weight"] = (w, w)
            if p != "k_proj":  # a key bias has no effect under the softmax
                shapes[f"inject.{i}.{p}.bias"] = (w,)
    for g in ("g_state", "g_semantic"):
        shapes |= {
            f"{g}.fc1.weight": (HIDDEN, w),
            f"{g}.fc1.bias": (HIDDEN,),
            f"{g}.fc2.weight": (w, HIDDEN),
            f"{g}.fc2.bias": (w,),
        }
    return shapes


def _rule(name, shape):
    """(offset, scale) of the normal draw."""
    if ".ln_" in name:
        return (1.0, 0.1) if name.endswith("weight") else (0.0, 0.1)
    if name.endswith("bias"):
        return 0.0, 0.02
    if name.startswith("deep_"):
        return 0.0, 0.5
    if name.startswith("ctx_"):
        return 0.0, 0.1
    if name.endswith(("q_proj.weight", "k_proj.weight")):
        return 0.0, 2.0 * shape[1] ** -0.5  # makes the attention clearly non-uniform
    if name.endswith("fc2.weight"):
        return 0.0, 0.5 * shape[1] ** -0.5
    return 0.0, shape[1] ** -0.5  # shallow, desc_proj, v_proj, out_proj, fc1


def dive_params(seed):
    """One stream RandomState(seed + 1) over the sorted names; float64 draw, float32 result."""
    rng = np.random.RandomState(seed + 1)
    out = {}
    shapes = dive_shapes()
    for name in sorted(shapes):
        offset, scale = _rule(name, shapes[name])
        out[name] = (offset + scale * rng.standard_normal(shapes[name])).astype(np.float32)
    return out
