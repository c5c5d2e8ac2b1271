"""Training a method on auxiliary data, stage by stage."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger
from rich.console import Console

from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.sweep.progress import progress


def trainer_options() -> dict[str, Any]:
    """What every Trainer here has in common: one device, our own sampler, nothing on the console but ours."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for text in ("does not have many workers", "smaller than the logging interval"):
        warnings.filterwarnings("ignore", message=f".*{text}.*")
    return {
        "accelerator": "auto",
        "devices": 1,
        "precision": "32-true",
        "use_distributed_sampler": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "barebones": False,
    }


def fit(method: ZeroShotMethod, data: ZeroShotDataModule, folder: Path, console: Console) -> None:
    """Trains every stage in place; the losses go to `folder/<stage>/metrics.csv`."""
    for stage in method.stages():
        method.enter(stage)
        data.batch_size = stage.batch_size
        trainer = Trainer(
            max_epochs=stage.epochs,
            logger=CSVLogger(folder, name="", version=stage.name),
            log_every_n_steps=1,
            callbacks=[progress(console, f"train {method.title} on {data.title}, {stage.name}")],
            num_sanity_val_steps=0,
            **trainer_options(),
        )
        trainer.fit(method, train_dataloaders=data.train_dataloader())
    method.freeze()
