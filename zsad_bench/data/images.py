"""Images of which nothing is known: photos to be scored, by path, as Pillow's pictures or as arrays."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, get_args

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from PIL import Image
from torch.utils.data import Dataset

from zsad_bench.data import decode, loaders, transforms
from zsad_bench.data.transforms import CLIP_MEAN, CLIP_STD
from zsad_bench.data.user_data import readable
from zsad_bench.errors import UsageError, ZsadError
from zsad_bench.path_lists import home
from zsad_bench.registry import did_you_mean
from zsad_bench.types import Category, Domain, ImageBatch, Kind, Normalisation, SampleInfo

Picture: TypeAlias = str | os.PathLike[str] | Image.Image | np.ndarray
DATASET = "images"  # what their category and their ids say they are of


class ReadImage(NamedTuple):
    """array: (3,S,S) uint8. size: height and width of the picture, upright, before the resize."""

    array: np.ndarray
    info: SampleInfo
    size: tuple[int, int]


class Images(LightningDataModule):
    """Images without labels for `Trainer.predict(method, datamodule=…)`, in batches of type `ImageBatch`.

    images: each a path, a picture of Pillow's, or an array (H,W), (H,W,1), (H,W,3) or (H,W,4) of bool, uint8, uint16
    (full range) or floating point (0 to 1). Any size and mode: the rule by which files become RGB (docs/datasets.md)
    holds for all of them, EXIF orientation included, and what it does not cover is refused. One path or one picture may
    stand alone. Each is resized to a square of `image_size`, whatever its shape: bicubic, antialiased.
    name: what the images show, as prompts should call it ("bottle"). kind, domain: of what they show.
    image_size, mean, std: what the method's backbone asks for. workers: None decides by the number of images.

    Raises:
        UsageError: no image, something that is not an image, a folder, or an unknown kind or domain.
        DatasetError: from the loader; an image that cannot be read, one line that says which and why.
    """

    def __init__(
        self,
        images: Picture | Iterable[Picture],
        name: str = "object",
        *,
        kind: Kind = "object",
        domain: Domain = "industrial",
        image_size: int = 518,
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
        batch_size: int = 8,
        workers: int | None = None,
    ) -> None:
        super().__init__()
        self.images = _listed(images)
        self.category = category_of(name, kind, domain)
        self.image_size, self.mean, self.std = image_size, mean, std
        self.batch_size, self.workers = batch_size, workers

    def predict_dataloader(self) -> loaders.ValueLoader:
        """In the order given; with several processes rank r of W reads r, r+W, …"""
        table = ImageList(self.images, self.category, self.image_size)
        workers = loaders.default_workers(len(table)) if self.workers is None else self.workers
        if any(isinstance(image, Image.Image) for image in self.images):
            workers = 0  # pictures read their files when they are needed, and processes would share those
        sampler = loaders.SequentialShard(len(table), *loaders.Ranks.of(self.trainer))
        return loaders.ValueLoader(
            table,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=workers,
            collate_fn=partial(collate, normalisation=Normalisation(tuple(self.mean), tuple(self.std))),
            pin_memory=torch.cuda.is_available(),
        )

    def on_after_batch_transfer(self, batch: ImageBatch, dataloader_idx: int) -> ImageBatch:
        """What a method sees: images normalised where they lie. A Trainer calls it."""
        return batch.normalised()


def category_of(name: str, kind: Kind, domain: Domain) -> Category:
    """What images without labels show.

    Raises:
        UsageError: an unknown kind or domain, or a name that is none in a prompt.
    """
    for what, value, known in (("kind", kind, get_args(Kind)), ("domain", domain, get_args(Domain))):
        if value not in known:
            raise UsageError(did_you_mean(f"{what} of images", str(value), known))
    prompt = readable(name)
    if not prompt:
        raise UsageError(f"name={name!r} is not a name to prompt with; say what the images show: name='bottle'")
    return Category(DATASET, name, prompt, kind, domain)


class ImageList(Dataset):
    """The images as arrays: `images[i]` is a ReadImage. Their ids are the paths, or `images[3]`."""

    def __init__(self, images: Sequence[Picture], category: Category, size: int) -> None:
        self.images, self.category, self.size = images, category, size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> ReadImage:
        source = self.images[index]
        name = str(source) if isinstance(source, str | os.PathLike) else f"images[{index}]"
        if isinstance(source, Image.Image):
            image = decode.from_pil(source, name).image
        elif isinstance(source, np.ndarray):
            image = decode.from_array(source, name).image
        else:
            image = decode.read_image(home(os.fspath(source))).image
        array = transforms.channels_first(transforms.image_pixels(image, self.size))
        return ReadImage(array, SampleInfo(name, self.category), (image.height, image.width))

    def __getitems__(self, indices: Sequence[int]) -> list[ReadImage] | ZsadError:
        try:
            return [self[index] for index in indices]
        except ZsadError as error:  # travels as a value, see `loaders.ValueLoader`
            return error


def collate(items: Sequence[ReadImage] | ZsadError, normalisation: Normalisation) -> ImageBatch | ZsadError:
    """A batch; or the error passed on."""
    if isinstance(items, ZsadError):
        return items
    images = torch.from_numpy(np.stack([item.array for item in items]))
    return ImageBatch(images, [item.info for item in items], [item.size for item in items], normalisation)


def _listed(images: Picture | Iterable[Picture]) -> list[Picture]:
    """The images one by one, each of a kind that can be read."""
    if isinstance(images, str | os.PathLike | Image.Image):
        images = [images]
    elif isinstance(images, np.ndarray | torch.Tensor) and images.ndim < 4:
        raise UsageError(
            f"images is one array of shape {tuple(images.shape)}, which may be one image or several; give a list of "
            "arrays, for one image [image]"
        )
    listed = [_picture(image, number) for number, image in enumerate(images)]
    if not listed:
        raise UsageError("no image given; give a list of paths, pictures or arrays")
    return listed


def _picture(image: Any, number: int) -> Picture:
    if isinstance(image, str | os.PathLike):
        if Path(home(os.fspath(image))).is_dir():
            raise UsageError(f"{image} is a folder; list its images: sorted(Path({str(image)!r}).glob('*.png'))")
        return image
    if isinstance(image, Image.Image | np.ndarray):
        return image
    if isinstance(image, torch.Tensor):
        return (image.float() if image.dtype == torch.bfloat16 else image).detach().cpu().numpy()
    raise UsageError(f"images[{number}] is of type {type(image).__name__}; give a path, a picture or an array")
