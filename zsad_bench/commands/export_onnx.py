"""Write a method's scoring as an ONNX graph, from pixels to score and map, see docs/onnx.md."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from zsad_bench import registry
from zsad_bench.commands._shared import check_name
from zsad_bench.errors import UsageError
from zsad_bench.options import Option
from zsad_bench.types import Domain, Kind

if TYPE_CHECKING:
    from zsad_bench.inspection.onnx_export import Exported
    from zsad_bench.methods.base import ZeroShotMethod


@dataclass(frozen=True, kw_only=True)
class Options:
    method: Annotated[str, Option("NAME", "whose scoring to write")]
    out: Annotated[str, Option("FILE.onnx", "the file to write", writes="file")]
    checkpoint: Annotated[str | None, Option("FILE.safetensors", "what it learned; for methods that train")] = None
    backbone: Annotated[str | None, Option("NAME", "default: the checkpoint's, else the paper suite's")] = None
    weights: Annotated[str | None, Option("TAG|PATH", "of that backbone; default: those that it goes with")] = None
    name: Annotated[str, Option("TEXT", "what the images show, as prompts call it")] = "object"
    kind: Annotated[Kind, Option(help="of what they show; few methods look at it")] = "object"
    domain: Annotated[Domain, Option(help="of what they show; few methods look at it")] = "industrial"
    set: Annotated[tuple[str, ...], Option("KEY=VALUE", "a field of the configuration", repeated=True)] = ()


def run(options: Options) -> int:
    """Writes the file, and prints what it is and how near onnxruntime comes to torch."""
    from zsad_bench.inspection import onnx_file

    out = Path(options.out)
    check_name("method", options.method, registry.names("methods"))
    if out.suffix != ".onnx":
        raise UsageError(f"--out {out}: expected a name that ends in .onnx")
    if options.checkpoint and options.set:
        raise UsageError(f"--set {options.set[0]}: a checkpoint brings its configuration; leave out --set")
    onnx_file.require(onnx_file.EXPORTERS, "export onnx")

    from zsad_bench.data.images import category_of
    from zsad_bench.inspection.onnx_export import export

    category = category_of(options.name, options.kind, options.domain)
    method, training = _loaded(options)
    _report(export(method, category, out, training))
    return 0


def _loaded(options: Options) -> tuple[ZeroShotMethod, dict[str, Any]]:
    """The method, and what its checkpoint says that it learned from; {} without a checkpoint."""
    from zsad_bench.backbones.load import load_backbone
    from zsad_bench.planning.configure import build, parse_settings
    from zsad_bench.planning.suite import DEMO, PAPER
    from zsad_bench.runner import checkpoint as checkpoints

    path = None if options.checkpoint is None else Path(options.checkpoint).expanduser()
    settings = parse_settings(options.set)
    name, weights = options.backbone, options.weights
    if name is None and path is not None:
        name = checkpoints.read_header(path).backbone.partition("@")[0]
    if name is None:
        name, usual = PAPER.backbone_for(options.method)
        weights = weights or usual
    backbone = load_backbone(name, weights)
    if path is not None:
        method, header = checkpoints.load(path, backbone, options.method)
        return method, header.training
    demo = DEMO.overrides_for(options.method) if backbone.name == DEMO.backbone else {}
    return build(options.method, backbone, {**demo, **settings}, 0), {}


def _report(done: Exported) -> None:
    from importlib.metadata import version

    from zsad_bench.console import Console
    from zsad_bench.inspection.onnx_file import RUNTIME

    header, console = done.header, Console()
    graph, *beside = done.files
    size = f"{done.size / 1e6:,.1f} MB" + (f", weights in {beside[0].name} beside it" if beside else "")
    console.print(f"{graph}: {header.title} on {header.backbone}, {header.image_size} x {header.image_size} px, {size}")
    of = header.category
    console.print(f"its texts are those of '{of.prompt_name}' ({of.kind}, {of.domain})")
    maps = "it gives no maps" if done.map_error is None else (
        f"maps by at most {done.map_error:.2g} (their largest value: {done.map_largest:.2g})"
    )  # fmt: skip
    console.print(
        f"{RUNTIME} {version(RUNTIME)} against torch: scores differ by at most {done.score_error:.2g}, {maps}"
    )
    licence = header.licence
    known = f"weights under {licence}" if licence != "unknown" else (
        "the licence of these weights is not known here; ask their publisher before you pass the file on"
    )  # fmt: skip
    console.print(known)
