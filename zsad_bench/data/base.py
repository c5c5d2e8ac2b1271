"""A dataset is a table of samples: a card, `index(root)`, and nothing else; the rest is here.

A file of `data/datasets/` is its registration; see `elpv.py` for an example. It states the card as class attributes
(`title` on exactly one class per file), the categories with the names that prompts use, and how many images to expect.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, get_args

from lightning.pytorch import LightningDataModule

from zsad_bench.data import augment as augmentation
from zsad_bench.data import complete, condition_names, corruptions, loaders, locations, unused
from zsad_bench.data.content import index_of
from zsad_bench.data.fetch import Download
from zsad_bench.data.image_cache import ImageCache, SharedImages
from zsad_bench.data.mosaic import Mosaics
from zsad_bench.data.pixels import PIXEL_RULE
from zsad_bench.data.synthetic import Painter
from zsad_bench.data.transforms import CLIP_MEAN, CLIP_STD
from zsad_bench.errors import DatasetError, UsageError
from zsad_bench.path_lists import home
from zsad_bench.printable import is_utf8, printable
from zsad_bench.prompts import wordings
from zsad_bench.registry import did_you_mean
from zsad_bench.types import Batch, Category, Domain, Kind, Level, Sample, SampleInfo

OnBadImage = Literal["stop", "skip"]


@dataclass(frozen=True)
class CategoryCard:
    """A category as its dataset's card states it; name: as in the files, prompt_name: what prompts call it.

    domain: None is the dataset's own. friendly: what a person would call it where prompts by convention say less
    (BTAD's "object"); None is the prompt name.
    """

    name: str
    prompt_name: str
    kind: Kind
    domain: Domain | None = None
    friendly: str | None = None


class Expected(NamedTuple):
    """Test images the complete dataset holds. evidence: V verified on files, S stated, I inferred, R recalled.

    0 and 0: nothing is known of how many there are of each label, so that nothing is compared with it.
    """

    normal: int
    anomalous: int
    evidence: str

    @property
    def known(self) -> bool:
        """Whether there are counts to compare with."""
        return self.normal > 0 or self.anomalous > 0

    @property
    def shown(self) -> tuple[str, str]:
        """Both counts as tables print them."""
        return (str(self.normal), str(self.anomalous)) if self.known else ("–", "–")


class ZeroShotDataModule(LightningDataModule):
    """Loaders, masks, hashes and errors for one dataset; a subclass brings the card and `index`.

    A Trainer takes it as `datamodule=`, in one process or several: the samplers share the images out by rank, and a
    Trainer's own `use_distributed_sampler` changes nothing.

    root: the dataset's own folder; None looks under ZSAD_DATA for one of `root_names`, then for a packaged copy.
    image_size, mean, std: what the backbone asks for; attributes, read when a loader is made, as are batch_size and
    workers (None decides by the number of images).
    mosaic: which share of the training images mosaics of four replace, by the dataset's name or "*" (`data/mosaic.py`);
    an attribute, which a method sets as its training begins.
    samples: the part of the table to use (a prior's selection); None is every sample of `split`.
    shuffle_seed: of the training order and of augmentation. augment: names of `data/augment.py`, for training alone.
    cache_images: keep resized images on disk (`data/image_cache.py` says how large). on_bad_image: an image or mask
    that cannot be read stops the run, or is skipped and counted by the loader. partial: what is missing of a copy is
    left out with a note, and rows say how much it is (`shortfall`), instead of being an error.
    condition: of a robustness test (`conditions.py`): test images are corrupted, or categories called by other words,
    and those that a wording has no word for are left out with a note. Never trained on.
    synthetic: a draw: the table is the dataset's normal images, those of the train split where a category has any, and
    as many with generated anomalies (`data/synthetic.py`); every anomalous one then has a mask. For priors alone.

    Raises (from `root`, `samples()` and the loaders):
        DatasetError: not found, empty, incomplete or unreadable; one line naming the folder or file.
    """

    # Of the card. What stands without ClassVar is not the same of all: own data and variants say it themselves.
    name: str  # the registry name: that of the file, or of the entry point that names it
    title: str
    domain: Domain
    level: Level
    category_cards: tuple[CategoryCard, ...]
    expected: Expected
    licence: ClassVar[str]
    redistribute: ClassVar[bool]
    url: ClassVar[str]
    citation: ClassVar[str]
    images_are: ClassVar[str] = ""  # "Real photographs", if all of them are; begins a note under its tables
    root_names: ClassVar[tuple[str, ...]] = ()
    how_to_get: ClassVar[str] = ""
    downloads: ClassVar[tuple[Download, ...]] = ()  # direct links, where the licence and the publisher allow them
    ask_consent: ClassVar[bool] = False  # the licence restricts use: `data fetch` wants it accepted
    mask_threshold: int | None = 0  # grey values above it are anomalous; None is 0, and 127 where a mask is lossy
    strict_mask_size: bool = False  # a mask of another size than its image is an error, not resized and counted
    allow_missing_masks: bool = False  # an anomalous image without a mask then counts as normal in every pixel
    unlabelled: str = ""  # why the labels of the samples in use are unknown; no metric is defined then, for this reason
    further_metrics: ClassVar[tuple[str, ...]] = ()  # of `metric_keys`, which its authors define and no other run has
    unverified: ClassVar[str] = ""  # what of its reading nobody has tried on the files themselves

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in vars(cls):
            cls.name = cls.__module__.rpartition(".")[2]

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        image_size: int = 518,  # of the published evaluations
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
        batch_size: int = 8,  # as in the released AnomalyCLIP code
        workers: int | None = None,
        split: Literal["train", "test"] = "test",
        samples: Sequence[Sample] | None = None,
        shuffle_seed: int = 0,
        augment: Sequence[str] = (),
        cache_images: bool = False,
        on_bad_image: OnBadImage = "stop",
        partial: bool = False,
        condition: str = "",
        synthetic: int | None = None,
    ) -> None:
        super().__init__()
        self._asked_root = None if root is None else home(root).resolve()
        self.image_size, self.mean, self.std = image_size, tuple(mean), tuple(std)
        self.batch_size, self.workers = batch_size, workers
        self.split, self._given, self.shuffle_seed = split, samples, shuffle_seed
        if on_bad_image not in get_args(OnBadImage):
            raise UsageError(did_you_mean("on_bad_image", str(on_bad_image), get_args(OnBadImage)))
        self.augment, self.cache_images, self.on_bad_image = augmentation.check(augment), cache_images, on_bad_image
        self.partial = partial
        self.condition = condition_names.checked(condition) if condition else None
        self.painter = None if synthetic is None else Painter(synthetic)
        self.mosaic: Mapping[str, float] = {}
        self._kept: dict[tuple[int, str], loaders.Arrays] = {}
        self.notes: list[str] = []  # what reading the files showed that a user should know, one line each
        self.unused = unused.Unused()  # images of no sample, known once the table is

    # What a subclass writes.

    def index(self, root: Path) -> list[Sample]:
        """Every sample under `root`, in any order, paths relative to it.

        Raises:
            DatasetLayoutError: the folder is not this dataset; says what was looked for and what was found.
        """
        raise NotImplementedError(f"{type(self).__name__} has no index(root)")

    @classmethod
    def packaged(cls) -> Path | None:
        """Where the dataset lies without the user having put it there (an installed package); None when it does not."""
        return None

    @classmethod
    def layout_root(cls, found: Path) -> Path:
        """The folder that sample paths are relative to, given the one that was found (archives nest)."""
        return found

    def locate(self) -> Path | None:
        """The folder to read by default; None when no folder was found. Further folders are listed in `notes`."""
        found, *others = self.places() or (None,)
        if also := ", ".join(str(place) for place in others if place != self.packaged()):
            self.notes.append(f"{found} is read as {self.name}; there is also {also} (--data {self.name}.root=FOLDER)")
        return found

    def folders_of_images(self, samples: Sequence[Sample]) -> Iterable[str] | None:
        """The folders below the root in which images that no sample uses are reported; None: all."""
        return None

    def decisions(self) -> dict[str, str]:
        """Options that change what is seen and are not at their default; part of the hash and of the rows."""
        under: dict[str, str] = {self.condition.kind: self.condition.value} if self.condition else {}
        under |= {"synthetic": self.painter.rule} if self.painter else {}
        return {"augment": ",".join(self.augment), **under} if self.augment else {**under}

    @classmethod
    def redrawn(cls, draw: int) -> dict[str, int]:
        """The options that make draw `draw` of auxiliary data; real data has only one."""
        return {}

    # The table.

    @classmethod
    def available(cls) -> Path | None:
        """The folder the dataset would be read from, or None: `how_to_get` then says where it comes from."""
        return next(iter(cls.places()), None)

    @classmethod
    def places(cls) -> list[Path]:
        """Every folder that it could be read from, the one that is taken first."""
        packaged = cls.packaged()
        return locations.find_all(*cls.root_names, cls.name, cls.title) + ([packaged] if packaged else [])

    @cached_property
    def root(self) -> Path:
        """The folder that sample paths are relative to."""
        return self.layout_root(self._folder)

    @cached_property
    def _folder(self) -> Path:
        """The folder that was given or found."""
        found = self._asked_root or self.locate()
        if found is None:
            places = ", ".join(dict.fromkeys((*self.root_names, self.name)))
            where = locations.data_root() or "ZSAD_DATA (which is not set)"
            asked = f"no folder called like {places} under {where}"
            raise DatasetError(f"{self.name}: {asked}; {self.how_to_get or f'see {self.url}'}")
        if not found.is_dir():
            raise DatasetError(f"{self.name}: {found} is not a folder; give the folder that holds the dataset")
        return found

    def samples(self) -> list[Sample]:
        """The samples in use, by category in the card's order, then by path in byte order."""
        return list(self._table)

    def categories(self) -> list[Category]:
        """The categories that the samples in use belong to, in the card's order."""
        return [category for category in self._category_of.values() if category in self._counts]

    def image_counts(self) -> Counter[Category]:
        """How many of the samples in use are of each category."""
        return self._counts.copy()

    def info(self, sample: Sample) -> SampleInfo:
        """What a method may know of a sample; the id is `dataset/path`, with the crop where there is one."""
        return SampleInfo(f"{self.name}/{sample.id}", self._category_of[sample.category])

    @property
    def has_masks(self) -> bool:
        """Whether its anomalous images have masks: of files, or of the defects that are generated."""
        return self.level != "image" or self.painter is not None

    @cached_property
    def groups(self) -> dict[str, int]:
        """Image id, as in `info`, -> number of the object that it shows; {} where each image is one of its own.

        Equal numbers are views of one object. Objects are numbered by category and name, so that ranks agree.
        """
        objects = sorted({(sample.category, sample.group) for sample in self._table if sample.group})
        number = {place: at for at, place in enumerate(objects)}
        return {self.info(s).id: number[s.category, s.group] for s in self._table if s.group}

    def whole(self) -> list[complete.Counts]:
        """The counts of test images, normal and anomalous, that a complete copy may have; first those asked for."""
        return [self.expected[:2]]

    @cached_property
    def shortfall(self) -> str:
        """How much of the dataset is there, "36 of 3000"; "" when it is complete. Of a table that is not restricted.

        Only test images have published counts: of another split it is "".
        """
        if self.split != "test":
            return ""
        if self.unlabelled:  # only how many there are is seen
            return complete.shortfall((len(self._read_table), 0), [(sum(self.expected[:2]), 0)])
        table = self._read_table if self.painter is None else self._rows_of(self._indexed, "test")
        return complete.shortfall(complete.counts(table), self.whole())

    def manifest(self) -> list[str]:
        """One sorted line per sample: image, masks, label, category, type, and the fingerprints of its files."""
        of = self.fingerprints(dict.fromkeys(path for s in self._table for path in (s.image, *s.masks)))
        return sorted(
            "|".join(
                [s.id, "+".join(s.masks), str(s.label), s.category, s.anomaly_type]
                + ([f"view of {s.group}"] if s.group else [])
                + [of[path] for path in (s.image, *s.masks)]
            )
            for s in self._table
        )

    def fingerprints(self, paths: Iterable[str]) -> dict[str, str]:
        """The manifest's entry for each file's content: its sha256, cached until the file changes."""
        return index_of(self.root).digests(paths)

    @cached_property
    def manifest_hash(self) -> str:
        """sha256, hex, of the manifest, the decisions and the rule by which files become pixels.

        It changes when a sample or a label does, or one byte of an image or mask, and not with where they lie.
        """
        lines = [f"pixel rule {PIXEL_RULE}", *self.manifest()]
        lines += [f"{key}={value}" for key, value in sorted(self.decisions().items())]
        if self.corruptor is not None:
            lines.append(f"corruption rule {corruptions.RULE}")
        lines += [f"{name} is called {noun}" for name, noun in sorted(self._reworded.items())]
        return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()

    # Loaders.

    def prepare_data(self) -> None:
        """Finds the files, or generates them; a Trainer lets one process of a machine do it before the others look."""
        _ = self.root

    def setup(self, stage: str | None = None) -> None:
        """Reads and checks the table, whatever the stage."""
        _ = self._table

    def table(self, augment: bool = False) -> loaders.ImageTable:
        """The samples in use as arrays, by position; augmented and with mosaics as asked for when `augment`."""
        mosaic = self.mosaic.get(self.name, self.mosaic.get("*", 0.0)) if augment else 0.0
        return loaders.ImageTable(
            self.name, self.root, self._table, self._category_of, self.image_size, self.mean, self.std,
            self.has_masks, self.mask_threshold, self.strict_mask_size,
            skip_bad=self.on_bad_image == "skip",
            augment=augmentation.build(self.augment, self.shuffle_seed) if augment and self.augment else None,
            cache=ImageCache(locations.cache_root() / "images") if self.cache_images else SharedImages.of_environment(),
            mosaics=Mosaics(self._table, mosaic, self.shuffle_seed) if mosaic else None,
            kept=self._kept if augment else None,  # a test reads each image once
            corrupt=self.corruptor,
            painter=self.painter,
        )  # fmt: skip

    def train_dataloader(self) -> loaders.BatchLoader:
        """Augmented if asked for, shuffled by `shuffle_seed`, the last batch kept however small.

        `batch_size` is that of a step, all processes of the Trainer together.

        Raises:
            UsageError: those processes cannot share it evenly, or a condition, which is for tests alone.
        """
        if self.condition is not None:
            raise UsageError(f"{self.name} under {self.condition}: a condition is for tests; train without it")
        ranks = loaders.Ranks.of(self.trainer)
        return loaders.training_loader(
            self.table(augment=True), self.batch_size, self.shuffle_seed, self.workers, ranks
        )

    def test_dataloader(self) -> loaders.BatchLoader:
        """In the order of `samples()`: grouped by category, nothing repeated; rank r of W reads r, r+W, …"""
        return loaders.test_loader(self.table(), self.batch_size, self.workers, loaders.Ranks.of(self.trainer))

    def predict_dataloader(self) -> loaders.BatchLoader:
        """The same batches as `test_dataloader`; `Trainer.predict` looks at no label."""
        return self.test_dataloader()

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """What a method sees: images normalised where they lie. A Trainer calls it."""
        return batch.normalised()

    def called(self, card: CategoryCard) -> str:
        """What prompts call a category, under no condition."""
        return card.prompt_name

    @cached_property
    def _category_of(self) -> dict[str, Category]:
        return {
            c.name: Category(
                self.name, c.name, self._reworded.get(c.name, self.called(c)), c.kind, c.domain or self.domain
            )
            for c in self.category_cards
        }

    @property
    def corruptor(self) -> corruptions.Corruptor | None:
        """What corrupts its test images; None where no condition does."""
        if self.condition is None or self.condition.kind != "corruption":
            return None
        return corruptions.Corruptor(self.condition)

    @cached_property
    def _reworded(self) -> dict[str, str]:
        """Category -> what the condition calls it, of those that it has another word for; {} where it is no wording."""
        if self.condition is None or self.condition.kind != "wording":
            return {}
        nouns = {card.name: wordings.noun_in(self.condition.name, self.called(card)) for card in self.category_cards}
        return {name: noun for name, noun in nouns.items() if noun is not None}

    @property
    def unworded(self) -> tuple[str, ...]:
        """The categories that the condition is a wording without a word for, in the card's order."""
        if self.condition is None or self.condition.kind != "wording":
            return ()
        return tuple(card.name for card in self.category_cards if card.name not in self._reworded)

    @cached_property
    def _counts(self) -> Counter[Category]:
        return Counter(self._category_of[sample.category] for sample in self._table)

    @cached_property
    def _table(self) -> list[Sample]:
        rows = self._read_table
        if self.unworded:
            rows = [sample for sample in rows if sample.category in self._reworded]
            without = ", ".join(f"{name} ({self._category_of[name].prompt_name})" for name in self.unworded)
            if not rows:
                raise DatasetError(
                    f"{self.name} under {self.condition}: there is no other word for {without}; leave this wording out"
                )
            self.notes.append(
                f"{self.name} under {self.condition}: {len(self.unworded)} of {len(self.category_cards)} categories "
                f"are left out, as there is no other word for them: {without}"
            )
        position = {name: i for i, name in enumerate(self._category_of)}
        return sorted(rows, key=lambda s: (position[s.category], os.fsencode(s.image), s.crop or (), s.label))

    @cached_property
    def _read_table(self) -> list[Sample]:
        if self._given is not None:
            rows = list(self._given)
        elif self.painter is not None:
            rows = self.painter.table(self._normals())
        else:
            rows = self._rows_of(self._indexed, self.split)
        if not rows:
            raise DatasetError(
                f"{self.name}: no {self.split} images in {self.root}; {self.how_to_get or 'fetch it again'}"
            )
        self._check(rows)
        return rows

    @cached_property
    def _indexed(self) -> list[Sample]:
        """Every sample of every split."""
        indexed = self.index(self.root)
        used = {path for sample in indexed for path in (sample.image, *sample.masks)}
        self.unused = unused.find(self.root, used, self.folders_of_images(indexed))
        self.notes += self.unused.lines(self.root).values()
        return indexed

    def _rows_of(self, samples: Iterable[Sample], split: str) -> list[Sample]:
        """The samples of a split; of a copy used as it is, those whose files are there."""
        rows = [sample for sample in samples if sample.split == split]
        if self.partial:
            needs_mask = self.has_masks and not self.allow_missing_masks
            rows = complete.without_absent(rows, lambda path: (self.root / path).is_file(), needs_mask, self.notes)
        return rows

    def _normals(self) -> list[Sample]:
        """The normal images that defects are painted on: of a category's train split, else of its test split.

        Raises:
            DatasetError: there is none.
        """
        normal = [sample for sample in self._indexed if sample.label == 0]
        by_split = {split: self._rows_of(normal, split) for split in ("train", "test")}
        trained = {sample.category for sample in by_split["train"]}
        rows = [*by_split["train"], *(sample for sample in by_split["test"] if sample.category not in trained)]
        if not rows:
            raise DatasetError(
                f"{self.name}: {self.root} has no normal image to generate anomalies on; take a dataset that has some"
            )
        of_train = sum(sample.split == "train" for sample in rows)
        splits = [f"{count} of its {split} split" for split, count in
                  (("train", of_train), ("test", len(rows) - of_train)) if count]  # fmt: skip
        self.notes.append(f"{self.name}: anomalies are generated on its normal images, {' and '.join(splits)}")
        return rows

    def _check_names(self, rows: Sequence[Sample]) -> None:
        """Told here, since rows, scores and pages are UTF-8 and are written last."""
        names = (name for s in rows for name in (s.image, *s.masks, s.category, s.anomaly_type, s.group))
        if odd := [name for name in dict.fromkeys((self.name, *names)) if not is_utf8(name)]:
            more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
            name, where = printable(self.name), printable(str(self.root))
            raise DatasetError(
                f"{name}: the name {printable(odd[0])}{more} in {where} is not UTF-8, and results could not say it; "
                "rename it (`convmv -r -f ENCODING -t utf-8 --notest FOLDER`)"
            )

    def _check(self, rows: Sequence[Sample]) -> None:
        self._check_names(rows)
        seen: set[str] = set()
        for sample in rows:
            if sample.category not in self._category_of:
                known = ", ".join(self._category_of)
                raise DatasetError(f"{self.name}: {sample.image} is of category '{sample.category}'; known: {known}")
            if sample.id in seen:
                raise DatasetError(f"{self.name}: {sample.id} is listed twice; keep one of its lines")
            if bool(sample.group) != bool(rows[0].group):
                one, other = (rows[0], sample) if sample.group else (sample, rows[0])
                raise DatasetError(
                    f"{self.name}: {other.image} is a view of {other.group}, and of {one.image} nothing says which "
                    "object it shows; state it for every image or for none"
                )
            bare = sample.label == 1 and not sample.masks and not sample.generated
            if self.has_masks and bare and not self.allow_missing_masks:
                raise DatasetError(
                    f"{self.name}: {self.root / sample.image} is anomalous and has no mask; restore the mask, or leave "
                    "such images out with --partial"
                )
            seen.add(sample.id)
        files = dict.fromkeys(path for s in rows for path in (s.image, *s.masks))
        missing = [path for path in files if not (self.root / path).is_file()]
        if missing:
            more = f" and {len(missing) - 1} more files" if len(missing) > 1 else ""
            raise DatasetError(
                f"{self.name}: {self.root / missing[0]}{more} missing; {self.how_to_get or 'fetch it again'}, or take "
                "what is there with --partial"
            )
