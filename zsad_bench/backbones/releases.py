"""Weights that others have published and that are known here: their files, hashes, activation and licence.

Hashes are facts from the publisher: OpenAI's own links to these files carry the sha256 of each, and so do the records
of open_clip, against which a test compares them. `WeightSource` says where the weights of a name come from.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from zsad_bench.types import Activation


class Release(NamedTuple):
    """A file as it was published. name, tag: what loads these weights here. model: the same weights in transformers'
    layout, on the model hub, "" where there are none. sha256: of the file, or the first digits of it that are known.
    parameters: how many numbers these weights are."""

    title: str
    file: str
    name: str
    tag: str
    model: str
    sha256: str
    activation: Activation
    parameters: int
    licence: str
    source: str


_LINK = "the sha256 is part of OpenAI's link to the file"
_MIT = "MIT"
RELEASES = (
    Release(
        "OpenAI CLIP ViT-L/14@336px", "ViT-L-14-336px.pt", "ViT-L-14-336-quickgelu", "openai",
        "openai/clip-vit-large-patch14-336", "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
        "quickgelu", 427_944_193, _MIT, _LINK,
    ),
    Release(
        "OpenAI CLIP ViT-L/14", "ViT-L-14.pt", "ViT-L-14-quickgelu", "openai", "openai/clip-vit-large-patch14",
        "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836", "quickgelu", 427_616_513, _MIT, _LINK,
    ),
    Release(
        "OpenAI CLIP ViT-B/16", "ViT-B-16.pt", "ViT-B-16-quickgelu", "openai", "openai/clip-vit-base-patch16",
        "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f", "quickgelu", 149_620_737, _MIT, _LINK,
    ),
    Release(
        "OpenAI CLIP ViT-B/32", "ViT-B-32.pt", "ViT-B-32-quickgelu", "openai", "openai/clip-vit-base-patch32",
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af", "quickgelu", 151_277_313, _MIT, _LINK,
    ),
    Release(
        "LAION-400M ViT-B/16+ at 240 px", "vit_b_16_plus_240-laion400m_e31-8fb26589.pt", "ViT-B-16-plus-240",
        "laion400m_e31", "", "8fb26589", "gelu", 208_377_345, "", "its first digits are part of the file's name",
    ),
)  # fmt: skip
# Where OpenAI's own loader, and open_clip's for a plain link, keep what they downloaded.
LOADER_CACHE = Path("~/.cache/clip")


class WeightSource(NamedTuple):
    """Where weights of a name come from.

    tag: "" where the name has only one. hub: "owner/model/" or "owner/model/file", "" where the hub has none.
    files: of each file that is needed, the names it may have, the preferred one first. licence: "" where it is not
    recorded here. packaged: the file, of weights that come with the package. parameters: how many numbers they are, 0
    where that is not recorded.
    """

    name: str
    tag: str = ""
    hub: str = ""
    files: tuple[tuple[str, ...], ...] = ()
    licence: str = ""
    packaged: Path | None = None
    parameters: int = 0

    @property
    def title(self) -> str:
        return f"{self.name}@{self.tag}" if self.tag else self.name


def of_hash(sha256: str) -> Release | None:
    """The release with this file; sha256: in full, as hex digits."""
    return next((release for release in RELEASES if sha256.startswith(release.sha256)), None)


def of_file(name: str) -> Release | None:
    """The release whose file is called so; that says nothing of its content."""
    return next((release for release in RELEASES if release.file == name), None)


def of_name(name: str, tag: str) -> Release | None:
    """The release with the weights of a name and tag."""
    return next((release for release in RELEASES if (release.name, release.tag) == (name, tag)), None)


def licence_of(tag: str) -> str:
    """The licence of open_clip's weights with this tag; "" where it is not recorded here: their page on the hub has
    it."""
    return _MIT if tag == "openai" else ""
