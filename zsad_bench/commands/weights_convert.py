"""Write a CLIP of another program's file as safetensors in open_clip's names, once; then `--weights` takes it.

Read are OpenAI's TorchScript archives, files of the transformers library, and state dicts (.pt, .pth, .bin,
.safetensors) under any prefixes. A file that may run code is opened in a locked process of its own, and only after a
question or with --trust.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from zsad_bench.commands._weights import size_text
from zsad_bench.console import Console
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.options import Argument, Option

if TYPE_CHECKING:
    from torch import Tensor

    from zsad_bench.backbones.clip_layouts import Converted
    from zsad_bench.backbones.file_kind import Kind
    from zsad_bench.backbones.releases import Release

_HIDDEN_ACT = {"quick_gelu": "quickgelu", "gelu": "gelu"}  # transformers' names and ours


@dataclass(frozen=True, kw_only=True)
class Options:
    file: Annotated[str, Argument("FILE", "of weights: .pt, .pth, .bin or .safetensors")]
    out: Annotated[str, Option("FILE.safetensors", "the file to write", writes="file")]
    trust: Annotated[bool, Option(help="do not ask before code in the file may run in its locked process")] = False


def run(options: Options) -> int:
    """Writes the file, and prints what was renamed, widened and left out, and which backbones take it.

    Raises:
        BackboneError: the file cannot be read or is not such a CLIP. UsageError: code that nobody trusted, or a wrong
            name of the output.
    """
    from zsad_bench.backbones.clip_layouts import to_open_clip
    from zsad_bench.backbones.file_kind import TITLES, file_kind
    from zsad_bench.backbones.load import fitting_names
    from zsad_bench.backbones.releases import of_hash
    from zsad_bench.backbones.weights import hash_weights

    path, out, console = Path(options.file), Path(options.out), Console()
    _check(path, out)
    kind = file_kind(path)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    release = of_hash(sha256)
    whose = f"the file of {release.title}" if release else "no release that is known here"
    console.print(f"{path.name}: {TITLES[kind]}, {size_text(path.stat().st_size)}, sha256 {sha256}; {whose}")
    if kind == "other":
        raise BackboneError(
            f"{path.name} is not a weight file: expected safetensors, or an archive or pickle of torch, found a file "
            f"that begins with {_start(path)}; download it again"
        )
    loaded = _tensors(path, kind, options.trust, console)
    converted = to_open_clip(loaded, path.name)
    activation, why = _activation(path, converted, loaded, release)
    notes = {
        "format": "pt", "converted_from": path.name, "converted_sha256": sha256, "layout": converted.layout,
        "activation": activation,
    }  # fmt: skip
    _write(out, converted.state, notes)
    names = fitting_names(converted.state, "" if activation == "unknown" else activation)
    for line in _said(converted, activation, why):
        console.print(line)
    console.print(f"{out}: {size_text(out.stat().st_size)}, weights {hash_weights(converted.state)[:12]}")
    if names:
        console.print(f"fits: {', '.join(names)}; --backbone {names[0]} --weights {out}")
    else:
        console.warn(
            "fits no backbone that is known here; put it into a folder with an open_clip_config.json that describes "
            "its own, and give --backbone local-dir:FOLDER"
        )
    return 0


def _check(path: Path, out: Path) -> None:
    if not path.is_file():
        raise BackboneError(f"weights not found: {path}")
    if out.suffix != ".safetensors":
        raise UsageError(f"--out {out}: expected a name that ends in .safetensors")
    if out.resolve() == path.resolve():
        raise UsageError(f"--out {out}: is the file to read; take another name")


def _tensors(path: Path, kind: Kind, trust: bool, console: Console) -> dict[str, Tensor]:
    """What the file holds; nothing of it but safetensors is opened in this process.

    Raises:
        UsageError: it may run code, and nobody said that it is trusted.
    """
    from zsad_bench.backbones.sandbox import AsksForCode, read_sandboxed

    if kind == "safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(path, device="cpu"))
        except (SafetensorError, OSError) as error:
            raise BackboneError(f"{path.name} cannot be read: truncated or corrupt ({error})") from None
    try:
        found = read_sandboxed(path, kind)
    except AsksForCode as error:
        _agree(str(error), trust)
        found = read_sandboxed(path, kind, trusted=True)
    shut = "without network and without writing" if found.locked else "NOT shut off from the network on this system"
    console.print(f"read in a process of its own, {shut}: {len(found.state)} tensors")
    if found.others:
        console.print(f"{found.others} values that are not tensors of numbers were left out")
    return found.state


def _agree(what: str, trust: bool) -> None:
    """Nothing, when --trust was given or a person at a terminal says yes.

    Raises:
        UsageError: nobody did.
    """
    from zsad_bench.backbones.sandboxed_read import can_lock

    if trust:
        return
    lock = (
        "It would run in a process that has no network and writes nothing, and that can read your files."
        if can_lock()
        else "It would run in a process of its own, which this system cannot shut off from the network."
    )
    if not sys.stdin.isatty():
        raise UsageError(f"{what}; if you trust it, add --trust. {lock}")
    console = Console(stderr=True)
    console.print(f"{what}. {lock}")
    console.print("Do you trust this file? Type yes to open it: ", end="")
    try:
        answer = input()
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise UsageError(f"{what}; it was not opened")


def _activation(
    path: Path, converted: Converted, loaded: dict[str, Tensor], release: Release | None
) -> tuple[str, str]:
    """Which GELU the weights were trained with ("unknown" where nothing says it), and how that is known."""
    import torch

    from zsad_bench.backbones.file_kind import safetensors_notes

    if release is not None:
        return release.activation, f"known of {release.title}"
    noted = safetensors_notes(path).get("activation", "")
    if noted in _HIDDEN_ACT.values():
        return noted, "the file's notes say so"
    if converted.layout == "transformers":
        return _configured(path.parent / "config.json")
    if "input_resolution" in converted.left_out:
        return "quickgelu", "only OpenAI's archives carry their input_resolution along"
    kinds = [tensor.dtype for end in ("visual.conv1.weight", "visual.ln_post.weight")
             for name, tensor in loaded.items() if name.endswith(end)]  # fmt: skip
    if kinds == [torch.float16, torch.float32]:
        return "quickgelu", "only OpenAI's files have half-precision matrices beside float32 norms"
    return "unknown", "nothing in the file says which GELU it was trained with"


def _configured(config: Path) -> tuple[str, str]:
    """From the configuration that transformers keeps beside weights."""
    if not config.is_file():
        return "unknown", "there is no config.json beside the file, which would say hidden_act"
    try:
        content: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))
        # transformers leaves out what is its default, and CLIP's is quick_gelu.
        parts = [content.get(part) or {} for part in ("vision_config", "text_config")]
        acts = {str(part.get("hidden_act", "quick_gelu")) for part in parts}
    except (OSError, ValueError, AttributeError) as error:
        raise BackboneError(f"{config} cannot be read ({error}); copy it again, or take it away") from None
    if len(acts) != 1 or not acts <= _HIDDEN_ACT.keys():
        raise BackboneError(
            f"{config}: hidden_act is {' and '.join(sorted(acts))}; expected quick_gelu or gelu, in both alike"
        )
    (act,) = acts
    return _HIDDEN_ACT[act], f"config.json beside the file: hidden_act {act}"


def _said(converted: Converted, activation: str, why: str) -> list[str]:
    """What was done to the tensors, one line each."""
    lines = [f"layout of {converted.layout}: {len(converted.state)} tensors"]
    if converted.layout == "transformers":
        lines.append("renamed; queries, keys and values joined, projections turned")
    if converted.prefix:
        lines.append(f"its names began with '{converted.prefix}'")
    if converted.widened:
        lines.append(f"{converted.widened} tensors of half precision are written as float32, with the same values")
    if converted.left_out:
        lines.append(f"left out, since they are not parameters: {', '.join(converted.left_out)}")
    named = {"quickgelu": "QuickGELU", "gelu": "GELU", "unknown": "not known"}[activation]
    lines.append(f"activation: {named} ({why})")
    return lines


def _write(out: Path, state: dict[str, Tensor], notes: dict[str, str]) -> None:
    from zsad_bench.atomic import whole_file
    from zsad_bench.backbones.sandboxed_read import write

    try:
        with whole_file(out) as file:
            write(state, file, notes)
    except OSError as error:
        raise BackboneError(f"{out}: cannot be written ({error.strerror}); free or unlock its folder") from None


def _start(path: Path) -> str:
    with path.open("rb") as file:
        return repr(file.read(12))
