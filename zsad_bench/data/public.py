"""A public dataset: found in any of the layouts it comes in, in any of the compositions that papers report.

A file of `data/datasets/` states the card and, where the download has a shape of its own, `is_raw` and `read_raw`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from math import ceil
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, get_args

import numpy as np

from zsad_bench.data import complete, layouts, subset
from zsad_bench.data.base import CategoryCard, Expected, ZeroShotDataModule
from zsad_bench.data.layouts import Found, Layout
from zsad_bench.errors import DatasetError, DatasetLayoutError, UsageError
from zsad_bench.registry import did_you_mean
from zsad_bench.types import Level, Sample

PromptNames = Literal["spec", "raw", "friendly"]
MaskRule = Literal["canonical", "legacy"]
T = TypeVar("T")
_MOST_NAMED = 15  # categories of a dataset that a line names


class PreparedCopy(NamedTuple):
    """A composition that is known only from a copy which others prepared.

    how: what is known of how it was made. names: how the names of its images begin, where that tells it from others.
    """

    how: str
    names: tuple[str, ...] = ()


class PublicDataModule(ZeroShotDataModule):
    """layout: None detects it. variant: which published composition, the first of `variants` by default.

    prompt_names: `spec` as the benchmark defines them, `raw` as the folders are called, `friendly` as a person would
    say. mask_rule: `canonical` is the dataset's own threshold, `legacy` (> 0) that of the published evaluations.
    allow_missing_masks: an anomalous image without a mask is accepted and counts as normal in every pixel.
    images: a text file of paths below the root; goes with a variant that tests the images of such a list.
    """

    variants: ClassVar[Mapping[str, Expected]]  # name -> test images; the first is the default and `expected`
    variant_levels: ClassVar[Mapping[str, Level]] = {}  # of variants that are not of the level of the dataset
    private_variants: ClassVar[tuple[str, ...]] = ()  # whose labels are not public
    listed_variants: ClassVar[frozenset[str]] = frozenset()  # those that test what a list (`images`) names
    # Which categories such a copy holds, it says itself.
    prepared_variants: ClassVar[Mapping[str, PreparedCopy]] = {}
    category_aliases: ClassVar[Mapping[str, str]] = {}  # as others write a category -> as we do
    anomaly_types: ClassVar[Mapping[str, tuple[str, ...]]] = {}  # of each category, where the release defines them
    shares_images_with: ClassVar[tuple[str, ...]] = ()  # datasets that hold some of the same files, as footnotes say
    layout_order: ClassVar[tuple[Layout, ...]] = layouts.LAYOUTS  # raw first where the download looks like another one
    raw_is_mvtec_style: ClassVar[bool] = False
    raw_looks_like: ClassVar[str] = "the download itself"
    normal_folders: ClassVar[tuple[str, ...]] = ("good", "ok", "normal")  # in any letter case
    mask_folders: ClassVar[tuple[str, ...]] = ()  # names of folders of masks beside the usual ones

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "variants" in vars(cls):
            cls.expected = next(iter(cls.variants.values()))

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        layout: Layout | None = None,
        variant: str | None = None,
        prompt_names: PromptNames = "spec",
        mask_rule: MaskRule = "canonical",
        allow_missing_masks: bool = False,
        images: str | Path | None = None,
        **options: Any,
    ) -> None:
        super().__init__(root, **options)
        self.variant = next(iter(self.variants)) if variant is None else variant
        for what, value, known in (
            ("variant", self.variant, self.variants),
            ("layout", layout, (None, *get_args(Layout))),
            ("prompt_names", prompt_names, get_args(PromptNames)),
            ("mask_rule", mask_rule, get_args(MaskRule)),
        ):
            if value not in known:
                raise UsageError(did_you_mean(f"{what} of {self.name}", str(value), [k for k in known if k]))
        if (images is not None) != (self.variant in self.listed_variants):
            what = ", ".join(sorted(self.listed_variants)) or "none of its variants"
            raise UsageError(
                f"{self.name}: variant {self.variant} and {'a list' if images is not None else 'no list'} of images; "
                f"--data {self.name}.images=FILE (one path below the dataset per line) goes with {what}, and only there"
            )
        self.images = images
        self.asked_layout, self.prompt_names, self.mask_rule = layout, prompt_names, mask_rule
        self.expected = self.variants[self.variant]
        self.level = self.variant_levels.get(self.variant, self.level)
        if self.variant in self.private_variants:
            self.unlabelled = f"the labels of {self.variant} are not public"
        self.allow_missing_masks = allow_missing_masks
        if mask_rule == "legacy":
            self.mask_threshold = 0

    # What a subclass writes, unless its download is mvtec_style.

    @classmethod
    def is_raw(cls, root: Path) -> bool:
        """Whether the folder is the dataset as downloaded, by a look at a few names."""
        return False

    @classmethod
    def refuse(cls, root: Path) -> str | None:
        """What the folder is instead, when it looks like this dataset and is another one."""
        return None

    def read_raw(self, root: Path) -> list[Sample]:
        """Every sample of the dataset as downloaded.

        Raises:
            DatasetError: something that belongs there is missing; names it.
        """
        raise NotImplementedError(f"{self.name} has no raw layout of its own")

    # The rest.

    def decisions(self) -> dict[str, str]:
        asked = {"variant": self.variant, "prompt_names": self.prompt_names, "mask_rule": self.mask_rule}
        usual = {"variant": next(iter(self.variants)), "prompt_names": "spec", "mask_rule": "canonical"}
        changed = {key: value for key, value in asked.items() if value != usual[key]}
        if self.allow_missing_masks:
            changed["allow_missing_masks"] = "true"
        if self.images is not None:
            changed["images"] = subset.digest(self._listed)
        return {**super().decisions(), **changed}

    @cached_property
    def _listed(self) -> dict[str, int]:
        """The images that a list names, with their lines."""
        return subset.read(self.images, self.name) if self.images is not None else {}

    @cached_property
    def found(self) -> Found:
        """The folder and layout that are read.

        Raises:
            DatasetError: not found. DatasetLayoutError: it matches no layout.
        """
        if other := self.refuse(self._folder):
            raise DatasetLayoutError(f"{self.name}: {self._folder} is {other}; give the folder of {self.title}")
        asked = "mvtec_style" if self.asked_layout == "raw" and self.raw_is_mvtec_style else self.asked_layout
        names = (*self.root_names, self.name)
        detected = layouts.detect(
            self._folder, self.rules, names, self.is_raw, self.raw_looks_like, asked, self.layout_order
        )
        if detected.also:
            self.notes.append(
                f"{detected.root} is read as {detected.layout}; there is also {' and '.join(detected.also)} "
                f"(take it with --data {self.name}.layout={detected.also[0]})"
            )
        return detected

    @cached_property
    def root(self) -> Path:
        return self.found.root

    @property
    def layout(self) -> Layout:
        """The layout that was found."""
        return self.found.layout

    @cached_property
    def rules(self) -> layouts.Rules:
        names = [card.name for card in self.category_cards]
        return layouts.Rules(
            name=self.name,
            categories={name: name for name in names} | dict(self.category_aliases),
            single=len(names) == 1,
            normal_folders=self.normal_folders,
            masks=self.level != "image",
            mask_folders=self.mask_folders,
            types=self.anomaly_types,
            partial=self.partial,
        )

    def whole(self) -> list[complete.Counts]:
        return [each[:2] for each in (self.expected, *self.variants.values())]

    def index(self, root: Path) -> list[Sample]:
        if self.variant in self.prepared_variants and self.layout == "raw":
            how = self.prepared_variants[self.variant].how
            raise UsageError(
                f"{self.name}: variant {self.variant} is known only from a prepared copy ({how}), found the download "
                f"in {root}; give the folder of that copy"
            )
        if self.layout == "raw":
            samples = self.read_raw(root)
        else:
            reader = layouts.read_meta_json if self.layout == "meta_json" else layouts.read_mvtec_style
            samples = self.compose(reader(root, self.rules, self.notes))
            self._check_copy(samples)
        if self.images is not None:
            samples = subset.kept(samples, self._listed, self.images, self.name, self.partial, self.notes)
        present = {sample.category for sample in samples if sample.split == self.split}
        lacking = [card.name for card in self.category_cards if card.name not in present]
        more = f" and {len(lacking) - _MOST_NAMED} more" if len(lacking) > _MOST_NAMED else ""
        absent = ", ".join(lacking[:_MOST_NAMED]) + more
        chosen = self.variant in self.listed_variants or self.variant in self.prepared_variants
        if absent and not ((self.partial or chosen) and present):
            raise DatasetError(f"{self.name}: {root} has no {self.split} images of {absent}; {complete.remedy()}")
        if absent and chosen:
            self.notes.append(f"{self.name}: variant {self.variant} tests no images of {absent}")
        elif absent:
            self.notes.append(f"partial: {self.name} is used without {absent}, of which {root} has no images")
        self._compare(samples)
        return samples

    def compose(self, samples: list[Sample]) -> list[Sample]:
        """The samples of the asked variant, given those of a prepared copy, which has been composed already.

        Raises:
            UsageError: a prepared copy does not contain the requested variant, which is not the default.
        """
        as_it_is = (next(iter(self.variants)), *self.listed_variants, *self.prepared_variants)
        if self.variant not in as_it_is:
            raise UsageError(
                f"{self.name}: variant {self.variant} is made from the raw layout, found {self.layout} in {self.root}"
            )
        return samples

    def _check_copy(self, samples: Iterable[Sample]) -> None:
        """Nothing, when a copy whose names tell what it is goes by its own variant: numbers would be called by the name
        of a composition that was not tested.

        Raises:
            UsageError: such a copy under another variant, or another copy under its variant.
        """
        begun = [PurePosixPath(sample.image).name for sample in samples]
        for variant, copy in self.prepared_variants.items():
            theirs = any(name.startswith(copy.names) for name in begun)
            called = f"images are called {' or '.join(f'{begin}…' for begin in copy.names)}"
            if theirs and self.variant != variant:
                raise UsageError(
                    f"{self.name}: {self.root} is the copy of variant {variant} ({called}), asked for {self.variant}; "
                    f"take --data {self.name}.variant={variant}, or give the folder of the download"
                )
            if copy.names and not theirs and self.variant == variant:
                raise UsageError(
                    f"{self.name}: variant {variant} is known only from a prepared copy ({copy.how}), whose {called}; "
                    f"{self.root} has none"
                )

    def _compare(self, samples: Iterable[Sample]) -> None:
        """Notes when the test images are not as many as the card says: published counts differ."""
        labels = [sample.label for sample in samples if sample.split == "test"]
        counted = (labels.count(0), labels.count(1))
        if self.unlabelled:
            if len(labels) != sum(self.expected[:2]):
                self.notes.append(
                    f"{self.name} holds {len(labels)} test images without labels, expected {sum(self.expected[:2])} "
                    f"(evidence {self.expected.evidence})"
                )
        elif self.expected.known and counted != self.expected[:2]:
            self.notes.append(
                f"{self.name} holds {counted[0]} normal and {counted[1]} anomalous test images, expected "
                f"{self.expected.normal} and {self.expected.anomalous} (evidence {self.expected.evidence})"
            )

    def called(self, card: CategoryCard) -> str:
        return {
            "spec": card.prompt_name,
            "raw": card.name,
            "friendly": card.friendly or card.prompt_name,
        }[self.prompt_names]


def holdout25(items: list[T]) -> list[T]:
    """A quarter of the items, rounded up, in the order drawn by numpy's RandomState(42).

    The published recipe of open-set anomaly detection, scikit-learn's train_test_split(test_size=0.25,
    random_state=42); items come in the order that the dataset defines, else sorted by path.
    """
    drawn = np.random.RandomState(42).permutation(len(items))[: ceil(len(items) / 4)]
    return [items[i] for i in drawn]
