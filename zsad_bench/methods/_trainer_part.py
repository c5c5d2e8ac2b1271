"""What Lightning's Trainer calls of a method: one stage of training per `fit`, predictions, Lightning's checkpoints.

All of it is in terms of what `base.py` says of a method. Our own runs come through here just as a user's script does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from lightning import Callback, LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from zsad_bench.errors import CheckpointError, TrainingError, UsageError
from zsad_bench.methods._epoch_means import EpochMeans
from zsad_bench.methods._pending import Look, Pending
from zsad_bench.methods._prediction import predict
from zsad_bench.methods._stage import Stage
from zsad_bench.types import Batch, Category, Features, ImageBatch, Prediction, SampleInfo


class TrainerPart(LightningModule):
    """The part of `ZeroShotMethod` that serves a Trainer; by itself it is not a method."""

    title: ClassVar[str]
    adapts_at_test: bool
    transductive: bool
    fewest_images: int
    config: Any
    is_trained: bool
    pending: Pending
    epoch_means: EpochMeans
    _stage: Stage | None

    if TYPE_CHECKING:  # of the method, in base.py

        @classmethod
        def registry_name(cls) -> str: ...
        @classmethod
        def learns_from(cls, config: Any) -> Literal["masks", "labels"]: ...
        @classmethod
        def trains(cls, config: Any = None) -> bool: ...
        def stages(self) -> list[Stage]: ...
        def augmented(self, batch: Batch) -> Batch: ...
        def begin_training(self, categories: Sequence[Category]) -> None: ...
        def begin_stage(self, stage: Stage) -> None: ...
        def end_stage(self) -> None: ...
        def optimizer_for(self, stage: Stage) -> torch.optim.Optimizer: ...
        def encode(self, images: Tensor, samples: Sequence[SampleInfo]) -> Features: ...
        def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]: ...
        def observe(self, features: Features, batch: Batch) -> None: ...
        def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction: ...
        def score_set(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction: ...
        def adaptation(self) -> AbstractContextManager[None]: ...
        def clear_text_cache(self) -> None: ...
        def is_own(self, name: str) -> bool: ...
        def load_own_state(self, state: Mapping[str, Tensor]) -> None: ...

    @property
    def stage(self) -> Stage:
        """The stage that trains now, or did last.

        Raises:
            UsageError: none has begun.
        """
        if self._stage is None:
            raise UsageError(f"{self.title} is in no stage of training; call begin_stage(stage) first")
        return self._stage

    def in_stage(self, name: str) -> bool:
        """Whether that stage trains now, or did last. No stage has begun when a run asks what training will read."""
        return self._stage is not None and self._stage.name == name

    # -- training -------------------------------------------------------------------------------------------------
    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.train()  # Lightning leaves modules in the mode that it finds them in
        if stage == "fit" and self._stage is None:  # a script that goes straight to `Trainer.fit`
            stages = self.stages()
            if len(stages) != 1:
                raise UsageError(f"{self.title} has {len(stages)} stages; call begin_stage(stage) before Trainer.fit")
            data = self.trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it undeclared
            if data is not None:
                self.begin_training(data.categories())
            self.begin_stage(stages[0])
        if stage == "fit":
            self._ask_for_mosaics(self.stage.mosaic)
        if stage == "fit" and self.stage.observes and self.trainer.world_size > 1:
            # torch's wrapper for several processes refuses a module that nothing could train in. Nothing does.
            next(self.parameters()).requires_grad_(True)

    def _ask_for_mosaics(self, mosaic: Mapping[str, float]) -> None:
        """Only the data can make them: it alone has the other images of a category."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it undeclared
        if hasattr(data, "mosaic"):
            data.mosaic = mosaic
        elif mosaic:
            of = ", ".join("any dataset" if name == "*" else name for name in mosaic)
            rank_zero_warn(
                f"{self.title} learns from mosaics of images of {of}, which loaders of one's own do not make; give "
                "Trainer.fit a data module of zsad_bench"
            )

    def configure_optimizers(self) -> Any:
        stage = self.stage
        if stage.observes:
            return None
        optimizer = self.optimizer_for(stage)
        if stage.scheduler is None:
            return optimizer
        each = stage.schedule_each
        times = stage.epochs if each == "epoch" else int(self.trainer.estimated_stepping_batches)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": stage.scheduler(optimizer, times), "interval": each},
        }

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        if (clip := self.stage.clip) is not None:  # the stage's own, whatever the Trainer was told
            gradient_clip_val, gradient_clip_algorithm = clip, "norm"
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        if batch.masks is None and self.learns_from(self.config) == "masks":
            raise UsageError(f"{self.title} learns from masks, and this auxiliary data has none; take another prior")
        stage, batch = self.stage, self._augmented(batch.normalised())
        if stage.observes:
            with torch.no_grad():
                self.observe(self.encode(batch.images, batch.samples), batch)
            return None
        terms = self.losses(self.encode(batch.images, batch.samples), batch)
        total = torch.stack(list(terms.values())).sum()
        self.pending.put(torch.stack([total, *terms.values()]), self._finite_loss(self.global_step, list(terms)))
        self.epoch_means.put({"loss": total, **{f"loss_{name}": value for name, value in terms.items()}}, len(batch))
        if self._trainer is not None and self.trainer.is_last_batch:
            self._log_means()  # here, so that callbacks have them when the epoch ends
        return total

    def _log_means(self) -> None:
        spread = torch.distributed.is_available() and torch.distributed.is_initialized()
        for name, (mean, n_images) in self.epoch_means.take().items():
            self.log(
                name, mean, prog_bar=name == "loss", on_step=False, on_epoch=True, batch_size=n_images, sync_dist=spread
            )

    def _augmented(self, batch: Batch) -> Batch:
        """`augmented`; images that it made have no features that could be kept."""
        version = batch.images._version
        made = self.augmented(batch)
        if made.images is batch.images and batch.images._version == version:
            return made
        return replace(made, samples=[replace(sample, content="") for sample in made.samples])

    def _finite_loss(self, step: int, names: Sequence[str]) -> Look:
        """Looks at the loss of a step and its terms. On a GPU another step is on its way by then, and is lost too."""
        stage = self.stage.name

        def look(found: list[float]) -> None:
            if not math.isfinite(found[0]):
                values = ", ".join(f"{name} {value:g}" for name, value in zip(names, found[1:], strict=True))
                raise TrainingError(
                    f"{self.title}: the loss is not finite in step {step} of stage '{stage}' ({values}); lower the "
                    "learning rate with --set lr=…, or look at this auxiliary data"
                )

        return look

    def on_train_epoch_start(self) -> None:
        self.epoch_means.take()  # of an epoch that broke off

    def on_train_epoch_end(self) -> None:
        self.pending.finish()
        self._log_means()  # of an epoch without a last batch, as one that `max_steps` ends

    def on_train_end(self) -> None:
        self.pending.finish()
        if self.stage.observes:
            self.requires_grad_(False)  # as `begin_stage` left it, see `setup`
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.stage.observes):
            self.end_stage()
        self.clear_text_cache()
        self.is_trained = True

    # -- predictions ----------------------------------------------------------------------------------------------
    def predict_step(self, batch: Batch | ImageBatch, batch_idx: int = 0) -> Prediction:
        """Scores (B,) and maps (B,H,W) of a batch, labels unseen: what `Trainer.predict` returns, batch by batch.

        Raises:
            UsageError: images of another size than `config.image_size`, or a transductive method.
            PromiseError: the prediction is not what the interface promises.
        """
        if self.transductive:
            raise UsageError(
                f"{self.title} scores whole categories, and a batch by itself means nothing to it; test it with "
                "`zsad-bench bench` or zsad_bench.evaluate"
            )
        size, (height, width) = self.config.image_size, batch.images.shape[-2:]
        if (height, width) != (size, size):
            raise UsageError(
                f"{self.title} reads images of {size} x {size} pixels, these are {width} x {height}; give the data "
                f"module image_size={size}"
            )
        with torch.no_grad():  # adaptation turns gradients on where it needs them
            batch = batch.normalised()
            return predict(self, self.encode(batch.images, batch.samples), batch.samples)

    # Lightning declares tensors, and hands whatever it gets to the callbacks.
    def test_step(self, batch: Batch, batch_idx: int = 0) -> Prediction:  # type: ignore[override]
        """As `predict_step`; the metrics are the business of the callback below."""
        return self.predict_step(batch)

    def configure_callbacks(self) -> list[Callback]:
        """The metrics of `Trainer.test`, unless the Trainer has them already."""
        from zsad_bench.metrics.callback import CategoryMetricsCallback

        present: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]  # Lightning sets it undeclared
        there = any(isinstance(callback, CategoryMetricsCallback) for callback in present)
        return [] if there else [CategoryMetricsCallback()]

    def on_test_epoch_end(self) -> None:
        self.pending.finish()

    def on_predict_epoch_end(self) -> None:
        self.pending.finish()

    def on_test_start(self) -> None:
        if self.trains(self.config) and not self.is_trained:
            rank_zero_warn(f"{self.title} learns from auxiliary data and has learned nothing; it is tested untrained")

    # -- Lightning's checkpoints ----------------------------------------------------------------------------------
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        self.clear_text_cache()
        self.is_trained = True
        return super().load_state_dict(state_dict, strict, assign)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.pending.finish()  # what was learned from a loss that is not finite is not saved
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: value for name, value in state.items() if self.is_own(name)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes over what `on_save_checkpoint` kept, and adds the frozen weights that Lightning looks for.

        Raises:
            CheckpointError: tensors that are missing, unknown or of another shape.
        """
        try:
            self.load_own_state(checkpoint["state_dict"])
        except ValueError as error:
            raise CheckpointError(f"Lightning's checkpoint is not of this {self.title}: {error}") from None
        checkpoint["state_dict"] = self.state_dict()
