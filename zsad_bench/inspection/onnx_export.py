"""A method's scoring as one ONNX graph: from pixels to score and map, with the texts as constants.

The method runs once under `torch.export`, with a batch of any size. Everything that no image reaches (texts, resized
positions, the keys of descriptions, Gaussian matrices) is computed here by torch and put into the graph as a value, so
that a runtime computes nothing that torch would compute otherwise. Before the file takes its place, onnxruntime scores
images that the export has not seen, and both answers are compared.
"""

from __future__ import annotations

import hashlib
import json
import logging
import operator
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from zsad_bench.atomic import whole_file
from zsad_bench.errors import OnnxError, UsageError
from zsad_bench.inspection import onnx_file
from zsad_bench.inspection.onnx_file import IMAGES, MAP, SCORE, Header
from zsad_bench.inspection.onnx_scorer import OnnxScorer
from zsad_bench.inspection.scorer import identity
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.runner.provenance import package_version
from zsad_bench.types import Category, ImageBatch, Normalisation, Prediction, SampleInfo, normalised

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # of terminals, in messages of the exporter
OPSET = 18  # what any onnxruntime from 1.14 on reads
TOLERANCE = 1e-4  # between torch and onnxruntime: of scores, and of maps in units of their largest value if above one
IN_ONE_FILE = 1_900_000_000  # bytes of weights; protobuf ends at 2 GiB, of which the graph needs some


class Exported(NamedTuple):
    """What was written, and how near onnxruntime came to torch on images that the export had not seen.

    files: the graph, and the weights beside it where there are too many for one file. size: bytes of all.
    score_error, map_error: the largest absolute differences; map_error is None without maps. map_largest: the largest
    absolute value of those maps, 0 without.
    """

    header: Header
    files: tuple[Path, ...]
    size: int
    score_error: float
    map_error: float | None
    map_largest: float


class ScoringGraph(nn.Module):
    """Images (B,3,S,S) uint8, RGB, to `score` (B,) and, of a method with maps, `map` (B,S,S): what is exported.

    A method sees one sample that stands for all images: they are of one category, and nothing else about them is known.
    """

    def __init__(self, method: ZeroShotMethod, category: Category) -> None:
        super().__init__()
        self.method = method
        self.sample = SampleInfo("", category)
        self.normalisation = Normalisation(tuple(method.backbone.mean), tuple(method.backbone.std))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.method.encode(normalised(images, self.normalisation), [self.sample])
        found = self.method.score(features, [self.sample])
        count = images.shape[0]  # what does not depend on images is there once
        score = found.score.expand(count)
        return (score,) if found.map is None else (score, found.map.expand(count, -1, -1))


def check_exportable(method: ZeroShotMethod) -> None:
    """Nothing, where a method can be exported as it is.

    Raises:
        OnnxError: its scores are no graph of an image. UsageError: it has learned nothing, or is not in float32 on the
            CPU.
    """
    if why := method.not_exportable:
        raise UsageError(f"{method.title} cannot be exported as one graph: {why}")
    if method.trains(method.config) and not method.is_trained:
        raise UsageError(
            f"{method.title} learns from auxiliary data and has learned nothing yet; give what it learned with "
            "--checkpoint FILE.safetensors"
        )
    backbone = method.backbone
    if backbone.precision != "float32" or backbone.compiled != "no" or backbone.device.type != "cpu":
        raise UsageError(
            f"{method.title} is exported from a plain float32 backbone on the CPU; found precision "
            f"{backbone.precision}, compile {backbone.compiled}, on {backbone.device.type}"
        )


def export(
    method: ZeroShotMethod,
    category: Category,
    path: Path,
    training: Mapping[str, Any] | None = None,
    in_one_file: int = IN_ONE_FILE,
) -> Exported:
    """Writes the graph of a method for images of a category; the file appears whole and checked, or not at all.

    training: what its checkpoint says it learned from. in_one_file: bytes of weights above which they go into a file
    of their own beside `path`.

    Raises:
        OnnxError: packages are missing, the scores are no graph of an image, an operation cannot be written as ONNX,
            or onnxruntime does not come to torch's numbers. UsageError: as `check_exportable`.
    """
    onnx_file.require(onnx_file.EXPORTERS, "export onnx")
    check_exportable(method)
    graph = ScoringGraph(method, category).eval()
    images = check_images(method.config.image_size)
    with torch.no_grad():
        try:
            expected = predicted(method, images, category)  # and texts are kept, so that the graph has them as values
            program = _program(graph, images[:2], with_maps=expected.map is not None)
        finally:
            method.clear_text_cache()
    header = header_of(method, category, training or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name[:20]}.", dir=path.parent))
    try:
        header, names = _write(program.model, header, folder / path.name, in_one_file)
        compared = _compared(folder / path.name, images, expected)
        size = sum((folder / name).stat().st_size for name in names)
        for name in names:  # the graph comes last: whoever opens it finds its weights
            (folder / name).replace(path.parent / name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for old in onnx_file.old_data(path):
        if old.name not in names:
            old.unlink()
    return Exported(header, tuple(path.parent / name for name in reversed(names)), size, *compared)


def header_of(method: ZeroShotMethod, category: Category, training: Mapping[str, Any]) -> Header:
    """What the file will say of itself."""
    backbone, config = method.backbone, method.resolved_config()
    return Header(
        method=method.registry_name(),
        title=method.title,
        version=method.version,
        config=json.loads(json.dumps(config)),
        backbone=backbone.id,
        weights_hash=backbone.weights_hash,
        licence=backbone.licence or "unknown",
        training=dict(training),
        # A graph's numbers are not the method's to the last digit, so it has an identity of its own.
        identity=identity(method, onnx_file.FORMAT, asdict(category)),
        image_size=method.config.image_size,
        normalisation=Normalisation(tuple(backbone.mean), tuple(backbone.std)),
        category=category,
        opset=OPSET,
        package=package_version(),
        torch=torch.__version__,
    )


def check_images(size: int) -> Tensor:
    """(3,3,S,S) uint8: noise, a slope of colours with a dark square, and faint noise on grey; the same each time."""
    generator = torch.Generator().manual_seed(0)
    noise, faint = torch.rand(2, 3, size, size, generator=generator)
    slope = torch.linspace(0, 1, size).expand(3, size, size).clone()
    slope[1] = slope[0].mT
    slope[:, size // 3 : size // 2, size // 4 : size // 2] = 0.05
    return (torch.stack([noise, slope, 0.45 + faint / 10]) * 255).to(torch.uint8)


def predicted(method: ZeroShotMethod, images: Tensor, category: Category) -> Prediction:
    """What the method itself says of images (B,3,S,S) uint8, as in any run."""
    samples = [SampleInfo(f"images[{i}]", category) for i in range(len(images))]
    by = Normalisation(tuple(method.backbone.mean), tuple(method.backbone.std))
    found = method.predict_step(ImageBatch(images, samples, _sizes(images), by))
    method.pending.finish()
    return found


# --- the graph --------------------------------------------------------------------------------------------------------


def _program(graph: ScoringGraph, images: Tensor, with_maps: bool) -> Any:
    """The graph as torch's exporter gives it, for batches of any size."""
    batch = {0: torch.export.Dim("batch")}
    try:
        with _quiet():
            traced = torch.export.export(graph, (images,), dynamic_shapes={"images": batch}, strict=False)
            return torch.onnx.export(
                folded(traced.run_decompositions({}).module()), (images,), dynamo=True,
                dynamic_shapes={"images": batch}, input_names=[IMAGES],
                output_names=[SCORE, MAP] if with_maps else [SCORE], opset_version=OPSET, verbose=False,
            )  # fmt: skip
    except Exception as error:  # what an exporter cannot take has no class of its own
        root: BaseException = error
        while root.__cause__ is not None:  # the exporter's own message is general; what it was raised from names it
            root = root.__cause__
        first = " ".join(_COLOUR.sub("", str(root)).split("\n\n")[0].split())[:300]
        title = graph.method.title
        raise OnnxError(f"{title} cannot be written as ONNX: {type(root).__name__}: {first}") from error


def folded(module: fx.GraphModule) -> fx.GraphModule:
    """The graph with the value of everything that no image reaches in its place, as torch computes it."""
    graph, known = module.graph, dict[fx.Node, Any]()
    for node in graph.nodes:
        if node.op == "get_attr":
            known[node] = operator.attrgetter(node.target)(module)
        elif node.op == "call_function" and _is_pure(node) and all(each in known for each in node.all_input_nodes):
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), known.__getitem__)
            known[node] = node.target(*args, **kwargs)
    computed = [node for node in known if node.op == "call_function" and isinstance(known[node], Tensor)]
    for number, node in enumerate(computed):
        if users := [user for user in node.users if user not in known]:
            name = f"constant_{number}"
            module.register_buffer(name, known[node].detach().clone().contiguous())
            with graph.inserting_before(node):
                constant = graph.get_attr(name)
            for user in users:
                user.replace_input_with(node, constant)
    graph.eliminate_dead_code()
    return fx.GraphModule(module, graph)


def _is_pure(node: fx.Node) -> bool:
    """Whether a call gives the same each time, and does nothing else."""
    if node.target is operator.getitem:
        return True
    is_operation = isinstance(node.target, torch._ops.OpOverload)
    return is_operation and not node.is_impure() and torch.Tag.nondeterministic_seeded not in node.target.tags


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters advise developers of exporters; what they cannot do is an error all the same."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


# --- the file ---------------------------------------------------------------------------------------------------------


def _write(model: Any, header: Header, path: Path, in_one_file: int) -> tuple[Header, list[str]]:
    """Writes a model, and its weights beside it if they are too many; the header then, and the files' names."""
    import onnx_ir

    _strip(model)
    names = [path.name]
    if sum(value.const_value.nbytes for value in model.graph.initializers.values()) > in_one_file:
        digest = hashlib.sha256(f"{header.identity} {header.package} {header.torch}".encode()).hexdigest()
        names.insert(0, onnx_file.data_name(path.name, digest))
        # Small ones stay: shapes among them are looked at while a file is opened.
        onnx_ir.external_data.unload_from_model(model, path.parent, names[0], size_threshold_bytes=1024)
        header = replace(header, data=names[0], data_sha256=onnx_file.file_sha256(path.parent / names[0]))
    model.metadata_props.update(header.metadata())
    content = onnx_ir.serde.serialize_model(model).SerializeToString(deterministic=True)
    with whole_file(path) as file:
        file.write(content)
        file.write(onnx_file.seal(content))
    return header, names


def _strip(model: Any) -> None:
    """Takes out what the exporter says of the code that it ran, such as the paths of its files."""
    model.doc_string, model.producer_name, model.producer_version = None, "zsad-bench", package_version()
    for graph in (model.graph, *model.functions.values()):
        graph.doc_string = None
        graph.metadata_props.clear()
        for node in graph.all_nodes():
            node.doc_string = None
            node.metadata_props.clear()
            for value in node.outputs:
                value.doc_string = None
                value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.doc_string = None
        value.metadata_props.clear()


def _compared(path: Path, images: Tensor, expected: Prediction) -> tuple[float, float | None, float]:
    """How far onnxruntime's numbers of a file are from torch's: score, map, and the largest value of a map.

    Raises:
        OnnxError: further than `TOLERANCE`.
    """
    scorer = OnnxScorer(path)
    category = scorer.category
    samples = [SampleInfo("", category)] * len(images)
    found = scorer(ImageBatch(images, samples, _sizes(images)))
    score_error = _largest(found.score - expected.score)
    map_error, largest = None, 0.0
    if expected.map is not None and found.map is not None:
        map_error, largest = _largest(found.map - expected.map), _largest(expected.map)
    near = score_error <= TOLERANCE and (map_error is None or map_error <= TOLERANCE * max(1.0, largest))
    if not near or (found.map is None) != (expected.map is None):
        maps = "" if map_error is None else f", maps (up to {largest:.3g}) by {map_error:.3g}"
        raise OnnxError(
            f"{scorer.title}: onnxruntime does not come to torch's numbers: scores differ by {score_error:.3g}{maps}, "
            f"allowed are {TOLERANCE:g}; nothing was written"
        )
    return score_error, map_error, largest


def _sizes(images: Tensor) -> list[tuple[int, int]]:
    return [(images.shape[2], images.shape[3])] * len(images)


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().max())
