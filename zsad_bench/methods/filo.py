"""FiLo: prompts with described defects at nine positions, and convolutions of several shapes over patch tokens.

Paper: Gu et al., ACM MM 2024, arXiv 2404.13671. Official code: CASIA-IVA-Lab/FiLo (Apache-2.0), commit 36ff29c.
Written from the paper and observed behaviour; parity with that code is tested in tests/golden on random weights.

Texts: 12 learned rows per state, to which a small network adds its output for the image, precede sentences that
name a detail of the class and a position in the image; details are in prompts/filo.yaml. Images: linear maps of
plain tokens of four blocks, and sums of six convolutions of V-V tokens of the last three. At test a detector (Grounding
DINO) decides which position is meant, and the map is attenuated outside its boxes.

Where ours differs: `boxes` is "none" by default, which the paper does not have: no position is chosen and nothing is
attenuated. Any batch size works. At test only the sentences of the chosen position are encoded, what sentences begin
with alike is run once, and the six convolutions run as one with the sum of their kernels; all of it is exact. The
detector reads the square image that the method gets, in the released code the image in its own proportions. Classes
without a released list of details take a generic one, which is reported. Paper and code differ in what `fidelity` sets.

Axes: B images, N patches, C vision width, D joint width, W text width, H W pixels, S abnormal states.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.text_tree import TextTree, joined, with_contexts
from zsad_bench.backbones.weights import unset
from zsad_bench.errors import CheckpointError, UsageError
from zsad_bench.losses import DiceOver, mask_losses
from zsad_bench.methods._boxes import ALL, Found, Placed, Reading, candidates, is_accepted, place
from zsad_bench.methods._config import check_bounds, default, quarter_blocks
from zsad_bench.methods._mosaic import mosaics
from zsad_bench.methods._official import Key, Method, OfficialForm, Part, Shape, renamed
from zsad_bench.methods._scoring import added, l2_normalize, scaled_sigma, upsample
from zsad_bench.methods.base import MethodConfig, Parameters, Stage, ZeroShotMethod, filled, silent
from zsad_bench.prompts.details import Details, checked, class_key, details_hash, read_details
from zsad_bench.prompts.load import read
from zsad_bench.prompts.names import ClassNames, class_name
from zsad_bench.types import Activation, Batch, Category, Features, Pooled, PosInterp, Prediction, SampleInfo, Tap

KERNELS = ((1, 1), (3, 3), (5, 5), (7, 7), (1, 5), (5, 1))  # height and width
LARGEST = KERNELS.index((7, 7))  # the others lie within it
DECODERS, ADAPTER = "decoders_and_prompts", "adapter"  # the stages
DETAILS = ("released_or_generic", "released", "generic")


@dataclass(frozen=True)
class FiLoConfig(MethodConfig):
    """Defaults of the released scripts.

    fidelity: `paper` reads each step as it is described; `official` as the released code computes it, which is what
    `layer_capture`, `shared_details`, `cells`, `best_box`, `phrases`, `no_box` and `region` are filled in from.
    layer_capture: `official` reads tokens that later blocks have written over, as released checkpoints were trained.
    details: `released`, lists of MVTec AD and VisA, an error for another class; `generic`, five general words for every
    class; `released_or_generic`, the latter for classes without a list; or the path of a YAML file with the mapping
    `details`. details_hash: filled from the lists, and when given it must match.
    shared_details: classes that one sentence name stands for take the details of the last of them in the lists.
    class_names: of the sentences; `raw` is the released code's, which calls pcb1 "pcb" and macaroni1 "macaroni".
    boxes: `none`, all nine positions and no attenuation; `grounding_dino`, the paper's. detector: its weights, a folder
    or the name of a model on the hub. box_threshold, largest_box: of the score, and of the share of the image's area.
    outside: factor of the map outside all boxes. cells, best_box, phrases, no_box, region: as methods/_boxes.py says.
    dice: `per_row` is what the released code computes, whose batches are single images.
    temperature: of maps. image_temperature: of the image's cross-entropy.
    Block numbers scale to the backbone: blocks 6, 12, 18, 24 of 24, first_vv_block behind the first of them.
    gaussian_sigma: None is 4 px at 518 px, scaled with the image; the kernel has `blur_kernel` pixels at any size.
    epochs, lr: of the decoders; prompt_lr: of contexts and their networks, in the same stage. adapter_epochs,
    adapter_lr: of the second stage.
    mosaic_prob: share of the training images that a mosaic of four of their category replaces; None is a fifth of
    MVTec AD's and none of any other dataset's. A mosaic's label is the largest of the four, in the released code the
    first one's.
    sentence_chunk: sentences encoded at once. checkpoint_blocks: recompute text blocks in the backward pass, less
    memory for more time.
    """

    pos_interp: PosInterp = "bicubic"
    activation: Activation = "gelu"
    fidelity: Literal["paper", "official"] = "paper"
    blocks: tuple[int, ...] = filled()
    first_vv_block: int = filled()
    layer_capture: Reading = filled()
    details: str = "released_or_generic"
    details_hash: str = filled()
    shared_details: bool = filled()
    class_names: ClassNames = "raw"
    n_ctx: int = 12
    temperature: float = 0.01
    image_temperature: float = 0.07
    blur_kernel: int = 3
    gaussian_sigma: float = filled()
    boxes: Literal["none", "grounding_dino"] = "none"
    detector: str = "IDEA-Research/grounding-dino-tiny"
    box_threshold: float = 0.25
    largest_box: float = 0.7
    outside: float = 0.7
    cells: Reading = filled()
    best_box: Reading = filled()
    phrases: Reading = filled()
    no_box: Reading = filled()
    region: Reading = filled()
    dice: DiceOver = "per_row"
    mosaic_prob: float | None = None
    epochs: int = 15
    adapter_epochs: int = 5
    batch_size: int = 1
    lr: float = 1e-4
    prompt_lr: float = 1e-3
    adapter_lr: float = 1e-5
    weight_decay: float = 0.01  # AdamW's default, which the released code takes over
    init_std: float = 0.02
    sentence_chunk: int = silent(256)
    checkpoint_blocks: bool = silent(False)
    seed: int = 111  # of the initial parameters; a run sets it to its own


# What decides where a detector's boxes lead to.
BOX_FIELDS = ("image_size", "boxes", "detector", "box_threshold", "largest_box", "cells", "best_box", "phrases",
              "no_box", "region", "details", "details_hash", "class_names")  # fmt: skip


class Shift(nn.Module):
    """From unit image features (B,D) to what is added to all context rows of a state, (B,W)."""

    def __init__(self, joint: int, width: int) -> None:
        super().__init__()
        hidden = max(1, joint // 16)
        self.fc1, self.fc2 = unset(nn.Linear, joint, hidden), unset(nn.Linear, hidden, width)

    def forward(self, image_BD: Tensor) -> Tensor:
        shift: Tensor = self.fc2(F.relu(self.fc1(image_BD)))
        return shift


class Adapter(nn.Module):
    """x + SiLU(fc2(ReLU(fc1(x)))) of raw image features, (B,D) to (B,D), without biases."""

    def __init__(self, joint: int) -> None:
        super().__init__()
        hidden = max(1, joint // 2)
        self.fc1 = unset(nn.Linear, joint, hidden, bias=False)
        self.fc2 = unset(nn.Linear, hidden, joint, bias=False)

    def forward(self, image_BD: Tensor) -> Tensor:
        adapted: Tensor = image_BD + F.silu(self.fc2(F.relu(self.fc1(image_BD))))
        return adapted


class Shapes(nn.Module):
    """The sum of convolutions with the kernels `KERNELS`, zeros around the grid; (B,C,h,w) to (B,D,h,w).

    They run as one convolution with the sum of their kernels: half the products, and the same parameters.
    """

    def __init__(self, width: int, joint: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(unset(nn.Conv2d, width, joint, kernel) for kernel in KERNELS)

    def forward(self, grid_BChw: Tensor) -> Tensor:
        parts = [(part.weight, part.bias) for part in self.convolutions if isinstance(part, nn.Conv2d)]
        weight: Tensor = _SummedKernels.apply(*(weight for weight, _ in parts))
        biases = [bias for _, bias in parts if bias is not None]
        height, width = KERNELS[LARGEST]
        return F.conv2d(grid_BChw, weight, added(biases), padding=(height // 2, width // 2))


class _SummedKernels(torch.autograd.Function):
    """Kernels of the shapes `KERNELS` added into the largest, all with one centre.

    Written by hand because PyTorch's own gradient of an addition to a part copies the whole for each part.
    """

    @staticmethod
    def forward(ctx: Any, *kernels: Tensor) -> Tensor:
        total = kernels[LARGEST].clone()
        for number, kernel in enumerate(kernels):
            if number != LARGEST:
                _centre(total, *KERNELS[number]).add_(kernel)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(_centre(gradients[0], *kernel).contiguous() for kernel in KERNELS)


def _centre(kernel: Tensor, height: int, width: int) -> Tensor:
    """The middle of the kernels (D,C,h,w), a view."""
    top, left = (kernel.shape[2] - height) // 2, (kernel.shape[3] - width) // 2
    return kernel[:, :, top : top + height, left : left + width]


class FiLoForm(OfficialForm):
    """`{"filo": state dict}`, the frozen CLIP included, whose tensors are not read."""

    parts = (Part(("decoder_linear.fc.0.weight", "decoder_cov.fc_11.0.weight"), wrapper="filo"),)
    settings: ClassVar[Mapping[str, Any]] = {"fidelity": "official"}  # trained on tokens that were written over
    infers = ("n_ctx",)
    ignored = r"(clip_model|text_encoder)\..*"
    writes = True

    def keys(self, state: Mapping[str, Tensor], backbone: Backbone) -> Sequence[Key]:
        return _keys(4)

    def write(self, method: Method) -> dict[str, Tensor]:
        if (levels := len(method.config.blocks)) != 4:
            raise CheckpointError(f"blocks: found {levels} levels, expected 4; the official code has no other number")
        return renamed(_keys(levels), method.own_state())

    def lacks(self, method: Method) -> str:
        return "the frozen CLIP is left out: the official code loads this file with strict=False"


def _keys(levels: int) -> list[Key]:
    keys = [Key("adapter.fc.0.weight", "adapter.fc1.weight", ("half", "J")),
            Key("adapter.fc.2.weight", "adapter.fc2.weight", ("J", "half"))]  # fmt: skip
    for side in ("normal", "abnormal"):
        official, ours = f"{side}_prompt_learner", f"shift_{side}"
        keys.append(Key(f"{official}.ctx", f"ctx_{side}", ("n_ctx", "W")))
        layers: tuple[tuple[int, Shape, Shape], ...] = ((1, ("hidden", "J"), ("hidden",)), (2, ("W", "hidden"), ("W",)))
        for number, weight, bias in layers:
            for kind, shape in (("weight", weight), ("bias", bias)):
                keys.append(Key(f"{official}.meta_net.linear{number}.{kind}", f"{ours}.fc{number}.{kind}", shape))
    for level in range(levels):
        keys += [Key(f"decoder_linear.fc.{level}.weight", f"linear.{level}.weight", ("J", "V")),
                 Key(f"decoder_linear.fc.{level}.bias", f"linear.{level}.bias", ("J",))]  # fmt: skip
    for level in range(levels - 1):
        for number, (h, w) in enumerate(KERNELS):
            official, ours = f"decoder_cov.fc_{h}{w}.{level}", f"shapes.{level}.convolutions.{number}"
            keys += [Key(f"{official}.weight", f"{ours}.weight", ("J", "V", h, w)),
                     Key(f"{official}.bias", f"{ours}.bias", ("J",))]  # fmt: skip
    return keys


class FiLo(ZeroShotMethod[FiLoConfig]):
    """What learns: `ctx_*` (n_ctx,W), `shift_*`, `linear` (for plain levels), `shapes` (for V-V levels), `adapter`."""

    title = "FiLo"
    paper = "arXiv 2404.13671 (ACM MM 2024)"
    needs = frozenset({"text", "vv", "cls"})
    Config = FiLoConfig
    official = FiLoForm()
    texts_follow_images = True

    def __init__(self, backbone: Backbone, config: FiLoConfig | None = None) -> None:
        super().__init__(backbone, config)
        c, text = self.config, backbone.text_tower.width
        width, joint = backbone.vision.width, backbone.vision.joint_width
        generator = torch.Generator().manual_seed(c.seed)

        def context() -> nn.Parameter:
            return nn.Parameter(c.init_std * torch.randn(c.n_ctx, text, generator=generator))

        self.ctx_normal, self.ctx_abnormal = context(), context()
        self.shift_normal, self.shift_abnormal = Shift(joint, text), Shift(joint, text)
        self.linear = nn.ModuleList(unset(nn.Linear, width, joint) for _ in c.blocks)
        self.shapes = nn.ModuleList(Shapes(width, joint) for _ in c.blocks[1:])
        self.adapter = Adapter(joint)
        for name, module in self.named_modules():  # PyTorch's own start, from our generator
            if self.is_own(name) and isinstance(module, nn.Linear | nn.Conv2d):
                bound = module.weight[0].numel() ** -0.5
                for parameter in module.parameters():
                    nn.init.uniform_(parameter, -bound, bound, generator=generator)
        self._details, self._generic = read_lists(c.details)
        self._ids: dict[Category, tuple[Tensor, Tensor]] = {}
        if c.boxes == "grounding_dino":
            from zsad_bench.methods._grounding_dino import load_detector

            self.add_frozen("detector", load_detector(c.detector, self.title))

    @classmethod
    def resolve(cls, config: FiLoConfig, backbone: Backbone) -> FiLoConfig:
        config = super().resolve(config, backbone)
        reading: Reading = "official" if config.fidelity == "official" else "clean"
        blocks = tuple(default(config.blocks, quarter_blocks(backbone)))
        lists, generic = read_lists(config.details)
        resolved = replace(
            config,
            blocks=blocks,
            first_vv_block=default(config.first_vv_block, blocks[0] + 1 if blocks else 1),
            layer_capture=default(config.layer_capture, reading),
            details_hash=default(config.details_hash, details_hash(lists, generic)),
            shared_details=default(config.shared_details, reading == "official"),
            gaussian_sigma=default(config.gaussian_sigma, scaled_sigma(4.0, config.image_size)),
            cells=default(config.cells, reading),
            best_box=default(config.best_box, reading),
            phrases=default(config.phrases, reading),
            no_box=default(config.no_box, reading),
            region=default(config.region, reading),
        )
        check_bounds(
            cls.title,
            resolved,
            above_zero=("temperature", "image_temperature", "lr", "prompt_lr", "adapter_lr", "largest_box"),
            n_ctx=1,
            blur_kernel=1,
            gaussian_sigma=0,
            box_threshold=0,
            outside=0,
            weight_decay=0,
            init_std=0,
            sentence_chunk=1,
        )
        _check_blocks(cls.title, resolved, backbone)
        mosaics(cls.title, resolved.mosaic_prob)
        if resolved.details_hash != details_hash(lists, generic):
            raise UsageError(
                f"{cls.title}: details {config.details} changed since this configuration was stored: hash "
                f"{details_hash(lists, generic)}, expected {resolved.details_hash}; restore the lists, or train anew"
            )
        if config.boxes == "grounding_dino":
            from zsad_bench.methods._grounding_dino import check_detector

            check_detector(config.detector, cls.title)
        return resolved

    def stages(self) -> list[Stage]:
        c = self.config

        def adamw(lr: float) -> Any:
            def made(parameters: Parameters) -> torch.optim.Optimizer:
                return torch.optim.AdamW(parameters, lr=lr, betas=(0.5, 0.999), weight_decay=c.weight_decay, fused=True)

            return made

        prompts = ("ctx_normal", "ctx_abnormal", "shift_normal", "shift_abnormal")
        slow = {"linear": {"lr": c.lr}, "shapes": {"lr": c.lr}}
        mosaic = mosaics(self.title, c.mosaic_prob)
        return [
            Stage(DECODERS, c.epochs, c.batch_size, (*prompts, *slow), adamw(c.prompt_lr), groups=slow, mosaic=mosaic),
            Stage(
                ADAPTER, c.adapter_epochs, c.batch_size, ("adapter",), adamw(c.adapter_lr), learns_from="labels",
                mosaic=mosaic,
            ),
        ]  # fmt: skip

    # -- texts ---------------------------------------------------------------------------------------------------
    def details_of(self, category: Category) -> tuple[str, ...]:
        """What may be wrong with the things of a category, by its list or the generic one.

        Raises:
            UsageError: a category without a list, where the configuration allows no generic one.
        """
        key = class_key(category.name)
        own = self._details.get(key, self._generic)
        if not own:
            source = f"the file {self.config.details}" if self.config.details not in DETAILS else "the released lists"
            raise UsageError(
                f"{self.title}: {source} have no details of class '{category.name}' of {category.dataset}; take --set "
                "details=generic, or details=FILE.yaml with a list of it"
            )
        if not self.config.shared_details or key not in self._details:
            return own
        name = sentence_name(key)
        return [texts for other, texts in self._details.items() if sentence_name(other) == name][-1]

    def remark(self, category: Category) -> str:
        own = self.details_of(category)  # refuses a category without details
        words = (("without boxes", self.config.boxes == "none"), ("generic details", own == self._generic))
        return ", ".join(text for text, holds in words if holds)

    def sentences(self, category: Category) -> tuple[list[str], list[str]]:
        """Normal sentences, and abnormal ones of each state at each of the nine positions, position innermost."""
        words, filler = read("filo"), " ".join(["X"] * self.config.n_ctx)
        name = class_name(category, self.config.class_names)
        if self.config.class_names == "raw":
            name = sentence_name(name)
        states = [words["with_detail"].replace("{detail}", detail) for detail in self.details_of(category)]
        abnormal = [
            f"{state.replace('{}', name)} at {position}."
            for state in (*states, *words["abnormal"])
            for position in words["positions"]
        ]
        normal = [f"{state.replace('{}', name)}." for state in words["normal"]]
        return [f"{filler} {text}" for text in normal], [f"{filler} {text}" for text in abnormal]

    def token_ids(self, category: Category) -> tuple[Tensor, Tensor]:
        """(7,L) ids of the normal and (S,9,L) of the abnormal sentences; tokenised once per category."""
        if category not in self._ids:
            normal, abnormal = map(self.backbone.text_tower.tokenize, self.sentences(category))
            self._ids[category] = normal, abnormal.unflatten(0, (-1, len(read("filo")["positions"])))
        return self._ids[category]

    def trees(self, category: Category, position: int) -> tuple[list[TextTree], list[TextTree]]:
        """The normal and the abnormal sentences as trees of at most `sentence_chunk`; grown once per category.

        position: `ALL`, or the cell that abnormal sentences name.
        """
        normal, abnormal = self.token_ids(category)
        at = abnormal.flatten(0, 1) if position == ALL else abnormal[:, position]

        def grown(side: str, ids: Tensor) -> list[TextTree]:
            return [
                self.kept_tree((category, side, position, number), partial(self.backbone.text_tree, part))
                for number, part in enumerate(ids.split(self.config.sentence_chunk))
            ]

        return grown("normal", normal), grown("abnormal", at)

    def clear_text_cache(self) -> None:
        super().clear_text_cache()
        self._ids = {}  # another device may have taken over

    def sentence_features(
        self, categories: Sequence[Category], image_BD: Tensor | None, positions: Sequence[int]
    ) -> list[tuple[Tensor, Tensor]]:
        """Normalised features of the normal (7,D) and the abnormal sentences (n,D), per image.

        image: unit features that shift the contexts; None shifts nothing. positions: of each image, `ALL` or a cell.
        What the sentences of an image begin with alike is run once, `sentence_chunk` sentences at a time.
        """
        contexts = torch.stack([self.ctx_normal, self.ctx_abnormal])[None].expand(len(categories), -1, -1, -1)
        if image_BD is not None:
            shifts = torch.stack([self.shift_normal(image_BD), self.shift_abnormal(image_BD)], 1)
            contexts = contexts + shifts[:, :, None]
        sides = [
            side
            for category, position in zip(categories, positions, strict=True)
            for side in self.trees(category, position)
        ]
        pieces = [(tree, number) for number, side in enumerate(sides) for tree in side]
        encoded = [self._encode(chunk, contexts.flatten(0, 1)) for chunk in _chunks(pieces, self.config.sentence_chunk)]
        features = l2_normalize(torch.cat(encoded)).split([sum(map(len, side)) for side in sides])
        return list(zip(features[::2], features[1::2], strict=True))

    def _encode(self, chunk: Sequence[tuple[TextTree, int]], contexts: Tensor) -> Tensor:
        """(n,D) raw features of the sentences of trees, each with the number of its context (n_ctx,W)."""
        tree = joined([tree for tree, _ in chunk])
        owner = torch.tensor([number for tree, number in chunk for _ in range(len(tree))], device=contexts.device)
        return self.backbone.encode_tree(
            with_contexts(self.backbone.text_tower.embed_tokens(tree.ids), tree, contexts, owner),
            tree,
            activation=self.config.activation,
            checkpoint_blocks=self.config.checkpoint_blocks,
        )

    def pairs(
        self, categories: Sequence[Category], image_BD: Tensor | None, positions: Sequence[int] | None = None
    ) -> Tensor:
        """(n,2,D): normal and abnormal text, the mean of their sentences, each of length 1/sqrt(2).

        The released code divides a pair by the norm of the whole, so that its factor of 100 on cosines is one of 70.7.
        """
        everywhere = [ALL] * len(categories)
        found = self.sentence_features(categories, image_BD, everywhere if positions is None else positions)
        means = torch.stack([torch.stack([part.mean(0) for part in both]) for both in found])
        pairs = l2_normalize(means)
        scaled: Tensor = pairs / pairs.norm(dim=(1, 2), keepdim=True)
        return scaled

    def text_pair(self, categories: Sequence[Category]) -> Tensor:
        """The pair that no image has shifted, at all positions, of unit length as every method's."""
        return l2_normalize(self.pairs(categories, None))

    # -- images --------------------------------------------------------------------------------------------------
    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        return frozenset(self._taps()), frozenset({"cls"})

    def _taps(self) -> list[Tap]:
        """What each level reads: the plain levels, then the V-V levels."""
        c, last = self.config, self.backbone.vision.n_blocks
        sums = [Tap(block, c.first_vv_block, raw=True) for block in c.blocks[1:]]
        plain = [Tap(block, raw=True) for block in c.blocks]
        if c.layer_capture == "clean":
            return plain + sums
        # The released code adds in place to tensors that it has put aside: V-V sums become the last one, and so does
        # the tensor that they start from; plain tokens gain the attention of the next block.
        summed = Tap(last, c.first_vv_block, raw=True)
        overwritten = [
            summed if block + 1 == c.first_vv_block
            else tap if block == last or block < c.first_vv_block
            else Tap(block + 1, raw=True, attended=True)
            for block, tap in zip(c.blocks, plain, strict=True)
        ]  # fmt: skip
        return overwritten + [summed] * len(sums)

    def patch_features(self, features: Features) -> list[Tensor]:
        """(B,N,D) unit features of each level: plain ones through linear maps, then V-V ones through convolutions."""
        taps, found = self._taps(), []
        for tap, linear in zip(taps, self.linear, strict=False):
            found.append(linear(features.patches(tap)))
        for tap, shapes in zip(taps[len(self.linear) :], self.shapes, strict=True):
            grid = features.patches(tap).transpose(1, 2).unflatten(2, features.grid)
            found.append(shapes(grid).flatten(2).transpose(1, 2))
        return [l2_normalize(each) for each in found]

    def level_maps(self, features: Features, pair_B2D: Tensor) -> list[Tensor]:
        """(B,2,H,W) probabilities of each level, up-sampled before the softmax."""
        maps = []
        for patches in self.patch_features(features):
            logits = torch.einsum("bnd,bsd->bns", patches, pair_B2D) / self.config.temperature
            maps.append(upsample(logits, features, align_corners=True).softmax(1))
        return maps

    def image_features(self, features: Features, adapted: bool) -> Tensor:
        """(B,D) unit image features; those of stage one have not been through the adapter."""
        image = features.pooled("cls")
        return l2_normalize(self.adapter(image) if adapted else image)

    def image_logits(self, image_BD: Tensor, pair_B2D: Tensor) -> Tensor:
        """(B,2) inner products with the pair, at most 0.71; no softmax and no temperature."""
        return torch.einsum("bd,bsd->bs", image_BD, pair_B2D)

    # -- boxes ---------------------------------------------------------------------------------------------------
    def extra_features(self, images: Tensor, samples: Sequence[SampleInfo]) -> dict[str, Tensor]:
        """Where the detector finds something, at test: `position` (B,) int64 and `inside` (B,H,W) bool."""
        if self.config.boxes == "none" or self.training:
            return {}
        placed = [self.placed(found, sample.category) for found, sample in
                  zip(self._detect(images, samples), samples, strict=True)]  # fmt: skip
        positions = torch.tensor([each.position for each in placed], device=images.device)
        return {"position": positions, "inside": torch.stack([each.inside for each in placed])}

    def extra_key(self) -> Hashable | None:
        return tuple(getattr(self.config, name) for name in BOX_FIELDS)

    def _detect(self, images: Tensor, samples: Sequence[SampleInfo]) -> list[Found]:
        mean, std = (torch.tensor(each, device=images.device)[:, None, None] for each in
                     (self.backbone.mean, self.backbone.std))  # fmt: skip
        queries = [self.query(sample.category) for sample in samples]
        detector = self.get_submodule("detector")
        found: list[Found] = detector(images * std + mean, queries, self.config.box_threshold)
        return found

    def query(self, category: Category) -> list[str]:
        """What the detector is asked for: the generic words, then the details of the class."""
        own = self._details.get(class_key(category.name), ())
        return [*read("filo")["generic"], *own]

    def placed(self, found: Found, category: Category) -> Placed:
        """The position and region that a detector's answer means."""
        c = self.config
        kept = candidates(found.boxes, found.scores, c.box_threshold, c.largest_box, c.no_box)
        wanted = self.query(category)
        accepted = [is_accepted(found.phrases[number], wanted, c.phrases) for number in kept.tolist()]
        return place(
            found.boxes[kept], found.scores[kept], accepted, c.image_size, c.cells, c.best_box, c.no_box, c.region
        )

    # -- test and training ---------------------------------------------------------------------------------------
    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Score: half the abnormal inner product plus half the map's maximum. Map: mean of the levels, blurred.

        Where there are boxes, the map is attenuated outside of them, after the maximum was taken.
        """
        c = self.config
        image = self.image_features(features, adapted=True)
        positions = features.extra["position"].tolist() if "position" in features.extra else None
        pair = self.pairs([sample.category for sample in samples], image, positions)
        maps = [(probs[:, 1] - probs[:, 0] + 1) / 2 for probs in self.level_maps(features, pair)]
        anomaly_map = blurred(added(maps) / len(maps), c.blur_kernel, c.gaussian_sigma)
        score = (self.image_logits(image, pair)[:, 1] + anomaly_map.amax((1, 2))) / 2
        if "inside" in features.extra:
            anomaly_map = torch.where(features.extra["inside"], anomaly_map, c.outside * anomaly_map)
        return Prediction(score, anomaly_map)

    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """First stage: focal and two Dice terms, summed over the levels. Second: cross-entropy of the image."""
        categories, stage = [sample.category for sample in batch.samples], self.stage.name
        image = self.image_features(features, adapted=stage == ADAPTER)
        if stage == ADAPTER:
            with torch.no_grad():
                pair = self.pairs(categories, image)
            return {
                "image": F.cross_entropy(self.image_logits(image, pair) / self.config.image_temperature, batch.labels)
            }
        pair = self.pairs(categories, image)
        terms = [mask_losses(p, batch.pixel_masks, self.config.dice) for p in self.level_maps(features, pair)]
        names = ("focal", "dice_anomalous", "dice_normal")
        return {name: added(of_levels) for name, of_levels in zip(names, zip(*terms, strict=True), strict=True)}


def _chunks(pieces: Sequence[tuple[TextTree, int]], largest: int) -> Iterator[list[tuple[TextTree, int]]]:
    """The trees in their order, as many at once as have `largest` sentences together, at least one."""
    chunk: list[tuple[TextTree, int]] = []
    for piece in pieces:
        if chunk and sum(len(tree) for tree, _ in [*chunk, piece]) > largest:
            yield chunk
            chunk = []
        chunk.append(piece)
    yield chunk


def read_lists(details: str) -> tuple[Details, tuple[str, ...]]:
    """The lists of a configuration, and the generic list for classes without one, () where that is an error.

    Raises:
        UsageError: neither a known name nor a YAML file that fits.
    """
    words = read("filo")
    if details.endswith((".yaml", ".yml")):
        return read_details(details), ()
    if details not in DETAILS:
        raise UsageError(f"FiLo: details={details}; expected one of {', '.join(DETAILS)}, or the path of a .yaml file")
    lists = {} if details == "generic" else checked(words["details"], "prompts/filo.yaml")
    return lists, () if details == "released" else tuple(words["generic"])


def sentence_name(name: str) -> str:
    """How the released code calls a class in a sentence: as it is named, but for numbered ones (pcb1 is "pcb")."""
    called: str = read("filo")["sentence_names"].get(name, name)
    return called


def blurred(map_BHW: Tensor, kernel: int, sigma: float) -> Tensor:
    """Maps under a separable Gaussian that is cut to `kernel` pixels and normalised; the border is reflected.

    sigma in pixels; 0 returns the input.
    """
    if sigma == 0 or kernel == 1:
        return map_BHW
    radius = kernel // 2
    offsets = torch.arange(-radius, radius + 1, device=map_BHW.device, dtype=map_BHW.dtype)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    weights = weights / weights.sum()
    padded = F.pad(map_BHW[:, None], (radius,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1))[:, 0]


def _check_blocks(title: str, config: FiLoConfig, backbone: Backbone) -> None:
    blocks, last = config.blocks, backbone.vision.n_blocks
    if not blocks or list(blocks) != sorted(set(blocks)) or blocks[0] < 1 or blocks[-1] > last:
        raise UsageError(
            f"{title}: blocks={list(blocks)}; expected different numbers of 1..{last} in ascending order, as "
            f"{backbone.name} has {last} blocks"
        )
    if not 1 <= config.first_vv_block <= (blocks[1] if len(blocks) > 1 else last):
        raise UsageError(
            f"{title}: first_vv_block={config.first_vv_block}, and the first V-V level is read at block "
            f"{blocks[1] if len(blocks) > 1 else last}; take one of 1..{blocks[1] if len(blocks) > 1 else last}"
        )
    if config.blur_kernel % 2 == 0 or config.blur_kernel // 2 >= config.image_size:
        raise UsageError(f"{title}: blur_kernel={config.blur_kernel}; expected an odd number below twice the image")
