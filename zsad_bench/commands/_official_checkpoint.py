"""Between official checkpoints and ours, both ways, and what is printed about it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from zsad_bench import registry
from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.load import architecture, brings_weights, load_backbone, weights_at_hand
from zsad_bench.backbones.weights import LOCAL_DIR
from zsad_bench.console import Console
from zsad_bench.data import prior as priors
from zsad_bench.errors import BackboneError, CheckpointError, UnknownNameError, UsageError
from zsad_bench.methods._official import OfficialForm
from zsad_bench.methods._official_file import find_released, open_files, save_file
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.planning.configure import configure, parse_settings
from zsad_bench.planning.suite import PAPER
from zsad_bench.runner import checkpoint

# The prior that training on one dataset is; any other dataset is a prior of its own name.
PRIORS = {"mvtec": "rich", "visa": "rich", "dtd": "limited", "demo_rich": "rich", "demo_limited": "limited"}
NOT_COMPARED = ("fidelity", "seed")  # a preset, whose parts are compared one by one; and of the start alone


def import_checkpoint(
    sources: Sequence[Path],
    out: Path,
    name: str,
    backbone_name: str | None,
    weights: str | None,
    learned_from: str | None,
    set_: Sequence[str],
) -> None:
    """Writes `out` from an official checkpoint, and prints what was read and what is not known.

    sources: its file, or its files. name: of the method. learned_from: names of datasets with commas.
    set_: `KEY=VALUE` of the configuration.

    Raises:
        CheckpointError: the file is not what it should be. UsageError: options that cannot be meant.
    """  # fmt: skip
    _check_out(sources, out, ".safetensors")
    forms = _forms()
    form = _form(name, forms)
    auxiliary = _auxiliary(learned_from)
    settings = parse_settings(set_)
    configure(name, settings)
    content = open_files(sources)
    state, elsewhere = find_released(content, name, forms)
    backbone = _named(backbone_name or PAPER.backbone, weights)
    try:
        method = _fill(name, form, state, backbone, settings)
    except CheckpointError as error:
        raise CheckpointError(f"official checkpoint {content.name}: {error}") from None
    _ = method.encoder_spec  # refuses an image size that does not fit the patches
    prior = PRIORS.get(auxiliary[0], auxiliary[0]) if len(auxiliary) == 1 else "+".join(auxiliary)
    file = ", ".join(source.name for source in sources)
    training = {
        "prior": prior,
        "prior_hash": f"unknown, file {content.sha256[:16]}",  # two imported files differ; their images are not known
        "auxiliary": auxiliary,
        "seed": method.config.seed,
        "variant": {"checkpoint": "official", **settings},
        "origin": "official",
        "file": file,
        "sha256": content.sha256,
    }
    checkpoint.save(out, method, training)
    _say(f"{out}: {method.title} from {file}, sha256 {content.sha256[:16]}, on {backbone.id}")
    if elsewhere:
        _say(f"its parameters stand under '{elsewhere}' in the file; what else is in it was not read")
    if not learned_from:
        _say(f"trained on {auxiliary[0]}, which is assumed; if it is another dataset, name it with --auxiliary")
    _say(f"prior {prior}; testing on {' or '.join(auxiliary)} will be refused")
    if not backbone.weights_hash:
        _say("the file does not say on which weights it was trained: any of this architecture will be accepted")
    for remark in form.remarks(method):
        _say(remark)


def as_ours(
    source: Path, name: str, backbone_name: str, weights: str | None, prior: str, set_: Sequence[str], runs: Path
) -> Path:
    """The checkpoint that `import_checkpoint` makes of an official file, under `runs`; made anew each time.

    prior: of the row, which says what the file was trained on: `rich` is MVTec AD and `limited` DTD-Synthetic, as in
    the papers; any other prior has the names of its datasets.

    Raises:
        CheckpointError, UsageError: as `import_checkpoint`.
    """
    if not source.is_file():
        raise CheckpointError(f"official checkpoint {source}: no such file")
    with source.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    spec = priors.resolve(prior, PAPER.name)
    if any(part.place for part in spec.parts):
        raise UsageError(f"--prior {prior}: an official checkpoint was trained on a known dataset; name that one")
    auxiliary = ",".join(spec.auxiliary)
    out = runs / "imported" / f"{name}-{sha256[:16]}.safetensors"
    import_checkpoint([source], out, name, backbone_name, weights, auxiliary or None, set_)
    return out


def export_checkpoint(source: Path, out: Path, backbone_name: str | None, weights: str | None) -> None:
    """Writes `out` for the official code from the checkpoint `source`, and prints what it lacks.

    Raises:
        CheckpointError: the checkpoint cannot be read, or has no official form. UsageError: as `import_checkpoint`.
    """
    _check_out([source], out, ".pth")
    header = checkpoint.read_header(source)
    forms = {name: form for name, form in _forms().items() if form.writes}
    if header.method not in forms:
        raise CheckpointError(
            f"checkpoint {source}: is of {header.method}; there is an official form of {_listed(forms)}"
        )
    form = forms[header.method]
    backbone = _recorded(source, header, backbone_name, weights)
    method = checkpoint.restore(source, header, backbone)
    config = _plain(method.resolved_config())
    try:
        state = form.write(method)
        overrides, _ = form.read(state, backbone)  # what is written must be readable
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {source}: {error}") from None
    save_file(out, form.packed(state))
    _say(f"{out}: {method.title}, {len(state)} tensors")
    if lacking := form.lacks(method):
        _say(lacking)
    theirs = _plain(vars(method.resolve(configure(header.method, overrides), backbone)))
    differs = [f"{k}={json.dumps(v)}" for k, v in config.items() if k not in NOT_COMPARED and theirs[k] != v]
    if differs:
        _say(f"the official code has settings of its own; this checkpoint's are others: {', '.join(differs)}")


# --- import -----------------------------------------------------------------------------------------------------------


def _fill(
    name: str, form: OfficialForm, state: Mapping[str, Tensor], backbone: Backbone, settings: Mapping[str, Any]
) -> ZeroShotMethod:
    """The method with the file's parameters and the configuration that its shapes and the settings ask for."""
    overrides, tensors = form.read(state, backbone)
    fixed = sorted(settings.keys() & (overrides.keys() - form.settings.keys()))
    if fixed:
        raise UsageError(f"--set {fixed[0]}: the file's own shapes say {fixed[0]}={overrides[fixed[0]]}")
    method = _build(name, backbone, overrides, settings)
    form.check(state, method)
    expected = method.own_state()
    for key in tensors.keys() | expected.keys():
        if key not in tensors or key not in expected or tensors[key].shape != expected[key].shape:
            raise UsageError(f"--set {' '.join(settings)}: with it {name} has other parameters than the file")
    method.load_state_dict(tensors, strict=False)
    return method


def _build(name: str, backbone: Backbone, overrides: Mapping[str, Any], settings: Mapping[str, Any]) -> ZeroShotMethod:
    try:
        built: ZeroShotMethod[Any] = registry.load("methods", name)(
            backbone, configure(name, {**overrides, **settings})
        )
    except UsageError as error:
        if settings:
            raise
        raise CheckpointError(f"its shapes do not make a {name} ({error})") from None
    return built


def _auxiliary(asked: str | None) -> list[str]:
    """The datasets it was trained on; they need not be here, but a misspelt one would never be refused as a target."""
    names = list(dict.fromkeys(part.strip() for part in (asked or "mvtec").split(",") if part.strip()))
    known = {*registry.names("datasets"), *PAPER.targets}
    for name in names:
        if name not in known:
            raise UnknownNameError(registry.did_you_mean("dataset", name, known))
    if not names:
        raise UsageError(f"--auxiliary: expected one or more names separated by commas, found '{asked}'")
    return names


def _named(name: str, weights: str | None) -> Backbone:
    """The backbone with its weights where they were given or come with the name; else its architecture."""
    return load_backbone(name, weights) if weights or brings_weights(name) else architecture(name)


# --- export -----------------------------------------------------------------------------------------------------------


def _recorded(path: Path, header: checkpoint.Header, asked: str | None, weights: str | None) -> Backbone:
    """The backbone of a checkpoint: with weights when they are named or on this machine, else its architecture."""
    name = header.backbone.partition("@")[0]
    try:
        at_hand = weights or _at_hand(asked or name)
        backbone = load_backbone(asked or name, weights) if at_hand else architecture(asked or name)
    except UnknownNameError:
        if asked or weights:
            raise
        raise CheckpointError(
            f"checkpoint {path}: of backbone {header.backbone}, which is not known here; give its folder with "
            f"--backbone {LOCAL_DIR}FOLDER"
        ) from None
    if (header.backbone if backbone.weights_hash else name) not in (backbone.name, backbone.id):
        raise CheckpointError(
            f"checkpoint {path}: of backbone {header.backbone}, found {backbone.id}; give its weights with --weights"
        )
    return backbone


def _at_hand(name: str) -> bool:
    try:
        return weights_at_hand(name)
    except BackboneError:  # an architecture without OpenAI's weights: there is no tag to look for
        return False


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved configuration in JSON's types: tuples are lists."""
    plain: dict[str, Any] = json.loads(json.dumps(config))
    return plain


# --- both -------------------------------------------------------------------------------------------------------------


def _forms() -> dict[str, OfficialForm]:
    """Name of a method -> the form of its released checkpoints, of each that declares one."""
    return {name: cls.official for name, cls in registry.classes("methods").items() if cls.official is not None}


def _form(name: str, forms: Mapping[str, OfficialForm]) -> OfficialForm:
    if name in forms:
        return forms[name]
    if name in registry.names("methods"):
        raise UsageError(f"--method {name}: there is no official form of it; there is one of {_listed(forms)}")
    raise UnknownNameError(registry.did_you_mean("official method", name, forms))


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _check_out(sources: Sequence[Path], out: Path, suffix: str) -> None:
    if out.suffix != suffix:
        raise UsageError(f"--out {out}: expected a name that ends in {suffix}")
    if out.is_dir() or out.resolve() in [source.resolve() for source in sources]:
        raise UsageError(f"--out {out}: is {'a folder' if out.is_dir() else 'the file to read'}; take another name")


def _say(line: str) -> None:
    Console().print(line)
