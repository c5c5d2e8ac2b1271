"""A user's own data: what the card of a public dataset states is worked out from the files."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from zsad_bench.data import unused
from zsad_bench.data.base import CategoryCard, Expected, ZeroShotDataModule
from zsad_bench.errors import DatasetError, UsageError
from zsad_bench.path_lists import home
from zsad_bench.registry import did_you_mean
from zsad_bench.types import Domain, Kind, Level, Sample


class OwnDataModule(ZeroShotDataModule):
    """A dataset that the root alone defines; its names are read when it is built, its files when they are needed.

    prompt_name: what prompts call the categories; None makes their folders' names readable. kind, domain: of all
    categories. mask_threshold: grey values above it are anomalous; None is 0, and 127 of JPEG masks.
    allow_missing_masks: where some anomalous images have a mask, those without one count as normal in every pixel.

    The level is `both` when every anomalous image has a mask, `pixel` when there is no other image, `image` when none
    has one.

    Raises:
        UsageError: no root. DatasetError: not such a dataset; one line that names the file.
    """

    domain: Domain = "industrial"
    level: Level = "both"  # of the class; an instance knows its own, and its title, categories and counts
    licence = "the user's own"
    redistribute = False
    url = ""
    citation = "images of the user's own"
    category_cards: tuple[CategoryCard, ...] = ()
    expected = Expected(0, 0, "V")
    example: str  # of a root, for the error message
    _asked_root: Path

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        prompt_name: str | None = None,
        kind: Kind = "object",
        domain: Domain = "industrial",
        mask_threshold: int | None = None,
        allow_missing_masks: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(root, **options)
        if root is None or not str(root).strip():
            raise UsageError(f"{self.name}: no path given; say where it lies, as in {self.name}:{self.example}")
        for what, value, known in (("kind", kind, get_args(Kind)), ("domain", domain, get_args(Domain))):
            if value not in known:
                raise UsageError(did_you_mean(f"{what} of {self.name}", str(value), known))
        if prompt_name is not None and not prompt_name.strip():
            raise UsageError(f"{self.name}: prompt_name is empty; say what the images show, or leave it out")
        self.prompt_name, self.kind, self.domain = prompt_name, kind, domain
        self.mask_threshold, self.allow_missing_masks = mask_threshold, allow_missing_masks
        self._asked_root = _as_named(root)
        self.title, self.name = self.title_of(root), self.name_of(root)
        self._read = self.read(self.root)
        self._state_card(self._read)

    # What a subclass writes.

    def read(self, root: Path) -> list[Sample]:
        """Every sample, paths relative to the root."""
        raise NotImplementedError(f"{type(self).__name__} has no read(root)")

    # The rest.

    @classmethod
    def title_of(cls, asked: str | Path) -> str:
        """What tables call the dataset: the last two names of its path, as `lotA/parts`.

        It depends on nothing but the path, so that rows of several runs and machines are of one dataset where the two
        names agree; the data hash identifies the content.
        """
        path = _as_named(asked)
        return "/".join(path.relative_to(path.anchor).parts[-2:])

    @classmethod
    def name_of(cls, asked: str | Path) -> str:
        """What rows call it: `folder:lotA/parts`."""
        return f"{cls.__module__.rpartition('.')[2]}:{cls.title_of(asked)}"

    @classmethod
    def available(cls) -> None:
        """Nothing: it has no place of its own."""

    def index(self, root: Path) -> list[Sample]:
        return self._read

    def decisions(self) -> dict[str, str]:
        usual = {
            "prompt_name": None,
            "kind": "object",
            "domain": "industrial",
            "mask_threshold": None,
        }
        changed = {key: str(getattr(self, key)) for key, value in usual.items() if getattr(self, key) != value}
        if self.allow_missing_masks:
            changed["allow_missing_masks"] = "true"
        return {**super().decisions(), **changed}

    def _state_card(self, samples: Sequence[Sample]) -> None:
        names = sorted({sample.category for sample in samples})
        self.category_cards = tuple(CategoryCard(name, self._prompt(name), self.kind) for name in names)
        anomalous = [sample for sample in samples if sample.label == 1]
        bare = [sample for sample in anomalous if not sample.masks]
        self.level = "image" if len(bare) == len(anomalous) else "both" if len(anomalous) < len(samples) else "pixel"
        if bare and self.level != "image" and not self.allow_missing_masks:
            empty = unused.find(self.root, [], self.folders_of_images(samples)).empty
            also = f"; {len(empty)} image files are empty (0 bytes), as {empty[0]}" if empty else ""
            raise DatasetError(
                f"{self.name}: {self.root / bare[0].image} has no mask, nor have {len(bare) - 1} others of the "
                f"{len(anomalous)} anomalous images{also}; add the masks, remove all of them, or count those images as "
                f"normal in every pixel with --data {self.name.partition(':')[0]}.allow_missing_masks=true"
            )
        tested = [sample.label for sample in samples if sample.split == "test"]
        self.expected = Expected(tested.count(0), tested.count(1), "V")

    def _prompt(self, category: str) -> str:
        if self.prompt_name is not None:
            return self.prompt_name.strip()
        if name := readable(category):
            return name
        self.notes.append(
            f"'{category}' is not a name to prompt with, so prompts say 'object'; set --data "
            f"{self.name.partition(':')[0]}.prompt_name=…"
        )
        return "object"


def _as_named(root: str | Path) -> Path:
    """The absolute path, without following links: a linked folder is called as its link, a linked table stays."""
    return Path(os.path.abspath(home(root)))  # noqa: PTH100


def readable(name: str) -> str:
    """`metal nut 2` of `metal_nut2`: words and numbers apart; empty when there is no letter in it."""
    words = re.sub(r"[\W_]+", " ", name)
    words = re.sub(r"(?<=[^\W\d])(?=\d)|(?<=\d)(?=[^\W\d])", " ", words).strip()
    return words if any(letter.isalpha() for letter in words) else ""
