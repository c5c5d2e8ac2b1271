"""AnoVL: V-V attention and sentences of the domain, and an adapter that is tuned to each test image; no training.

Paper: Deng et al., arXiv 2308.15939 (its later version calls the method AnoCLIP). Official code: hq-deng/AnoVL (MIT).
None of that code was opened: ours follows the paper and the code's observed behaviour, with which tests/golden compares
it on random weights.

The image score averages 22 views of the image on the plain path. The map compares patches of the V-V path, which runs
through all blocks, with the texts. Before that, a residual adapter is drawn anew for each image and takes a few steps
on the image itself: lower entropy, and patches with noise are to be anomalous, those without it normal.

Where ours differs: the unchanged view comes from the pass that other methods share; quarter turns are exact; what is
drawn for an image depends on the seed and its id alone. `fidelity` sets what paper and code do differently. Above all,
the official optimiser keeps its moments from one image of a class to the next, so that a map depends on the images
before it: under `official` the method is transductive. Wide images in two tiles (the official script for VisA) are
`predict_wide`; runs resize every image to a square.

Axes: B images, V views, N patches row-major, D joint width, S sentences of both states, H W pixels; state 0 normal, 1
anomalous.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from zsad_bench.backbones.base import Backbone
from zsad_bench.errors import UsageError
from zsad_bench.methods._config import check_bounds, default
from zsad_bench.methods._scoring import l2_normalize
from zsad_bench.methods.base import MethodConfig, ZeroShotMethod, filled, silent
from zsad_bench.prompts.load import read
from zsad_bench.prompts.names import class_name
from zsad_bench.types import Category, EncoderSpec, Features, Pooled, Prediction, SampleInfo, Tap

Views = Literal["rotations", "translations", "flip", "grey", "quarter_turns"]
N_VIEWS: dict[Views, int] = {"rotations": 8, "translations": 8, "flip": 1, "grey": 1, "quarter_turns": 3}
ALL_VIEWS = tuple(N_VIEWS)
ANGLES = (-1 / 4, -3 / 16, -1 / 8, -1 / 16, 1 / 16, 1 / 8, 3 / 16, 1 / 4)  # of pi
# Along x and y, in halves of the image's side.
SHIFTS = tuple((x * step, y * step) for step in (0.2, 0.1) for x, y in ((1, 1), (-1, 1), (-1, -1), (1, -1)))
LUMA = (0.299, 0.587, 0.114)  # of red, green, blue
VIEWS_ON_CPU = 32  # at once: bounds memory; larger chunks are slower there


@dataclass(frozen=True)
class AnoVlConfig(MethodConfig):
    """Defaults of the official code, but for what `fidelity` sets.

    image_size: None is the backbone's native size (240 for ViT-B-16-plus-240).
    fidelity: `paper` adapts to each image by itself, takes a category's own kind and writes its name with blanks;
    `official` carries the moments, lists the textures and takes the folder's name.
    class_names: as of `prompts.names.class_name`; `folder` is the category's name as it stands. `raw` and `folder`
    call macaroni1 and macaroni2 macaroni, as the code does.
    textures: which categories get the nouns of textures: those of that `kind`, or five that the code has `named`.
    first_vv_block: the V-V path starts at this block; 0 reads maps from the plain path.
    views: what the image score averages beside the image itself; none is the image alone.
    adapter: `text` goes through the sentences; `linear` is one map of the joint space (the official code's for VisA).
    tta_steps: 0 does not adapt; then nothing is drawn, and the seed changes nothing.
    mix: share of the adapter in a patch. noise_std: of the noise on each number of a patch, before normalisation.
    noise_weight: of the term that calls noisy patches anomalous and the others normal.
    moments: of the optimiser; `reset` before each image, or `carry` through all images of a category.
    view_batch: views encoded at once; None is 32 on the CPU and all of a batch elsewhere. Changes no result.
    """

    fidelity: Literal["paper", "official"] = "paper"
    class_names: Literal["raw", "folder", "prompt_name", "object"] = filled()
    textures: Literal["kind", "named"] = filled()
    first_vv_block: int = 1
    views: tuple[Views, ...] = ALL_VIEWS
    temperature: float = 1.0
    adapter: Literal["text", "linear"] = "text"
    tta_steps: int = 5
    mix: float = 0.5
    noise_std: float = 0.055
    noise_weight: float = 0.5
    lr: float = 1e-3
    weight_decay: float = 0.01
    moments: Literal["reset", "carry"] = filled()
    seed: int = 0
    view_batch: int | None = silent(None)


class Draws(NamedTuple):
    """What is drawn for an image. weight: (S,D), of the linear adapter (D,D). bias: (S,) or (D,).

    noise: (steps,…,D), added to the patches (…,D) in each step.
    """

    weight: Tensor
    bias: Tensor
    noise: Tensor


class AnoVl(ZeroShotMethod[AnoVlConfig]):
    title = "AnoVL"
    paper = "arXiv 2308.15939"
    Config = AnoVlConfig
    needs = frozenset({"text", "vv", "cls"})
    adapts_at_test = True
    stochastic_at_test = True

    def __init__(self, backbone: Backbone, config: AnoVlConfig | None = None) -> None:
        super().__init__(backbone, config)
        self._sentences: dict[Category, Tensor] = {}
        adapts = self.config.tta_steps > 0
        self.transductive = adapts and self.config.moments == "carry"
        self.adapts_at_test = adapts and not self.transductive

    @classmethod
    def draws_at_test(cls, config: AnoVlConfig) -> bool:
        return config.tta_steps > 0

    @classmethod
    def resolve(cls, config: AnoVlConfig, backbone: Backbone) -> AnoVlConfig:
        official = config.fidelity == "official"
        resolved = replace(
            config,
            image_size=default(config.image_size, backbone.image_size),
            class_names=default(config.class_names, "folder" if official else "raw"),
            textures=default(config.textures, "named" if official else "kind"),
            views=tuple(view for view in ALL_VIEWS if view in config.views),
            moments=default(config.moments, "carry" if official else "reset"),
        )
        least = {"tta_steps": 0, "noise_std": 0, "weight_decay": 0, "first_vv_block": 0, "mix": 0}
        check_bounds(cls.title, resolved, above_zero=("temperature", "lr"), **least)
        if resolved.mix > 1:
            raise UsageError(f"{cls.title}: mix={resolved.mix}; expected 0 to 1")
        if resolved.view_batch is not None:
            check_bounds(cls.title, resolved, view_batch=1)
        backbone.forward_spec(resolved.image_size, resolved.pos_interp)  # refuses a size that is not whole patches
        return resolved

    # -- text ----------------------------------------------------------------------------------------------------
    def sentences(self, category: Category) -> tuple[list[str], list[str]]:
        """The normal and the anomalous sentences of a category: every state in every template, for every noun."""
        c, data = self.config, read("anovl")
        by_name = category.name in data["texture_classes"]
        texture = by_name if c.textures == "named" else category.kind == "texture"
        name = category.name if c.class_names == "folder" else class_name(category, c.class_names)
        if c.class_names in ("raw", "folder"):
            name = data["names"].get(category.name, name)
        templates = [_with_noun(template, noun) for noun in data["nouns"]["texture" if texture else "other"]
                     for template in data["templates"]]  # fmt: skip

        def of(states: list[str]) -> list[str]:
            return [template.replace("{}", state.replace("{}", name)) for template in templates for state in states]

        return of(data["states"]["normal"]), of(data["states"]["anomalous"])

    def sentence_features(self, category: Category) -> Tensor:
        """(2,S/2,D): the features of the normal and of the anomalous sentences, not normalised; encoded once."""
        if category not in self._sentences:
            encode, activation = self.backbone.encode_prompts, self.config.activation
            both = [encode(sentences, activation=activation) for sentences in self.sentences(category)]
            self._sentences[category] = torch.stack(both)
        return self._sentences[category]

    def text_pair(self, categories: Sequence[Category]) -> Tensor:
        """Sentences averaged per state as they are, and then normalised."""
        return l2_normalize(torch.stack([self.sentence_features(c).mean(1) for c in categories]))

    def clear_text_cache(self) -> None:
        super().clear_text_cache()
        self._sentences.clear()

    # -- images --------------------------------------------------------------------------------------------------
    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        return frozenset({self._tap()}), frozenset({"cls"})

    def _tap(self) -> Tap:
        return Tap(self.backbone.vision.n_blocks, self.config.first_vv_block)

    def extra_features(self, images: Tensor, samples: Sequence[SampleInfo]) -> dict[str, Tensor]:
        """`views`: (B,V,D), the class token of each view but the image itself. One plain pass for each of them."""
        c = self.config
        if not c.views:
            return {}
        spec = EncoderSpec(self.encoder_spec.forward, pooled=frozenset({"cls"}))
        at_once = c.view_batch or (VIEWS_ON_CPU if images.device.type == "cpu" else 1 << 30)
        n_views = sum(N_VIEWS[kind] for kind in c.views)
        if torch.compiler.is_compiling():  # all at once: a graph that is exported has no loop over a batch of any size
            whole = self.backbone.encode_image(views_of(images, c.views).flatten(0, 1), spec)
            return {"views": whole.pooled("cls").unflatten(0, (-1, n_views))}
        parts = []
        for some in images.split(max(1, at_once // n_views)):
            views = views_of(some, c.views).flatten(0, 1)
            parts += [self.backbone.encode_image(part, spec).pooled("cls") for part in views.split(at_once)]
        return {"views": torch.cat(parts).unflatten(0, (len(images), n_views))}

    def extra_key(self) -> Hashable | None:
        return self.encoder_spec.forward, self.config.views

    # -- where they meet -----------------------------------------------------------------------------------------
    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Score: mean anomalous probability of the views. Map: that of the adapted patches, 3 x 3 mean, up-sampled."""
        text, patches = self.text_for(samples), features.patches(self._tap())
        if self.config.tta_steps:
            patches = self._adapted(patches, text, samples)
        maps = self.patch_probabilities(patches, text).unflatten(1, features.grid)
        return Prediction(self.view_scores(features, text).mean(1), blurred(maps, features.image_size))

    def score_set(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """As `score`, of the images of a category in their order, with one optimiser for all of them."""
        with self.adaptation():
            return self.score(features, samples)

    def view_scores(self, features: Features, text_B2D: Tensor) -> Tensor:
        """(B,1+V): anomalous probability of the image itself and of each other view."""
        views = features.pooled("cls")[:, None]
        if self.config.views:
            views = torch.cat([views, features.extra["views"]], 1)
        return self.patch_probabilities(views, text_B2D)

    def logits(self, rows_XND: Tensor, text_X2D: Tensor) -> Tensor:
        """(…,N,2): cosines with both texts over the temperature, less the mean of the two, which a softmax ignores.

        Both texts nearly agree. Without the subtraction the rounding of their common part is most of the error of
        small gradients, and Adam makes large steps of small gradients.
        """
        apart_X2D = text_X2D - text_X2D.mean(-2, keepdim=True)
        return l2_normalize(rows_XND) @ apart_X2D.mT / self.config.temperature

    def patch_probabilities(self, rows_BND: Tensor, text_B2D: Tensor) -> Tensor:
        """(B,N): anomalous probability."""
        return self.logits(rows_BND, text_B2D).softmax(-1)[..., 1]

    # -- adaptation ----------------------------------------------------------------------------------------------
    def adapter_for(self, category: Category, draws: Draws) -> Adapter:
        """An adapter of this configuration for images of a category, as drawn for the first of them."""
        through = self.sentence_features(category).flatten(0, 1) if self.config.adapter == "text" else None
        return Adapter(self.config, None if through is None else l2_normalize(through), draws)

    def draws(self, sample: SampleInfo, shape: Sequence[int]) -> Draws:
        """What is drawn for an image whose patches have this shape (…,D), on the device of the backbone.

        Weight and bias are uniform, as a linear layer starts; the noise is normal.
        """
        c, width, device = self.config, shape[-1], self.backbone.device
        rows = 2 * self.sentence_features(sample.category).shape[1] if c.adapter == "text" else width
        generator, bound = self.generator_for(sample, "adapter"), width**-0.5
        weight = torch.empty(rows, width).uniform_(-bound, bound, generator=generator)
        bias = torch.empty(rows).uniform_(-bound, bound, generator=generator)
        noise = torch.randn((c.tta_steps, *shape), generator=self.generator_for(sample, "noise"))
        return Draws(weight.to(device), bias.to(device), (c.noise_std * noise).to(device))

    def _adapted(self, patches_BND: Tensor, text_B2D: Tensor, samples: Sequence[SampleInfo]) -> Tensor:
        """The patches, each image's through an adapter that took its steps on this image."""
        adapters: dict[Category, Adapter] = {}
        adapted = []
        for patches, text, sample in zip(patches_BND, text_B2D, samples, strict=True):
            draws = self.draws(sample, patches.shape)
            if sample.category in adapters:
                adapters[sample.category].restart(draws)
            else:
                adapters[sample.category] = self.adapter_for(sample.category, draws)
            adapter = adapters[sample.category]
            self.tune(adapter, patches, draws.noise, partial(self.logits, text_X2D=text))
            adapted.append(adapter(patches).detach())
        return torch.stack(adapted)

    def tune(self, adapter: Adapter, patches: Tensor, noise: Tensor, logits: Callable[[Tensor], Tensor]) -> None:
        """Takes a step of the adapter for each slice of the noise. patches: (…,D); noise: (steps,…,D).

        logits: from (2,…,D), the adapted patches without and with noise, to (2,…,2). Called with gradients on.
        """
        for step in noise:
            entropy, noisy = adaptation_losses(*logits(adapter(torch.stack([patches, patches + step]))))
            adapter.descend(entropy + self.config.noise_weight * noisy)

    # -- wide images ---------------------------------------------------------------------------------------------
    def predict_wide(self, images: Tensor, samples: Sequence[SampleInfo]) -> Prediction:
        """Scores (B,) and maps (B,H,W) of images (B,3,H,W) wider than high, in two squares, left and right.

        As the official script for VisA reads them: the score is the mean of both squares without other views, the
        adapter descends on cosines at the size of the image, and where the squares overlap the mean of both counts.

        Raises:
            UsageError: images that are not `image_size` high, or not between one and two times as wide as high.
        """
        height, width = images.shape[-2:]
        if height != self.config.image_size or not height <= width <= 2 * height:
            raise UsageError(
                f"{self.title} reads wide images {self.config.image_size} px high and once to twice as wide, these are "
                f"{width} x {height}; resize them"
            )
        found = [self._predict_wide(image, sample) for image, sample in zip(images, samples, strict=True)]
        maps = [each.map for each in found if each.map is not None]
        return Prediction(torch.stack([each.score for each in found]), torch.stack(maps))

    def _predict_wide(self, image_CHW: Tensor, sample: SampleInfo) -> Prediction:
        side, width = image_CHW.shape[-2:]
        tiles = torch.stack([image_CHW[..., :side], image_CHW[..., width - side :]])
        with torch.no_grad():
            features = self.encoder(tiles, [sample, sample])
        with self.adaptation():
            patches, text = features.select([0, 1]).patches(self._tap()), self.text_for([sample])[0]

            def merged_logits(rows_2TND: Tensor) -> Tensor:
                grids = self.logits(rows_2TND, text).movedim(-1, 2).unflatten(-1, features.grid)
                return torch.stack([merged(resized(of_tiles, side), width).movedim(0, -1) for of_tiles in grids])

            if self.config.tta_steps:
                draws = self.draws(sample, patches.shape)
                adapter = self.adapter_for(sample.category, draws)
                self.tune(adapter, patches, draws.noise, merged_logits)
                patches = adapter(patches)
        with torch.no_grad():
            maps = self.patch_probabilities(patches, text).unflatten(1, features.grid)
            whole = merged(blurred(maps, features.image_size)[:, None], width)[0]
            return Prediction(self.patch_probabilities(features.pooled("cls"), text).mean(), whole)


class Adapter:
    """A residual map of patches (…,D) with its optimiser: (1 - mix) x + mix a(x).

    a(x) = U^T tanh(W x/|x| + b) with the normalised sentences U (S,D), or W x/|x| + b without sentences.
    """

    def __init__(self, config: AnoVlConfig, sentences_SD: Tensor | None, draws: Draws) -> None:
        self.config, self.sentences = config, sentences_SD
        self.weight, self.bias = (drawn.clone().requires_grad_() for drawn in (draws.weight, draws.bias))
        self.optimizer = self._fresh_optimizer()

    def _fresh_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW([self.weight, self.bias], lr=self.config.lr, weight_decay=self.config.weight_decay)

    def restart(self, draws: Draws) -> None:
        """Takes over the weights drawn for another image; the optimiser forgets, unless its moments are carried."""
        with torch.no_grad():
            self.weight.copy_(draws.weight)
            self.bias.copy_(draws.bias)
        if self.config.moments == "reset":
            self.optimizer = self._fresh_optimizer()

    def __call__(self, rows: Tensor) -> Tensor:
        mapped = F.linear(l2_normalize(rows), self.weight, self.bias)
        if self.sentences is not None:
            mapped = mapped.tanh() @ self.sentences
        return (1 - self.config.mix) * rows + self.config.mix * mapped

    def descend(self, loss: Tensor) -> None:
        """One step of the optimiser."""
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def adaptation_losses(clean: Tensor, noisy: Tensor) -> tuple[Tensor, Tensor]:
    """Entropy of the clean places, and cross-entropy that calls noisy ones anomalous and clean ones normal; scalars.

    clean, noisy: logits (…,2), averaged over all places.
    """
    log_clean, log_noisy = clean.log_softmax(-1), noisy.log_softmax(-1)
    entropy = -(log_clean.exp() * log_clean).sum(-1).mean()
    return entropy, -(log_noisy[..., 1] + log_clean[..., 0]).mean()


def resized(grids_BCHW: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Grids at another size, bilinear with aligned corners."""
    return F.interpolate(grids_BCHW, size=size, mode="bilinear", align_corners=True)


def blurred(grids_BHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B,*size) of grids: mean of 3 x 3 patches, those at the border repeated, then up-sampled."""
    padded = F.pad(grids_BHW[:, None], (1, 1, 1, 1), mode="replicate")
    return resized(F.avg_pool2d(padded, 3, stride=1), size)[:, 0]


def merged(tiles_2CHW: Tensor, width: int) -> Tensor:
    """(C,H,width) of a left and a right tile; where they overlap, their mean."""
    over = width - tiles_2CHW.shape[-1]

    def laid(pair: Tensor) -> Tensor:
        return F.pad(pair[0], (0, over)) + F.pad(pair[1], (over, 0))

    return laid(tiles_2CHW) / laid(torch.ones_like(tiles_2CHW))


def views_of(images_BCHW: Tensor, kinds: Sequence[Views] = ALL_VIEWS) -> Tensor:
    """(B,V,C,H,W): views of square normalised images, by kind in the order of `ALL_VIEWS`.

    Eight rotations and eight translations (bilinear with aligned corners, mirrored at the border), the mirror image,
    three equal channels of luma, and quarter turns counter-clockwise.
    """
    made: list[Tensor] = []
    if "rotations" in kinds:
        turns = [(math.cos(math.pi * a), math.sin(math.pi * a)) for a in ANGLES]
        made += [_warped(images_BCHW, [[cos, -sin, 0.0], [sin, cos, 0.0]]) for cos, sin in turns]
    if "translations" in kinds:
        made += [_warped(images_BCHW, [[1.0, 0.0, x], [0.0, 1.0, y]]) for x, y in SHIFTS]
    if "flip" in kinds:
        made.append(images_BCHW.flip(-1))
    if "grey" in kinds:
        luma = images_BCHW.new_tensor(LUMA).view(3, 1, 1)
        made.append((images_BCHW * luma).sum(1, keepdim=True).expand_as(images_BCHW))
    if "quarter_turns" in kinds:
        made += [images_BCHW.rot90(turns, (-2, -1)) for turns in (1, 2, 3)]
    return torch.stack(made, 1)


def _warped(images_BCHW: Tensor, matrix: list[list[float]]) -> Tensor:
    """matrix: from places of the result to places of the image, both in [-1, 1]."""
    theta = images_BCHW.new_tensor(matrix)
    if torch.compiler.is_compiling():  # of one image, so that it is a constant of the graph
        grid = F.affine_grid(theta[None], [1, *images_BCHW.shape[1:]], align_corners=True)
        grid = grid.expand(images_BCHW.shape[0], -1, -1, -1)
    else:
        grid = F.affine_grid(theta.expand(len(images_BCHW), -1, -1), list(images_BCHW.shape), align_corners=True)
    return F.grid_sample(images_BCHW, grid, mode="bilinear", padding_mode="reflection", align_corners=True)


def _with_noun(template: str, noun: str) -> str:
    article = "an" if noun[0] in "aeiou" else "a"
    return template.replace("{a noun}", f"{article} {noun}").replace("{noun}", noun)
