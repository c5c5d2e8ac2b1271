"""What `import zsad_bench as zb` offers: `docs/python.md` has it with examples.

Free of torch until something is loaded.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from weakref import WeakKeyDictionary

from zsad_bench import registry
from zsad_bench.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pandas import DataFrame

    from zsad_bench.backbones.base import Backbone
    from zsad_bench.data.base import ZeroShotDataModule
    from zsad_bench.data.concat import ConcatData
    from zsad_bench.data.images import Picture
    from zsad_bench.data.loaders import BatchLoader
    from zsad_bench.methods.base import ZeroShotMethod
    from zsad_bench.runner.metric_collector import Finished
    from zsad_bench.types import Category, Domain, Kind

# Methods that came from a checkpoint, which says what they learned from.
_checkpoints: WeakKeyDictionary[ZeroShotMethod, Path] = WeakKeyDictionary()


class Predictions(NamedTuple):
    """What `predict` found in n images; higher is more anomalous, and nothing is scaled to a range.

    scores: (n,) float32, one number per image.
    maps: (n,S,S) float32, S the method's image size; or, of the images' own sizes, n arrays (h,w) float32; or None
    where the method gives no map.
    """

    scores: NDArray[np.float32]
    maps: NDArray[np.float32] | list[NDArray[np.float32]] | None


def list_methods() -> list[str]:
    """The names that `load_method` takes, sorted; those of installed plug-ins among them."""
    return registry.names("methods")


def list_datasets() -> list[str]:
    """The names that `load_dataset` takes, sorted; those of installed plug-ins among them."""
    return registry.names("datasets")


def load_backbone(name: str, weights: str | Path | None = None, precision: str = "float32") -> Backbone:
    """A frozen backbone, float32 on the CPU: "tiny", which ships with the package, or one by its usual name.

    weights: a tag such as "openai", a file or a folder; None takes the usual ones. What is cached needs no network.
    precision: what the blocks of its towers compute with, "float32", "tf32" or "bf16"; what leaves them is float32.

    Raises:
        UsageError: no such precision; when it runs: a device that does not compute with it.
        UnknownNameError: no such backbone or tag; lists the nearest.
        BackboneError: weights that are missing, damaged, of another architecture, or out of reach.
    """
    from zsad_bench.backbones.load import load_backbone as load

    return load(name, weights, precision)


def load_method(
    name: str,
    checkpoint: str | Path | None = None,
    backbone: Backbone | str | None = None,
    precision: str = "float32",
    **settings: Any,
) -> ZeroShotMethod:
    """A method, in eval mode on the CPU: a LightningModule for a Trainer, for `predict` and for `evaluate`.

    checkpoint: a file that a run wrote; it brings its configuration. Without one, a method that trains is untrained.
    backbone: loaded, or by name; None is that of the checkpoint, else that of the papers (ViT-L-14-336-quickgelu with
    OpenAI's weights, BLIP's own for BLIP). On "tiny" a method gets the demo suite's settings, which are made for it.
    precision: as of `load_backbone`; a loaded backbone has its own.
    settings: fields of the method's configuration, as `--set` takes them: `image_size=240`.

    Raises:
        UnknownNameError: no such method, or no such setting; lists the nearest.
        CheckpointError: missing, damaged, or of another method or backbone. BackboneError: as `load_backbone`.
        UsageError: a value that does not fit, or settings beside a checkpoint.
    """
    from zsad_bench.planning.configure import build
    from zsad_bench.planning.suite import DEMO, PAPER
    from zsad_bench.runner import checkpoint as checkpoints

    registry.load("methods", name)
    path = None if checkpoint is None else Path(checkpoint).expanduser()
    if path is not None and settings:
        raise UsageError(f"checkpoint {path} brings its configuration; leave out {', '.join(settings)}")
    if backbone is None and path is not None:
        backbone = checkpoints.read_header(path).backbone.partition("@")[0]
    if backbone is None:
        backbone = load_backbone(*PAPER.backbone_for(name), precision=precision)
    elif isinstance(backbone, str):
        backbone = load_backbone(backbone, precision=precision)
    elif precision not in ("float32", backbone.precision):
        raise UsageError(
            f"precision {precision}: the backbone given was loaded with {backbone.precision}; load it with "
            f"load_backbone({backbone.name!r}, precision={precision!r})"
        )
    if path is not None:
        method, _ = checkpoints.load(path, backbone, name)
        _checkpoints[method] = path
    else:
        usual = DEMO.overrides_for(name) if backbone.name == DEMO.backbone else {}
        method = build(name, backbone, {**usual, **settings}, 0)
    return method.eval()


def save_method(method: ZeroShotMethod, path: str | Path, learned_from: ZeroShotDataModule | ConcatData) -> Path:
    """Writes what a method learned as a checkpoint, for `load_method` and `bench --checkpoint`; gives its path.

    learned_from: the data that it was fitted on. Hashes of its images go along, so that the method is not tested on
    them; rows of it say the variant "checkpoint=python".

    Raises:
        UsageError: a method that learns nothing, or has learned nothing yet.
    """
    from zsad_bench.data.base import ZeroShotDataModule
    from zsad_bench.data.overlap import see
    from zsad_bench.data.prior import prior_hash
    from zsad_bench.runner import checkpoint

    _require_ready(method)
    if not method.trains(method.config):
        raise UsageError(f"{method.title} learns nothing, so there is nothing to save; load_method makes it anew")
    modules = [learned_from] if isinstance(learned_from, ZeroShotDataModule) else learned_from.modules
    names = [module.name for module in modules]
    partial = ", ".join(f"{module.name} {module.shortfall}" for module in modules if module.shortfall)
    training = {
        "prior": "+".join(module.name + ":synthetic" * (module.painter is not None) for module in modules),
        "prior_hash": prior_hash({module.name: module.manifest_hash for module in modules}),
        "auxiliary": names,
        "draw": max((module.painter.draw for module in modules if module.painter is not None), default=0),
        "seed": getattr(method.config, "seed", 0),
        "variant": {"checkpoint": "python"},
        **({"auxiliary_partial": partial} if partial else {}),
    }
    checkpoint.save(Path(path).expanduser(), method, training, see(modules))
    return Path(path).expanduser()


def load_dataset(name: str, method: ZeroShotMethod | None = None, **options: Any) -> ZeroShotDataModule:
    """A dataset: a LightningDataModule, to be trained or tested on.

    name: as `--targets` takes it: "visa", some of its categories "mvtec:pill+nut", or images of your own,
    "folder:/path/to/parts" and "csv:/path/to/table.csv"; any of them under a condition, "visa@gaussian_noise:3"
    (docs/robustness.md).
    method: whose image size, mean and standard deviation the images get. options: of the dataset, as `root=` and
    `batch_size=`; they go before what the method says.

    Raises:
        UnknownNameError: no such dataset, category or option; lists the nearest.
        DatasetError: not found, or not as it should be.
    """
    from zsad_bench.data.base import ZeroShotDataModule
    from zsad_bench.planning.target import categories_of, target_of

    target = target_of(name)
    if target.place:
        if "root" in options:
            raise UsageError(f"{name} and root={options['root']}: give the path once")
        options["root"] = target.place
    if target.condition:
        options["condition"] = target.condition
    if method is not None:
        of_method = {"image_size": method.config.image_size, "mean": method.backbone.mean, "std": method.backbone.std}
        options = {**of_method, **options}
    cls: type[ZeroShotDataModule] = registry.load("datasets", target.dataset)
    known = sorted({*inspect.signature(cls).parameters, *inspect.signature(ZeroShotDataModule).parameters})
    for key in options:
        if key not in known or key == "options":
            raise UnknownNameError(registry.did_you_mean(f"option of dataset {target.dataset}", key, known))
    data = cls(**options)
    if target.categories:
        wanted = categories_of(name, data)
        data = cls(**options, samples=[sample for sample in data.samples() if sample.category in wanted])
    return data


def predict(
    method: ZeroShotMethod,
    images: Picture | Iterable[Picture],
    name: str = "object",
    *,
    kind: Kind = "object",
    domain: Domain = "industrial",
    full_size: bool = False,
    batch_size: int = 8,
) -> Predictions:
    """Scores and anomaly maps of images without labels, on the device that the method is on.

    images: paths, Pillow's pictures, or arrays (H,W), (H,W,3) or (H,W,4) of uint8, uint16 (full range) or floating
    point (0 to 1); each of any size. They are turned upright by EXIF, brought to RGB, and resized to a square of the
    method's image size whatever their shape, as a dataset's are.
    name: what they show, as prompts should call it. kind, domain: of what they show; few methods look at them.
    full_size: maps of each image's own height and width, bilinear, in the place of the method's size.

    Raises:
        UsageError: no image, a method that needs training and has had none, or one that cannot judge single images.
        DatasetError: an image that cannot be read; one line that says which and why.
    """
    import numpy as np
    import torch

    from zsad_bench.backbones.precision import tf32
    from zsad_bench.data.images import Images
    from zsad_bench.inspection.scorer import require_single_images
    from zsad_bench.inspection.tiles import resized

    _require_ready(method)
    require_single_images(method)
    data = Images(
        images, name, kind=kind, domain=domain, image_size=method.config.image_size, mean=method.backbone.mean,
        std=method.backbone.std, batch_size=batch_size,
    )  # fmt: skip
    scores, maps = [], []
    with _in_eval_mode(method), torch.inference_mode(), tf32(False, method.device):
        for number, batch in enumerate(data.predict_dataloader()):
            found = method.predict_step(batch.to(method.device), number)
            scores.append(found.score.float().cpu().numpy())
            if found.map is not None and full_size:
                of_method = found.map.float().cpu().numpy()
                maps += [
                    resized(one, width, height) for one, (height, width) in zip(of_method, batch.sizes, strict=True)
                ]
            elif found.map is not None:
                maps.append(found.map.float().cpu().numpy())
        method.pending.finish()
    if not maps:
        return Predictions(np.concatenate(scores), None)
    return Predictions(np.concatenate(scores), maps if full_size else np.concatenate(maps))


def evaluate(method: ZeroShotMethod, dataset: ZeroShotDataModule | str, **options: Any) -> DataFrame:
    """The metrics of a method on a dataset: one line per category and metric, with the columns of `rows export`.

    dataset: a data module, or a name and `options` as `load_dataset` takes them. The images go through the very pass of
    a run, on the device that a Trainer would choose; the method is put back where it was. Nothing is written.

    Columns: method, target, category, metric, value (float64 in [0, 1], nan where undefined), reason (why it is),
    error_bound, ci_low, ci_high, ci_level (float64, nan where undefined), n_images, n_anomalous, n_skipped,
    n_vanished, n_regions (nullable integers), image_size, backbone. Notes on the data are warnings.

    Raises:
        UsageError: a method that needs training and has had none, a data module of another image size, or a category
            that has too few images for a method that scores it as a whole.
        UnknownNameError, DatasetError: as `load_dataset`.
        OverlapError: the method's checkpoint learned from this dataset, or from some of its images.
    """
    import pandas
    from lightning.pytorch import Trainer

    from zsad_bench.runner import kept_sets
    from zsad_bench.runner.metric_collector import Collector
    from zsad_bench.runner.shared_encoder import SharedPass
    from zsad_bench.runner.train import trainer_options

    _require_ready(method)
    if isinstance(dataset, str):
        dataset = load_dataset(dataset, method, **{"batch_size": 32, **options})
    elif options:
        raise UsageError(f"{', '.join(options)}: options go with a dataset's name; this one is loaded")
    if dataset.image_size != method.config.image_size:
        raise UsageError(
            f"{method.title} reads images of {method.config.image_size} pixels and {dataset.name} gives "
            f"{dataset.image_size}; load it with load_dataset({dataset.name!r}, method)"
        )
    _check_overlap(method, dataset)
    kept_sets.check(method, dataset)
    table: list[dict[str, Any]] = []

    def finished(label: str, category: Category, found: Finished) -> None:
        table.extend(_lines(method, dataset, category, found))

    where = method.device
    with _in_eval_mode(method), _quiet():
        trainer = Trainer(
            logger=False, enable_progress_bar=False, callbacks=[Collector(dataset, finished)], **trainer_options()
        )
        trainer.test(SharedPass({method.title: method}), datamodule=dataset, verbose=False)
        loader = cast("BatchLoader", trainer.test_dataloaders)
    method.to(where)
    for line in [*dataset.notes, *(f"left out: {why}" for why in loader.reasons), *loader.resized, *loader.said]:
        warnings.warn(line, stacklevel=2)
    counts = dict.fromkeys(("n_images", "n_anomalous", "n_skipped", "n_vanished", "n_regions", "image_size"), "Int64")
    numbers = dict.fromkeys(("value", "error_bound", "ci_low", "ci_high", "ci_level"), "float64")
    return pandas.DataFrame(table).astype({**counts, **numbers})


def _lines(
    method: ZeroShotMethod, data: ZeroShotDataModule, category: Category, found: Finished
) -> Iterator[dict[str, Any]]:
    result = found.result
    for key, value in result.values.items():
        interval = result.intervals.get(key)
        low, high, level = (None, None, None) if interval is None else interval
        yield {
            "method": method.registry_name(), "target": data.name, "category": category.name, "metric": key,
            "value": value.value, "reason": value.reason, "error_bound": result.error_bounds.get(key),
            "ci_low": low, "ci_high": high, "ci_level": level, "n_images": result.n_images,
            "n_anomalous": result.n_anomalous, "n_skipped": found.skipped, "n_vanished": result.n_vanished,
            "n_regions": result.n_regions if key.startswith("pixel_") else None,
            "image_size": method.config.image_size, "backbone": method.backbone.id,
        }  # fmt: skip


def _require_ready(method: ZeroShotMethod) -> None:
    from zsad_bench.methods.base import ZeroShotMethod

    if not isinstance(method, ZeroShotMethod):
        raise UsageError(f"expected a method as load_method gives it, found {method!r}")
    if method.trains(method.config) and not method.is_trained:
        name = method.registry_name()
        raise UsageError(
            f"{name} learns from auxiliary data and has learned nothing yet; load it with "
            f"load_method({name!r}, checkpoint=…), or train it: Trainer(…).fit(method, datamodule=…)"
        )


def _check_overlap(method: ZeroShotMethod, data: ZeroShotDataModule) -> None:
    """The leak guard, as far as a checkpoint says what was learned from."""
    from zsad_bench.planning.suite import is_found
    from zsad_bench.runner import checkpoint, guard

    path = _checkpoints.get(method)
    if path is None:
        return
    names, known = checkpoint.read_header(path).training["auxiliary"], list_datasets()

    def here() -> list[ZeroShotDataModule]:
        return [load_dataset(name, method) for name in names if name in known and is_found(name)]

    guard.check_checkpoint(path, names, here, [data], lambda line: warnings.warn(line, stacklevel=4))


@contextmanager
def _in_eval_mode(method: ZeroShotMethod) -> Iterator[None]:
    before = method.training
    method.eval()
    try:
        yield
    finally:
        method.train(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's greetings and advice are for its command lines; afterwards it speaks as before."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    with warnings.catch_warnings():
        try:
            yield
        finally:
            log.setLevel(level)
