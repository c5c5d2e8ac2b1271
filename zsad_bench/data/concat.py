"""Several auxiliary datasets learned from as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning.pytorch import LightningDataModule

from zsad_bench.data import loaders
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.errors import UsageError
from zsad_bench.types import Batch, Category


class ConcatData(LightningDataModule):
    """Data modules end to end, shuffled together: what a Trainer fits on.

    image_size, batch_size: of the first one until they are set; they hold for all. workers: of the first one.
    mosaic: as of a data module, for all.

    Raises:
        UsageError: none was given, or only some of them have masks.
    """

    def __init__(self, modules: Sequence[ZeroShotDataModule]) -> None:
        super().__init__()
        if not modules:
            raise UsageError("no dataset to learn from; give at least one")
        masked = [module.name for module in modules if module.has_masks]
        bare = [module.name for module in modules if not module.has_masks]
        if masked and bare:
            raise UsageError(
                f"datasets learned from together all have masks or none has: {', '.join(masked)} with, "
                f"{', '.join(bare)} without; take one kind"
            )
        self.modules = list(modules)
        self.has_masks = bool(masked)
        self.title = " + ".join(module.title for module in modules)
        self.image_size, self.batch_size = modules[0].image_size, modules[0].batch_size
        self.mosaic: Mapping[str, float] = {}

    def categories(self) -> list[Category]:
        """The categories of the auxiliary data, dataset after dataset."""
        return [category for module in self.modules for category in module.categories()]

    def prepare_data(self) -> None:
        for module in self.modules:
            module.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        for module in self.modules:
            module.setup(stage)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """What a method sees: images normalised where they lie. A Trainer calls it."""
        return batch.normalised()

    def train_dataloader(self) -> loaders.BatchLoader:
        """Shuffled by the first module's seed, the last batch kept however small.

        Raises:
            UsageError: the Trainer's processes cannot share `batch_size` evenly.
        """
        first = self.modules[0]
        for module in self.modules:
            module.image_size, module.mosaic = self.image_size, self.mosaic
        tables = [module.table(augment=True) for module in self.modules]
        table = tables[0] if len(tables) == 1 else loaders.Tables(tables)
        ranks = loaders.Ranks.of(self.trainer)
        return loaders.training_loader(table, self.batch_size, first.shuffle_seed, first.workers, ranks)
