"""The store of features of a group of runs: how large it may be, and what is said of it before anything is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zsad_bench.backbones.feature_store import FeatureStore, size_of
from zsad_bench.errors import UsageError
from zsad_bench.planning.configure import encodes_alone
from zsad_bench.process import free_memory
from zsad_bench.runner.feature_room import SHARE, UNSAID, readable
from zsad_bench.runner.run_spec import FeatureOptions
from zsad_bench.types import EncoderSpec, ForwardSpec

if TYPE_CHECKING:
    from zsad_bench.methods.base import ZeroShotMethod
    from zsad_bench.runner.prepared_run import PreparedRun


def opened(options: FeatureOptions, learning: Sequence[PreparedRun], say: Callable[[str], None]) -> FeatureStore | None:
    """The store for these trainings, and the test passes behind them; None where it was switched off.

    say: called with how much will be kept, where that is much, and what does not fit.

    Raises:
        UsageError: a budget that is too small for one image, or a folder that cannot be written.
    """
    if options.where == "off":
        return None
    folder = Path(options.where).expanduser() if options.keeps_on_disk else None
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"--features {options.where}: the folder cannot be made ({error.strerror}); take another, or memory"
            ) from None
    budget = free_memory() // SHARE if options.budget is None else options.budget
    store = FeatureStore(budget, folder, options.type, say)
    largest = max((_bytes(run.method, options) for run in learning), default=0)
    if folder is None and options.budget is not None and largest > budget:
        raise UsageError(
            f"--feature-budget {readable(budget)}: the features of one image take {readable(largest)}; give more, or "
            "switch them off with --features off"
        )
    if folder is not None or options.budget is not None:
        for title in dict.fromkeys(run.method.title for run in learning if run.method.first_edit == 1):
            say(f"{title}: what it learns enters block 1, so none of its features are kept")
    n_images, size = _expected(learning, options)
    if size > (UNSAID if folder is None and size <= budget else 0):
        say(_line(n_images, size, budget, folder))
    return store


def stored_spec(method: ZeroShotMethod) -> EncoderSpec | None:
    """What training a method asks of a store; None: nothing that is worth a word."""
    return method.encoder.kept(edited=encodes_alone(type(method)))


def coming(learning: Sequence[PreparedRun]) -> dict[ForwardSpec, EncoderSpec]:
    """By forward pass, all that these trainings ask of the images of the first: each of them reads what is stored."""
    asked: dict[ForwardSpec, EncoderSpec] = {}
    for run in learning:
        if _reads_images_of(run, learning[0]) and (spec := stored_spec(run.method)) is not None:
            asked[spec.forward] = asked[spec.forward].merge(spec) if spec.forward in asked else spec
    return asked


def _reads_images_of(run: PreparedRun, other: PreparedRun) -> bool:
    """Whether it learns from the same auxiliary images, and from these as they are."""
    from zsad_bench.methods.base import ZeroShotMethod

    one, two, method = run.learned_from, other.learned_from, run.method
    if one is None or two is None or one.hash != two.hash or run.spec.augment:
        return False
    changes_them = type(method).augmented is not ZeroShotMethod.augmented
    return not changes_them and any(stage.epochs for stage in method.stages())


def _bytes(method: ZeroShotMethod, options: FeatureOptions) -> int:
    spec = stored_spec(method)
    return 0 if spec is None else size_of(method.backbone, spec, options.type)


def _expected(learning: Sequence[PreparedRun], options: FeatureOptions) -> tuple[int, int]:
    """(images, bytes) at most: one image may belong to several draws, and is kept once."""
    wanted: dict[tuple[str, ForwardSpec], EncoderSpec] = {}
    images: dict[str, int] = {}
    backbone = learning[0].method.backbone if learning else None
    for run in learning:
        spec, auxiliary = stored_spec(run.method), run.learned_from
        if spec is None or auxiliary is None or run.spec.augment:
            continue
        images[auxiliary.hash] = sum(len(module.samples()) for module in auxiliary.modules)
        key = (auxiliary.hash, spec.forward)
        wanted[key] = wanted[key].merge(spec) if key in wanted else spec
    if backbone is None:
        return 0, 0
    size = sum(images[hash_] * size_of(backbone, spec, options.type) for (hash_, _), spec in wanted.items())
    return sum(images.values()), size


def _line(n_images: int, size: int, budget: int, folder: Path | None) -> str:
    what = f"features of at most {n_images} training images, {readable(size)}, are kept"
    if folder is not None:
        free = shutil.disk_usage(folder).free
        room = f"{readable(free)} free" + ("; what does not fit is encoded in each epoch" if free < size else "")
        return f"{what} in {folder} ({room}), and in memory up to {readable(budget)}"
    if size <= budget:
        return f"{what} in memory, which may take {readable(budget)} of it"
    return (
        f"{what} in memory as far as {readable(budget)} reach, and the others are encoded in each epoch; "
        "--feature-budget allows more, --features FOLDER keeps them on disk"
    )
