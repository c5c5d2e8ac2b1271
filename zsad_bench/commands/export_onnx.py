"""Write a method's scoring as an ONNX graph, from pixels to score and map, see docs/onnx.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from zsad_bench import registry
from zsad_bench.commands._shared import check_name
from zsad_bench.console import Console
from zsad_bench.errors import UsageError
from zsad_bench.options import Option
from zsad_bench.path_lists import home
from zsad_bench.types import Domain, Kind

if TYPE_CHECKING:
    from zsad_bench.inspection.onnx_export import Exported


@dataclass(frozen=True, kw_only=True)
class Options:
    method: Annotated[str, Option("NAME", "whose scoring to write", names="methods")]
    out: Annotated[str, Option("FILE.onnx", "the file to write", writes="file")]
    checkpoint: Annotated[str | None, Option("FILE.safetensors", "what it learned; for methods that train")] = None
    backbone: Annotated[str | None, Option("NAME", "default: the checkpoint's, else as of `zsad-bench predict`")] = None
    weights: Annotated[str | None, Option("TAG|PATH", "of that backbone; default: those that it goes with")] = None
    name: Annotated[str, Option("TEXT", "what the images show, as prompts call it")] = "object"
    kind: Annotated[Kind, Option(help="of what they show; few methods look at it")] = "object"
    domain: Annotated[Domain, Option(help="of what they show; few methods look at it")] = "industrial"
    set: Annotated[tuple[str, ...], Option("KEY=VALUE", "a field of the configuration", repeated=True)] = ()


def run(options: Options) -> int:
    """Writes the file, and prints what it is and how near onnxruntime comes to torch."""
    from zsad_bench.inspection import onnx_file

    out = home(options.out)
    check_name("method", options.method, registry.names("methods"))
    cls = registry.load("methods", options.method)
    if cls.transductive:  # however it is configured
        raise UsageError(f"{cls.title} cannot be exported as one graph: it scores all images of a category together")
    if out.suffix != ".onnx":
        raise UsageError(f"--out {out}: expected a name that ends in .onnx")
    onnx_file.require(onnx_file.EXPORTERS, "export onnx")

    from zsad_bench.data.images import category_of
    from zsad_bench.inspection.onnx_export import export
    from zsad_bench.inspection.opening import choose_method, load_method
    from zsad_bench.planning.configure import parse_settings

    category = category_of(options.name, options.kind, options.domain)
    checkpoint = None if options.checkpoint is None else home(options.checkpoint)
    settings = parse_settings(options.set)
    choice = choose_method(options.method, checkpoint, options.backbone, options.weights, settings)
    loaded = load_method(choice)
    console = Console()
    if loaded.warning:
        console.warn(loaded.warning)
    _report(export(loaded.method, category, out, loaded.training), console)
    return 0


def _report(done: Exported, console: Console) -> None:
    from importlib.metadata import version

    from zsad_bench.inspection.onnx_file import RUNTIME

    header = done.header
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
