"""Pretrains the tiny CLIP of the demo suite on generated images: `python benchmarks/pretrain_tiny_clip.py --help`.

Seeded: a run repeats on the same machine with the same number of threads. Writes `weights.safetensors`, `config.json`
and `log.jsonl` into --out. docs/tiny_clip.md is the model card.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from tiny_clip.captions import Caption, draw_caption, draw_noun
from tiny_clip.objective import TEMPERATURE, contrastive, dense, state
from tiny_clip.pool import IMAGE, PATCH, Pool, build

from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.families._open_clip import OPENAI_MEAN, OPENAI_STD, from_model
from zsad_bench.backbones.families.tiny import filler_table, save_tiny
from zsad_bench.data.demo.classes import CLASSES
from zsad_bench.methods._edits import chain, deep_visual_tokens, visual_tokens
from zsad_bench.metrics.functional.ranking import auroc
from zsad_bench.types import EncoderSpec, Tap

MODEL_CFG = {
    "embed_dim": 128,
    "quick_gelu": False,  # exact GELU is one fused kernel on a CPU, QuickGELU several
    "vision_cfg": {"image_size": IMAGE, "patch_size": PATCH, "layers": 6, "width": 128, "head_width": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 96, "heads": 3, "layers": 5},
}
PREPROCESS = {"mean": OPENAI_MEAN, "std": OPENAI_STD}
LAST, LAST_VV = Tap(6), Tap(6, 2)  # V-V from block 2: block 6 of 24, scaled to 6 blocks
TAPS = {LAST: 1.0, LAST_VV: 1.0, Tap(4): 0.3, Tap(3): 0.2, Tap(4, 2): 0.3, Tap(3, 2): 0.2, Tap(1): 0.1}


@dataclass(frozen=True)
class Config:
    """One run. The rate warms up, stays, and falls to zero over the last `decay` steps; a trunk (decay 0) can be
    continued by several branches (--start), which then are candidates that share most of their cost.

    dense_named: chance that the dense loss sees a caption that names the defect, not just its state. The higher it
    is, the less the hand-written state words say about patches, and the more there is for prompts to learn.
    """

    seed: int = 0
    steps: int = 3000
    decay: int = 800
    batch: int = 32
    lr: float = 1.2e-3
    warmup: int = 100
    weight_decay: float = 0.05
    state_weight: float = 2.0
    dense_weight: float = 1.0
    dense_named: float = 0.4
    per_class: int = 1200
    max_extra_tokens: int = 6


def build_model(seed: int) -> open_clip.CLIP:
    """A fresh CLIP whose token table is the one that unused rows are rebuilt from at loading."""
    torch.manual_seed(seed)
    model = open_clip.CLIP(**MODEL_CFG)
    with torch.no_grad():
        model.token_embedding.weight.copy_(filler_table(49408, MODEL_CFG["text_cfg"]["width"]))
        model.visual.positional_embedding[1:] = _sincos(IMAGE // PATCH, MODEL_CFG["vision_cfg"]["width"])
        model.logit_scale.fill_(float(np.log(1 / TEMPERATURE)))
    return model


def _sincos(grid: int, width: int) -> torch.Tensor:
    """(grid*grid, width) two-dimensional sine-cosine table, the start of the learned one."""
    omega = 1 / 100 ** (torch.arange(width // 4) / (width // 4))
    rows, cols = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    parts = [axis.flatten()[:, None] * omega for axis in (rows.float(), cols.float())]
    return 0.1 * torch.cat([f(p) for p in parts for f in (torch.sin, torch.cos)], 1)


class Sampler:
    """Batches of normal and anomalous images in equal parts, half of the batches as twins of one scene."""

    def __init__(self, pool: Pool, config: Config) -> None:
        self.pool, self.config, self.rng = pool, config, np.random.default_rng(config.seed)
        self.by_class: dict[str, list[int]] = {}
        for at, name in enumerate(pool.name):
            self.by_class.setdefault(name, []).append(at)
        # Objects and organs are harder than textures: they come twice as often.
        weight = np.array([1.0 if CLASSES[n].group == "textures" else 2.0 for n in self.by_class])
        self.names, self.weight = list(self.by_class), weight / weight.sum()

    def draw(self, step: int):
        rng, pairs = self.rng, self.config.batch // 2
        few = rng.choice(self.names, 4 if step % 2 else 10, replace=False, p=self.weight)
        names = rng.choice(few, pairs)
        first = np.array([rng.choice(self.by_class[n]) for n in names])
        second = first if step % 4 < 2 else np.array([rng.choice(self.by_class[n]) for n in names])
        images = np.concatenate([self.pool.images[first, 0], self.pool.images[second, 1]])
        cover = np.concatenate([np.zeros_like(self.pool.coverage[first]), self.pool.coverage[second]])
        for at in range(len(images)):
            turns, flip = rng.integers(4), rng.random() < 0.5
            for stack in (images, cover):
                turned = np.rot90(stack[at], turns)
                stack[at] = turned[:, ::-1] if flip else turned
        rows = [(at, False) for at in first] + [(at, True) for at in second]
        return images, cover.astype(np.float32), rows

    def captions(self, rows):
        """Four lists of B captions: normal and anomalous for the global losses, the same for the dense one.

        Image i and image i + B/2 show one class, once normal, once anomalous, and share their captions: each is the
        other's hard negative, and half as many texts need encoding.
        """
        rng, pool, half = self.rng, self.pool, len(rows) // 2
        drawn: list[list[Caption]] = [[], [], [], []]
        for (first, _), (second, _) in zip(rows[:half], rows[half:], strict=True):
            c = CLASSES[pool.name[second]]
            colour = pool.colour[second] if pool.colour[first] == pool.colour[second] else ""
            facts = {"medical": c.group == "medical", "colour": colour, "defect": pool.defect[second]}
            for into, named in ((0, 0.4), (2, self.config.dense_named)):
                noun = draw_noun(rng, c.name, c.prompt_name)
                drawn[into].append(draw_caption(rng, noun, anomalous=False, **facts))
                drawn[into + 1].append(draw_caption(rng, noun, anomalous=True, named=named, **facts))
        return [captions * 2 for captions in drawn]


def normalised(images: np.ndarray, backbone: Backbone) -> torch.Tensor:
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (backbone.mean, backbone.std))
    return (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std


def loss_of(backbone: Backbone, sampler: Sampler, step: int) -> dict[str, torch.Tensor]:
    images, cover, rows = sampler.draw(step)
    groups = sampler.captions(rows)
    texts = sorted({c.text for group in groups for c in group})
    place = {text: at for at, text in enumerate(texts)}
    tower = backbone.text_tower
    ids = tower.tokenize(texts)
    encoded = F.normalize(backbone.encode_text(tower.embed_tokens(ids), tower.end_of_text(ids)), dim=-1)
    normal, abnormal, dense_normal, dense_abnormal = (encoded[[place[c.text] for c in group]] for group in groups)
    half = len(rows) // 2
    own = torch.cat([normal[:half], abnormal[half:]])
    opposite = torch.cat([abnormal[:half], normal[half:]])
    said = groups[0][:half] + groups[1][half:]

    rng, config = sampler.rng, sampler.config
    count = int(rng.integers(config.max_extra_tokens + 1))
    spread = 0.0 if rng.random() < 0.15 else float(10 ** rng.uniform(-2, 0))
    # Methods append untrained visual tokens, at the input or anew before every block: both must be harmless.
    layers = MODEL_CFG["vision_cfg"]["layers"] if rng.random() < 0.4 else 1
    drawn = rng.standard_normal((layers, count, MODEL_CFG["vision_cfg"]["width"])) * spread
    extra, *deep = torch.from_numpy(drawn).float()
    edit = chain(visual_tokens(extra), deep_visual_tokens(backbone, deep)) if count else None
    spec = EncoderSpec(backbone.forward_spec(IMAGE), frozenset(TAPS), frozenset({"cls", "cls_raw"}))
    features = backbone.encode_image(normalised(images, backbone), spec, edit)

    pool = sampler.pool
    facts = [(pool.name[at], anomalous, pool.colour[at], pool.defect[at]) for at, anomalous in rows]
    fits = torch.tensor([[c.fits(*fact) for c in said] for fact in facts])
    scale = backbone.model.logit_scale.exp().clamp(max=50)
    cover_BN = torch.from_numpy(cover).flatten(1)
    losses = {"contrastive": torch.zeros(()), "state": torch.zeros(()), "dense": torch.zeros(())}
    for feature in features.vectors.values():  # methods read the global feature with and without `ln_post`
        image = F.normalize(feature, dim=-1)
        losses["contrastive"] += contrastive(image, own, fits, scale) / 2
        losses["state"] += config.state_weight * state(image, own, opposite) / 2
    total = sum(TAPS.values())
    for tap, weight in TAPS.items():
        patch = F.normalize(features.patches(tap), dim=-1)
        losses["dense"] += config.dense_weight * weight / total * dense(patch, dense_normal, dense_abnormal, cover_BN)
    return losses


@torch.no_grad()
def validate(backbone: Backbone, pool: Pool, extra_tokens: int = 0) -> dict[str, float]:
    """Mean image and pixel AUROC over the classes of `pool` (held back: never trained on, never a target).

    Hand-written prompts on the noun `object`; pixel AUROC at patch resolution, coverage above a half positive.
    """
    prompts = ["a photo of a normal object", "a photo of an anomalous object"]
    direction = F.normalize(backbone.encode_prompts(prompts), dim=-1)
    direction = direction[1] - direction[0]
    taps = frozenset({LAST, LAST_VV})
    spec = EncoderSpec(backbone.forward_spec(IMAGE), taps, frozenset({"cls", "cls_raw"}))
    generator = torch.Generator().manual_seed(0)
    extra = 0.02 * torch.randn(extra_tokens, MODEL_CFG["vision_cfg"]["width"], generator=generator)
    found: dict[str, list[float]] = {}
    grid = np.arange(IMAGE // PATCH) - (IMAGE // PATCH - 1) / 2
    centre = -np.hypot(*np.meshgrid(grid, grid)).ravel()
    for name in sorted(set(pool.name)):
        at = [i for i, other in enumerate(pool.name) if other == name]
        half = len(at) // 2  # normal images of one half, anomalous of the other: no twins
        images = np.concatenate([pool.images[at[:half], 0], pool.images[at[half:], 1]])
        cover = np.concatenate([np.zeros_like(pool.coverage[at[:half]]), pool.coverage[at[half:]]])
        positive = cover.reshape(len(images), -1) > 0.5
        labels = np.arange(len(images)) >= half
        features = backbone.encode_image(normalised(images, backbone), spec, visual_tokens(extra))
        for key, feature in (("image", features.pooled("cls")), ("image_raw", features.pooled("cls_raw"))):
            found.setdefault(key, []).append(auroc((F.normalize(feature, dim=-1) @ direction).numpy(), labels))
        for key, tap in (("pixel", LAST), ("pixel_vv", LAST_VV)):
            maps = F.normalize(features.patches(tap), dim=-1) @ direction
            found.setdefault(key, []).append(auroc(maps.numpy().ravel(), positive.ravel()))
            if tap == LAST:
                found.setdefault("image_map_max", []).append(auroc(maps.amax(1).numpy(), labels))
        found.setdefault("pixel_centre", []).append(auroc(np.tile(centre, len(images)), positive.ravel()))
    return {key: float(np.mean(values)) for key, values in found.items()}


def used_token_ids(backbone: Backbone, pool: Pool, config: Config) -> list[int]:
    """Rows of the token table that any caption can touch, so that only they are stored."""
    probe = Sampler(pool, Config(**{**asdict(config), "seed": config.seed + 1}))
    seen: set[int] = set()
    for step in range(300):
        texts = [c.text for group in probe.captions(probe.draw(step)[2]) for c in group]
        seen.update(backbone.text_tower.tokenize(texts).unique().tolist())
    moved = backbone.model.token_embedding.weight.detach()
    changed = (moved != filler_table(*moved.shape)).any(1)
    return sorted(seen | {49406, 49407} | set(changed.nonzero().flatten().tolist()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, configuration and log")
    parser.add_argument("--pool", type=Path, required=True, help="folder of the image pool, made when missing")
    parser.add_argument("--start", type=Path, help="trunk.pt of a run to continue, optimiser and all")
    parser.add_argument("--threads", type=int, default=2)
    for name, value in asdict(Config()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    args = parser.parse_args()
    config = Config(**{name: getattr(args, name) for name in asdict(Config())})
    torch.set_num_threads(args.threads)
    pool = build(args.pool / f"pretraining-{config.per_class}", "pretraining", config.per_class, seed=0)
    held = build(args.pool / "heldback-100", "heldback", 100, seed=0)

    model = build_model(config.seed)
    backbone = from_model(model, "tiny-pretraining")
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    decayed = [p for p in model.parameters() if p.ndim >= 2 and p is not model.token_embedding.weight]
    kept = {id(p) for p in decayed}
    rest = [p for p in model.parameters() if id(p) not in kept and p is not model.token_embedding.weight]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    table = model.token_embedding.weight  # of its 49,408 rows a batch touches some fifty
    model.token_embedding.sparse = True
    optimizers = [
        torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98)),
        torch.optim.SparseAdam([table], lr=config.lr, betas=(0.9, 0.98)),
    ]
    if args.start:
        trunk = torch.load(args.start, weights_only=True)
        model.load_state_dict(trunk["model"])
        for optimizer, state_dict in zip(optimizers, trunk["optimizers"], strict=True):
            optimizer.load_state_dict(state_dict)
    sampler = Sampler(pool, config)

    args.out.mkdir(parents=True, exist_ok=True)
    started, recent = time.time(), []
    with (args.out / "log.jsonl").open("w") as log:
        log.write(
            json.dumps(
                {"config": asdict(config), "torch": torch.__version__, "start": args.start and args.start.parent.name}
            )
            + "\n"
        )
        for step in range(config.steps):
            ramp = 1.0 if args.start else min(1.0, (step + 1) / config.warmup)
            lr = config.lr * ramp * min(1.0, (config.steps - step) / max(config.decay, 1))
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                group["lr"] = lr
            losses = loss_of(backbone, sampler, step)
            model.zero_grad(set_to_none=True)
            sum(losses.values()).backward()
            torch.nn.utils.clip_grad_norm_(decayed + rest, 1.0)
            for optimizer in optimizers:
                optimizer.step()
            recent.append({key: value.item() for key, value in losses.items()})
            if (step + 1) % 100 == 0 or step + 1 == config.steps:
                line = {"step": step + 1, "seconds": round(time.time() - started), "lr": lr}
                line |= {key: round(float(np.mean([r[key] for r in recent])), 4) for key in recent[0]}
                if (step + 1) % 500 == 0 or step + 1 == config.steps:
                    line |= {f"heldback_{k}": round(v, 4) for k, v in validate(backbone, held).items()}
                    line |= {f"heldback4_{k}": round(v, 4) for k, v in validate(backbone, held, 4).items()}
                    about = {"model_cfg": MODEL_CFG, "preprocess_cfg": PREPROCESS, "provenance": asdict(config)}
                    save_tiny(model, args.out, used_token_ids(backbone, pool, config), about)
                    states = [optimizer.state_dict() for optimizer in optimizers]
                    torch.save({"model": model.state_dict(), "optimizers": states}, args.out / "trunk.pt")
                recent.clear()
                log.write(json.dumps(line) + "\n")
                log.flush()
                print(line, flush=True)


if __name__ == "__main__":
    main()
