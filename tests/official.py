"""Official checkpoints as the released code saves them: its key names and shapes, random values.

Token ids come from open_clip's own tokenizer, so that they do not depend on the methods under test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from zsad_bench.backbones.base import Backbone

IGNORED = ("token_prefix", "token_suffix", "compound_prompt_projections")


def anomalyclip_file(width: int, n_ctx: int = 12, deep: int = 8, deep_len: int = 4) -> dict[str, Tensor]:
    """The state dict of AnomalyCLIP's prompt learner."""
    import torch

    draw = torch.Generator().manual_seed(7)
    own = {name: torch.randn(1, 1, n_ctx, width, generator=draw) for name in ("ctx_pos", "ctx_neg")}
    filler = " ".join(["X"] * n_ctx)
    words = {"pos": (f"{filler} object.", 1, n_ctx), "neg": (f"{filler} damaged object.", 1, n_ctx)}
    return own | _common(width, deep, deep_len, words, draw)


def faprompt_file(
    width: int, joint: int, n_normal: int = 5, n_abnormal: int = 2, prompts: int = 10, patches: int = 10, deep: int = 8
) -> dict[str, Tensor]:
    """The state dict of FAPrompt's prompt learner; joint: width of the features that its network reads."""
    import torch

    draw = torch.Generator().manual_seed(8)
    inputs = patches * joint
    shapes = {
        "ctx_pos": (1, 1, n_normal, width),
        "ctx_neg": (1, prompts, n_abnormal, width),
        "patch_meta_net.linear1.weight": (inputs // 16, inputs),
        "patch_meta_net.linear1.bias": (inputs // 16,),
        "patch_meta_net.linear2.weight": (width, inputs // 16),
        "patch_meta_net.linear2.bias": (width,),
    }
    own = {name: 0.1 * torch.randn(*shape, generator=draw) for name, shape in shapes.items()}
    normal, abnormal = ["N"] * n_normal, ["A"] * n_abnormal
    words = {
        "pos": (" ".join([*normal, "object."]), 1, n_normal),
        "neg": (" ".join([*normal, *abnormal, "damaged object."]), prompts, n_normal + n_abnormal),
    }
    return own | _common(width, deep, 4, words, draw)


def adaclip_file(
    vision: int,
    joint: int,
    text: int,
    depth: int = 4,
    length: int = 5,
    branches: tuple[str, ...] = ("visual", "text"),
    dynamic: bool = True,
) -> dict[str, Tensor]:
    """What AdaCLIP's trainer saves, under its names; the text prompts of block 1 are in it, and were never trained."""
    import torch

    draw, widths = torch.Generator().manual_seed(9), {"visual": vision, "text": text}
    shapes = {"cls_token_layer.head.0.weight": (joint, joint), "cls_token_layer.head.0.bias": (joint,)}
    for tap in range(4):
        shapes |= {
            f"patch_token_layer.head.{tap}.weight": (joint, vision),
            f"patch_token_layer.head.{tap}.bias": (joint,),
        }
    for of, width in widths.items():
        for block in range(depth if of in branches else 0):
            shapes[f"{of}_prompter.static_prompts.{block}"] = (length, width)
        for i in range(length if dynamic else 0):
            name = f"dynamic_{of}_prompt_generator.head.{i}"
            shapes |= {f"{name}.weight": (width, joint), f"{name}.bias": (width,)}
    return {f"clip_model.{name}": 0.1 * torch.randn(*shape, generator=draw) for name, shape in shapes.items()}


def _common(width, deep, deep_len, words, draw) -> dict[str, Tensor]:
    import torch
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer(context_length=77)
    state = {}
    for i in range(deep):
        state[f"compound_prompts_text.{i}"] = torch.randn(deep_len, width, generator=draw)
        state[f"compound_prompt_projections.{i}.weight"] = torch.randn(896, width, generator=draw)
        state[f"compound_prompt_projections.{i}.bias"] = torch.randn(896, generator=draw)
    for end, (text, count, context) in words.items():
        state[f"token_prefix_{end}"] = torch.randn(1, count, 1, width, generator=draw)
        state[f"token_suffix_{end}"] = torch.randn(1, count, 76 - context, width, generator=draw)
        state[f"tokenized_prompts_{end}"] = tokenizer([text]).int().repeat(1, count, 1)
    return state


def aa_clip_files(vision: int, text: int, joint: int, n_text: int, n_vision: int, n_levels: int) -> list[dict]:
    """AA-CLIP's two files, of these widths and numbers of adapters and levels."""
    import torch

    draw = torch.Generator().manual_seed(3)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw)

    texts = {f"{i}.fc.0.weight": drawn(text, text) for i in range(n_text)}
    texts[f"{n_text}.fc.0.weight"] = drawn(joint, text)
    images = {f"layer_adapters.{i}.fc.0.weight": drawn(vision, vision) for i in range(n_vision)}
    images |= {f"seg_proj.{i}.fc.weight": drawn(joint, vision) for i in range(n_levels)}
    images["det_proj.fc.weight"] = drawn(joint, vision)
    return [{"epoch": 5, "text_adapter": texts}, {"epoch": 15, "image_adapter": images}]


def april_gan_file(width: int, joint: int, maps: int = 4) -> dict[str, Tensor]:
    """The state dict of APRIL-GAN's linear maps; width: of the visual tower."""
    import torch

    draw = torch.Generator().manual_seed(9)
    shapes = {"weight": (joint, width), "bias": (joint,)}
    return {f"fc.{i}.{k}": torch.randn(*shape, generator=draw) for i in range(maps) for k, shape in shapes.items()}


def filo_file(vision: int, joint: int, text: int, n_ctx: int = 12) -> dict[str, Tensor]:
    """The state dict of FiLo: what it learned, and some of the frozen CLIP's names."""
    import torch

    draw = torch.Generator().manual_seed(9)
    shapes: dict[str, tuple[int, ...]] = {
        "adapter.fc.0.weight": (joint // 2, joint),
        "adapter.fc.2.weight": (joint, joint // 2),
        "clip_model.visual.conv1.weight": (vision, 3, 2, 2),
        "clip_model.visual.attn.in_proj_bias": (3,),
        "clip_model.visual.transformer.resblocks.7.attn.qkv.weight": (3, 3),
        "text_encoder.positional_embedding": (77, text),
    }
    for side in ("normal", "abnormal"):
        shapes |= {
            f"{side}_prompt_learner.ctx": (n_ctx, text),
            f"{side}_prompt_learner.meta_net.linear1.weight": (joint // 16, joint),
            f"{side}_prompt_learner.meta_net.linear1.bias": (joint // 16,),
            f"{side}_prompt_learner.meta_net.linear2.weight": (text, joint // 16),
            f"{side}_prompt_learner.meta_net.linear2.bias": (text,),
        }
    for level in range(4):
        shapes |= {f"decoder_linear.fc.{level}.weight": (joint, vision), f"decoder_linear.fc.{level}.bias": (joint,)}
    for level in range(3):
        for height, width in ((1, 1), (3, 3), (5, 5), (7, 7), (1, 5), (5, 1)):
            shapes[f"decoder_cov.fc_{height}{width}.{level}.weight"] = (joint, vision, height, width)
            shapes[f"decoder_cov.fc_{height}{width}.{level}.bias"] = (joint,)
    return {name: torch.randn(*shape, generator=draw) for name, shape in shapes.items()}


def visualad_file(
    width: int, blocks: tuple[int, ...] = (1, 2, 3, 4), anchors: int = 4, positions: int = 40
) -> dict[str, Tensor]:
    """The tensors of what VisualAD's trainer saves, their names from the outermost dictionary on."""
    import torch

    draw = torch.Generator().manual_seed(10)
    once = ("anomaly_token", "normal_token", "ln_post_weight", "ln_post_bias")
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(once, (width,))
    for block in blocks:
        mlp, sca = f"layer_transforms.layer_{block}.mlp", f"cross_attn.layer_attentions.layer_{block}"
        for layer in (0, 3):
            shapes |= {f"{mlp}.{layer}.weight": (width, width), f"{mlp}.{layer}.bias": (width,)}
        shapes |= {f"{sca}.{name}_proj.weight": (width, width) for name in ("q", "k", "v", "out")}
        shapes |= {f"{sca}.{name}_norm.{kind}": (width,) for name in ("q", "k") for kind in ("weight", "bias")}
        shapes |= {
            f"{sca}.out_proj.bias": (width,),
            f"{sca}.anchor_queries": (anchors, width),
            f"{sca}.pos_encoding": (1, positions, width),
            f"{sca}.gate.0.weight": (anchors, width),
            f"{sca}.gate.0.bias": (anchors,),
            f"{sca}.res_scale": (1,),
        }
    return {name: torch.randn(*shape, generator=draw) for name, shape in shapes.items()}


def visualad_saved(width: int) -> dict[str, object]:
    """What VisualAD's trainer saves: tensors, dictionaries of them, and settings."""
    state, saved = visualad_file(width), {"features_list": [1, 2, 3, 4], "image_size": 518, "transform_type": "mlp"}
    saved |= {name: tensor for name, tensor in state.items() if "." not in name}
    mlps: dict[str, dict[str, Tensor]] = {}
    attention: dict[str, Tensor] = {}
    for name, tensor in state.items():
        outer, _, inner = name.partition(".")
        if outer == "layer_transforms":
            layer, _, rest = inner.partition(".")
            mlps.setdefault(layer, {})[rest] = tensor
        elif outer == "cross_attn":
            attention[inner] = tensor
    return {**saved, "layer_transforms": mlps, "cross_attn": attention}


# Method -> the contents of its released checkpoint's files, in the widths of a backbone.
FILES: dict[str, Callable[[Backbone], list[dict[str, object]]]] = {
    "adaclip": lambda b: [adaclip_file(b.vision.width, b.vision.joint_width, b.text_tower.width, depth=3)],
    "anomalyclip": lambda b: [{"prompt_learner": anomalyclip_file(b.text_tower.width, deep=2)}],
    "april_gan": lambda b: [{"trainable_linearlayer": april_gan_file(b.vision.width, b.vision.joint_width)}],
    "filo": lambda b: [{"filo": filo_file(b.vision.width, b.vision.joint_width, b.text_tower.width)}],
    "faprompt": lambda b: [{"prompt_learner": faprompt_file(b.text_tower.width, b.vision.joint_width, deep=2)}],
    "aa_clip": lambda b: aa_clip_files(b.vision.width, b.text_tower.width, b.vision.joint_width, 1, 1, 4),
    "visualad": lambda b: [visualad_saved(b.vision.width)],
}
