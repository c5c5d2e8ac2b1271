"""Training a method on auxiliary data, stage by stage."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger

from zsad_bench.backbones.precision import forbid_tf32
from zsad_bench.console import Console
from zsad_bench.data.concat import ConcatData
from zsad_bench.errors import UsageError
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.runner.progress import progress


def trainer_options() -> dict[str, Any]:
    """What every Trainer here has in common: one device, our own sampler, nothing on the console but ours."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    forbid_tf32()  # in heads and losses, too
    # Tiny data on few cores, a frozen tower that stays in eval mode, an internal matter, a login node of Slurm, a stage
    # without an optimiser: all is as it should be.
    for text in (
        "not have many workers",
        "smaller than the logging interval",
        "in eval mode at the start",
        "LeafSpec",
        "srun. command is available",
        "will run with no optimizer",
    ):
        warnings.filterwarnings("ignore", message=f".*{text}.*")
    return {
        "accelerator": "auto",
        "devices": 1,
        "precision": "32-true",
        "use_distributed_sampler": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }


def check_numbers(name: str, method: ZeroShotMethod) -> None:
    """Raises UsageError for numbers that no run can have; Lightning takes -1 epochs for no end."""
    _ = method.encoder_spec  # refuses an image size that does not fit the patches
    for stage in method.stages():
        if stage.epochs < 0 or stage.batch_size < 1:
            raise UsageError(
                f"{name}: {stage.epochs} epochs of batches of {stage.batch_size}; expected --epochs 0 or more, and "
                "--set batch_size=1 or more"
            )


@contextmanager
def stoppable(trainer: Trainer) -> Iterator[None]:
    """Lets Ctrl-C in here leave as KeyboardInterrupt; Lightning would exit with code 1 and ignore further ones."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None


def fit(
    method: ZeroShotMethod,
    data: ConcatData,
    folder: Path,
    console: Console,
    watch: Callable[[str], Callback] | None = None,
) -> None:
    """Trains every stage in place; losses go to `folder/<stage>/metrics.csv`. watch: one more callback per stage."""
    printed: set[str] = set()
    method.begin_training(data.categories())
    for stage in method.stages():
        method.begin_stage(stage)
        data.batch_size = stage.batch_size
        trainer = Trainer(
            max_epochs=stage.epochs,
            logger=CSVLogger(folder, name="", version=stage.name),
            log_every_n_steps=1,
            callbacks=[
                progress(console, f"train {method.title} on {data.title}, {stage.name}"),
                *([watch(stage.name)] if watch else []),
            ],
            num_sanity_val_steps=0,
            enable_progress_bar=console.is_terminal,  # else Lightning adds a bar of its own to our plain lines
            **trainer_options(),
        )
        with stoppable(trainer):
            trainer.fit(method, datamodule=data)
        loader, data.trainer = trainer.train_dataloader, None  # worker processes end with the Trainer
        for line in [] if loader is None else loader.said:  # without epochs there is no loader
            if line not in printed:  # every stage reads the same files
                console.print(line, style="yellow")
            printed.add(line)
    method.freeze()
