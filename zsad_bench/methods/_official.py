"""Released checkpoints: a method declares the form of its own, which is read and checked here, key by key.

    class Mine(ZeroShotMethod[MineConfig]):
        official = MineForm()  # an `OfficialForm`

What a method learned is carried over bit for bit, and the configuration is read off the shapes. `_official_file.py`
opens the files. `import-checkpoint` and `export checkpoint` know methods by their forms alone.

Errors name a key, what was found and what was expected; whoever opened the file puts its name in front.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from zsad_bench.backbones.base import Backbone
from zsad_bench.errors import CheckpointError

Shape = tuple[
    int | str, ...
]  # a name stands for a number: of the backbone (`known_sizes`), else one that the file decides


@dataclass(frozen=True)
class Part:
    """One state dict of a released checkpoint, which has one or several of them, in one file or in several.

    marks: names of which it has at least one; where it lies in a file follows from them.
    wrapper: the dictionary that the released code saves it in. only_wrapped: it is not looked for anywhere else, since
    its own names (`fc.0.weight`) are those of other things, too.
    prefix: what its names get in front, where without it two parts would have a name in common.
    """

    marks: tuple[str, ...]
    wrapper: str = ""
    only_wrapped: bool = False
    prefix: str = ""


@dataclass(frozen=True)
class Key:
    """A released tensor and the parameter of ours that it is; ours "" is none: it is checked, and not used.

    lead: axes of one in front that ours does without. row: which row of our parameter it is, None where it is all of
    it; rows are given in their order. integers: token ids and the like.
    """

    official: str
    ours: str
    shape: Shape
    lead: int = 0
    row: int | None = None
    integers: bool = False


class Method(Protocol):
    """What a form asks of a `ZeroShotMethod`, whose file imports this one."""

    @property
    def config(self) -> Any: ...

    @property
    def backbone(self) -> Backbone: ...

    def resolved_config(self) -> dict[str, Any]: ...

    def own_state(self) -> dict[str, Tensor]: ...


class OfficialForm:
    """What a method's released checkpoints look like. A subclass gives `parts`, `keys`, and what else it needs.

    title: the method's, which is set as the method declares the form.
    settings: of our configuration, so that ours behaves as the released code does.
    infers: fields of our configuration that are named sizes of `keys`.
    ignored: a pattern of whole names that may be in a file and are not read, such as a frozen backbone's.
    writes: whether `write` makes such a file of a method of ours.
    """

    title: str
    parts: ClassVar[tuple[Part, ...]]
    settings: ClassVar[Mapping[str, Any]] = {}
    infers: ClassVar[tuple[str, ...]] = ()
    ignored: ClassVar[str] = ""
    writes: ClassVar[bool] = False

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self.title = owner.title

    # -- what a subclass says -------------------------------------------------------------------------------------
    def keys(self, state: Mapping[str, Tensor], backbone: Backbone) -> Sequence[Key]:
        """All that must be in a file. state: what is in this one, whose numbered keys may be a matter of it."""
        raise NotImplementedError(f"{type(self).__name__} names no keys")

    def shown_by(self, state: Mapping[str, Tensor]) -> str | None:
        """The name of a tensor that shows the state dict to be of this method, and not of one with names in common.

        None: nothing shows it. It is asked for the files of other methods, too, where their `parts` are found.
        """
        marks = (part.prefix + mark for part in self.parts for mark in part.marks)
        return next((mark for mark in marks if mark in state), None)

    def overrides(self, sizes: Mapping[str, int], backbone: Backbone) -> dict[str, Any]:
        """Fields of our configuration that the file decides. sizes: each named size of `keys`."""
        return {name: sizes[name] for name in self.infers}

    def check(self, state: Mapping[str, Tensor], method: Method) -> None:
        """Raises CheckpointError where the file does not fit the method that its sizes make, such as other words."""

    def remarks(self, method: Method) -> list[str]:
        """Lines to be printed about an imported method, such as on a setting that will surprise."""
        return []

    def write(self, method: Method) -> dict[str, Tensor]:
        """The state dict of all parts as the released code reads it; names with the prefixes of the parts.

        Raises:
            CheckpointError: the method has something that the released code has no place for.
        """
        raise NotImplementedError(f"{type(self).__name__} writes nothing")

    def lacks(self, method: Method) -> str:
        """A line on what `write` leaves out; "" where it leaves out nothing."""
        return ""

    # -- and what they all have in common ---------------------------------------------------------------------------
    def read(self, state: Mapping[str, Tensor], backbone: Backbone) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Overrides of the method's configuration, and its parameters as float32.

        state: of all parts. backbone: only its widths and numbers of blocks are read.

        Raises:
            CheckpointError: a key is missing, unexpected, of another shape or type, or not finite.
        """
        keys = self.keys(state, backbone)
        sizes = known_sizes(backbone)
        for key in keys:
            if key.official not in state:
                raise CheckpointError(f"{key.official}: found nothing, expected {shown(key.shape, sizes)}")
            _measure(key, state[key.official], sizes, backbone.name)
        wanted = {key.official for key in keys}
        for name, tensor in state.items():
            if name not in wanted and not re.fullmatch(self.ignored, name):
                raise CheckpointError(f"{name}: found {tuple(tensor.shape)}, expected no such key in {self.title}'s")
        whole: dict[str, Tensor] = {}
        rows: dict[str, list[Tensor]] = {}
        for key in keys:
            tensor = state[key.official][(0,) * key.lead].float()
            if key.ours and key.row is None:
                whole[key.ours] = tensor
            elif key.ours:
                rows.setdefault(key.ours, []).append(tensor)
        overrides = {**self.settings, **self.overrides(sizes, backbone)}
        return overrides, whole | {name: torch.stack(parts) for name, parts in rows.items()}

    def packed(self, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """What `write` gave in the dictionaries that the released code saves it in."""
        content: dict[str, Any] = {}
        for part in self.parts:
            others = [other.prefix for other in self.parts if len(other.prefix) > len(part.prefix)]
            mine = {
                name.removeprefix(part.prefix): tensor
                for name, tensor in state.items()
                if name.startswith(part.prefix) and not name.startswith(tuple(others))
            }
            content |= {part.wrapper: mine} if part.wrapper else mine
        return content


def renamed(keys: Sequence[Key], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The released tensors that parameters of ours are; the way back from `read`."""
    state = {}
    for key in keys:
        if key.ours:
            tensor = tensors[key.ours] if key.row is None else tensors[key.ours][key.row]
            state[key.official] = tensor[(None,) * key.lead].clone()
    return state


def known_sizes(backbone: Backbone) -> dict[str, int]:
    """Sizes that the backbone decides, by the letters that stand for them in a `Shape`.

    V: width of the visual tower; J: of joint features; W: of the text tower; L: its context length.
    """
    sizes = {"V": backbone.vision.width, "J": backbone.vision.joint_width}
    if "text" in backbone.offers:
        sizes |= {"W": backbone.text_tower.width, "L": backbone.text_tower.context_length}
    return sizes


def numbered(state: Mapping[str, Tensor], pattern: str) -> tuple[int, str]:
    """How many numbered keys there should be, and the last one; (0, "") of none.

    pattern: of whole names, with the number as its first group. Counted is up to the largest number, so that one that
    is missing is missed.
    """
    found = [(int(match[1]), name) for name in state if (match := re.fullmatch(pattern, name))]
    last, name = max(found, default=(-1, ""))
    return last + 1, name


def _measure(key: Key, tensor: Tensor, sizes: dict[str, int], backbone: str) -> None:
    """Puts the sizes that this tensor decides into `sizes`; refuses one that contradicts them."""
    expected = shown(key.shape, sizes)
    fits = tensor.ndim == len(key.shape)
    for name, found in zip(key.shape, tensor.shape, strict=False):
        fits = fits and found == (sizes.setdefault(name, found) if isinstance(name, str) else name)
    what = key.official
    if not fits:
        raise CheckpointError(f"{what}: found {shown(tuple(tensor.shape), {})}, expected {expected} on {backbone}")
    if tensor.is_floating_point() == key.integers:
        wanted = "integers" if key.integers else "floating point"
        raise CheckpointError(f"{what}: found {tensor.dtype}, expected {wanted}")
    if not torch.isfinite(tensor).all():
        raise CheckpointError(f"{what}: found values that are not finite, expected finite ones; the file is damaged")


def shown(shape: Shape, sizes: Mapping[str, int]) -> str:
    """A shape as messages write it, with the sizes that are known."""
    parts = [str(sizes.get(part, part)) if isinstance(part, str) else str(part) for part in shape]
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
