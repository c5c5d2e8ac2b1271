"""Several auxiliary datasets learned from as one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import torch

from zsad_bench.data import loaders
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.errors import UsageError, ZsadError
from zsad_bench.types import Category


class Union:
    """Data modules end to end, shuffled together: what training asks of a data module.

    Raises:
        UsageError: only some of them have masks.
    """

    def __init__(self, modules: Sequence[ZeroShotDataModule]) -> None:
        masked = [module.name for module in modules if module.has_masks]
        bare = [module.name for module in modules if not module.has_masks]
        if masked and bare:
            raise UsageError(
                f"a union has masks in all of its datasets or in none: {', '.join(masked)} with, "
                f"{', '.join(bare)} without; take one kind"
            )
        self.modules = list(modules)
        self.has_masks = bool(masked)
        self.title = " + ".join(module.title for module in modules)
        self.image_size, self.batch_size = modules[0].image_size, modules[0].batch_size

    def train_dataloader(self) -> loaders.BatchLoader:
        """Shuffled by the first module's seed, the last batch kept however small."""
        tables = []
        for module in self.modules:
            module.image_size, module.batch_size = self.image_size, self.batch_size
            tables.append(module.train_dataloader().dataset)
        if len(tables) == 1:
            return self.modules[0].train_dataloader()
        table = EndToEnd(tables)
        workers = loaders.default_workers(len(table))
        return loaders.BatchLoader(
            table,
            batch_size=self.batch_size,
            sampler=loaders.ShuffledShard(len(table), self.modules[0].shuffle_seed),
            num_workers=workers,
            collate_fn=loaders.collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
        )


class EndToEnd(torch.utils.data.Dataset):
    """Tables one after the other; errors travel as values, as from each of them."""

    def __init__(self, tables: Sequence[loaders.ImageTable]) -> None:
        self.tables = list(tables)
        self.ends = list(accumulate(map(len, tables)))

    def __len__(self) -> int:
        return self.ends[-1]

    def present(self) -> list[Category]:
        """The categories of all tables."""
        return [category for table in self.tables for category in table.present()]

    def __getitem__(self, index: int) -> loaders.Item | loaders.UnreadableSample:
        which = bisect_right(self.ends, index)
        return self.tables[which][index - (self.ends[which - 1] if which else 0)]

    def __getitems__(self, indices: Sequence[int]) -> list[loaders.Item | loaders.UnreadableSample] | ZsadError:
        try:
            return [self[index] for index in indices]
        except ZsadError as error:
            return error
