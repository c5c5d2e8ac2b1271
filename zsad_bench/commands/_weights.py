"""What the commands on weights have in common: names with tags, and where their files lie on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from zsad_bench import registry
from zsad_bench.backbones.releases import LOADER_CACHE, WeightSource, of_name
from zsad_bench.errors import BackboneError, UnknownNameError

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


class Located(NamedTuple):
    """Where weights lie. how: "package", "cache", "convertible" (another form of them, to be converted), "partly" (a
    file of several is missing) or "no". paths: of the files, [] where there are none."""

    how: str
    paths: list[Path]

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(path.stat().st_size for path in self.paths)


def source_of(asked: str, several: bool = False) -> WeightSource:
    """Where the weights come from that `NAME[@TAG]` means; without a tag they are the family's choice.

    several: whether the first one will do where the family has no choice.

    Raises:
        UnknownNameError: no such backbone or tag. BackboneError: a name whose weights the user gives.
    """
    from zsad_bench.backbones.load import weight_sources

    name, _, tag = asked.partition("@")
    sources = weight_sources(name)
    if not sources:
        raise BackboneError(f"{name} has no published weights; give it a file with --weights PATH")
    tags = [source.tag for source in sources]
    if not tag:
        if len(sources) > 1 and sources[0].tag != "openai" and not several:
            raise UnknownNameError(f"{name} has weights with several tags; name one: {name}@{f', {name}@'.join(tags)}")
        return sources[0]
    if tag not in tags:
        raise UnknownNameError(registry.did_you_mean(f"weights of {name}", tag, tags))
    return sources[tags.index(tag)]


def locate(source: WeightSource) -> Located:
    """Where they lie on this machine; the network is not asked."""
    from zsad_bench.backbones.hub import cached_weights

    if source.packaged is not None:
        return Located("package", [source.packaged])
    cached = [cached_weights(source.hub, names, source.title) for names in source.files] if source.hub else []
    found = [path for path in cached if path is not None]
    if found and len(found) == len(cached):
        return Located("cache", found)
    other = _other_form(source)
    if other is not None:
        return Located("convertible", [other])
    return Located("partly", found) if found else Located("no", [])


def _other_form(source: WeightSource) -> Path | None:
    """The same release as OpenAI's own file, or in transformers' layout."""
    from zsad_bench.backbones.hub import cached_weights

    release = of_name(source.name, source.tag)
    if release is None:
        return None
    archive = LOADER_CACHE.expanduser() / release.file
    if archive.is_file():
        return archive
    if not release.model:
        return None
    return cached_weights(f"{release.model}/", ("model.safetensors", "pytorch_model.bin"), release.title)


def is_path(asked: str) -> bool:
    """Whether a file is meant, and not a name with a tag."""
    return Path(asked).suffix in SUFFIXES or Path(asked).expanduser().is_file()


def size_text(size: int) -> str:
    """Bytes for people: "512 bytes", "3.7 MB", "1.71 GB"."""
    if size >= 10**9:
        return f"{size / 1e9:.2f} GB"
    return f"{size / 1e6:.1f} MB" if size >= 10**5 else f"{size:,} bytes"
