"""Between official checkpoints of prompt learners and ours, both ways, and what is printed about it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from zsad_bench import registry
from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.load import architecture, brings_weights, load_backbone, weights_at_hand
from zsad_bench.backbones.weights import LOCAL_DIR
from zsad_bench.console import Console
from zsad_bench.errors import BackboneError, CheckpointError, UnknownNameError, UsageError
from zsad_bench.methods import _official as official
from zsad_bench.methods._official_file import WRAPPER, open_file, save_file
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.planning.configure import configure, parse_settings
from zsad_bench.planning.suite import PAPER
from zsad_bench.runner import checkpoint

# The prior that training on one dataset is; any other dataset is a prior of its own name.
PRIORS = {"mvtec": "rich", "visa": "rich", "dtd": "limited", "demo_rich": "rich", "demo_limited": "limited"}
NOT_COMPARED = ("fidelity", "seed")  # a preset, whose parts are compared one by one; and of the start alone


def import_checkpoint(
    source: Path,
    out: Path,
    name: str,
    backbone_name: str | None,
    weights: str | None,
    learned_from: str | None,
    set_: Sequence[str],
) -> None:
    """Writes `out` from the official file `source`, and prints what was read and what is not known.

    name: of the method. learned_from: names of datasets with commas. set_: `KEY=VALUE` of the configuration.

    Raises:
        CheckpointError: the file is not what it should be. UsageError: options that cannot be meant.
    """  # fmt: skip
    _check_out(source, out, ".safetensors")
    auxiliary = _auxiliary(learned_from)
    settings = parse_settings(set_)
    configure(name, settings)
    state, prefix, sha256 = open_file(source)
    backbone = _named(backbone_name or PAPER.backbone, weights)
    method = _fill(source, name, state, backbone, settings)
    _ = method.encoder_spec  # refuses an image size that does not fit the patches
    prior = PRIORS.get(auxiliary[0], auxiliary[0]) if len(auxiliary) == 1 else "+".join(auxiliary)
    training = {
        "prior": prior,
        "prior_hash": f"unknown, file {sha256[:16]}",  # tells two imported files apart; their images are not known
        "auxiliary": auxiliary,
        "seed": method.config.seed,
        "variant": {"checkpoint": "official", **settings},
        "origin": "official",
        "file": source.name,
        "sha256": sha256,
    }
    checkpoint.save(out, method, training)
    _say(f"{out}: {method.title} from {source.name}, sha256 {sha256[:16]}, on {backbone.id}")
    if prefix not in ("", f"{WRAPPER}."):
        _say(f"its parameters stand under '{prefix}' in the file; what else is in it was not read")
    if not learned_from:
        _say(f"trained on {auxiliary[0]}, which is assumed; if it is another dataset, name it with --auxiliary")
    _say(f"prior {prior}; testing on {' or '.join(auxiliary)} will be refused")
    if not backbone.weights_hash:
        _say("the file does not say on which weights it was trained: any of this architecture will be accepted")
    if getattr(method.config, "token_selection", None) == "first_k":
        _say("token_selection=first_k: as it was trained, the first patches of an image feed the prior")


def export_checkpoint(source: Path, out: Path, backbone_name: str | None, weights: str | None) -> None:
    """Writes `out` for the official code from the checkpoint `source`, and prints what it lacks.

    Raises:
        CheckpointError: the checkpoint cannot be read, or has no official form. UsageError: as `import_checkpoint`.
    """
    _check_out(source, out, ".pth")
    header = checkpoint.read_header(source)
    if header.method not in official.LAYOUTS:
        known = " and ".join(official.LAYOUTS)
        raise CheckpointError(f"checkpoint {source}: is of {header.method}; there is an official form of {known}")
    backbone = _recorded(source, header, backbone_name, weights)
    method = checkpoint.restore(source, header, backbone)
    config = _plain(method.resolved_config())
    token_ids = method.get_buffer("token_ids")
    embedded = backbone.text_tower.embed_tokens(token_ids) if backbone.weights_hash else None
    try:
        state = official.write(header.method, config, method.own_state(), token_ids, embedded)
        overrides, _ = official.read(header.method, state, backbone)  # what is written must be readable
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {source}: {error}") from None
    save_file(out, state)
    _say(f"{out}: {method.title}, {len(state)} tensors")
    if embedded is None:
        _say(
            f"token_prefix_* and token_suffix_* are left out, since the weights of {backbone.name} are not here: the "
            "official code loads this file with strict=False; --weights PATH puts them in"
        )
    theirs = _plain(vars(method.resolve(configure(header.method, overrides), backbone)))
    differs = [f"{k}={json.dumps(v)}" for k, v in config.items() if k not in NOT_COMPARED and theirs[k] != v]
    if differs:
        _say(f"the official code has settings of its own; this checkpoint's are others: {', '.join(differs)}")


# --- import -----------------------------------------------------------------------------------------------------------


def _fill(
    path: Path, name: str, state: Mapping[str, Tensor], backbone: Backbone, settings: Mapping[str, Any]
) -> ZeroShotMethod:
    """The method with the file's parameters and the configuration that its shapes and the settings ask for."""
    try:
        overrides, tensors = official.read(name, state, backbone)
        fixed = sorted(settings.keys() & (overrides.keys() - official.LAYOUTS[name].settings.keys()))
        if fixed:
            raise UsageError(f"--set {fixed[0]}: the file's own shapes say {fixed[0]}={overrides[fixed[0]]}")
        method = _build(name, backbone, overrides, settings)
        expected = method.own_state()
        for key in tensors.keys() | expected.keys():
            if key not in tensors or key not in expected or tensors[key].shape != expected[key].shape:
                raise UsageError(f"--set {' '.join(settings)}: with it {name} has other parameters than the file")
        official.check_ids(name, state, method.get_buffer("token_ids"))
    except CheckpointError as error:
        raise CheckpointError(f"official checkpoint {path}: {error}") from None
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


def _check_out(source: Path, out: Path, suffix: str) -> None:
    if out.suffix != suffix:
        raise UsageError(f"--out {out}: expected a name that ends in {suffix}")
    if out.is_dir() or out.resolve() == source.resolve():
        raise UsageError(f"--out {out}: is {'a folder' if out.is_dir() else 'the file to read'}; take another name")


def _say(line: str) -> None:
    Console().print(line)
