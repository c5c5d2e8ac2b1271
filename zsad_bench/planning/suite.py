"""Suites: a named set of targets, a backbone and the overrides that go with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from zsad_bench import path_lists, registry
from zsad_bench import protocol as protocols
from zsad_bench.errors import UnknownNameError, UsageError
from zsad_bench.planning.target import distinct

GENERATED = ("demo_textures", "demo_objects", "demo_medical")


@dataclass(frozen=True)
class Suite:
    """targets: registry names, tested when found. overrides: method name -> config fields that differ from the
    paper's defaults; "*" holds for every method. generated: targets that are drawn by the project itself.
    backbones: method name -> what it runs on where no backbone is named, because the suite's does not offer what it
    needs; with the weights that its family goes with. absent: method name -> why the leaderboard has no
    numbers of it. protocol: whose backbones and image size these are (see `under`); None is the suite as it is."""

    name: str
    backbone: str
    weights: str | None
    targets: tuple[str, ...]
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    generated: tuple[str, ...] = ()
    backbones: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    protocol: protocols.Protocol | None = None

    def backbone_for(self, method: str) -> tuple[str, str | None]:
        """The backbone of a method where none is named, and its weights (None: those its family goes with)."""
        if self.protocol is not None and method in self.protocol.own_backbones:
            of = self.protocol.runs_on(method)
            return of.backbone, of.weights
        own = self.backbones.get(method)
        return (self.backbone, self.weights) if own is None else (own, None)

    def overrides_for(self, method: str) -> dict[str, Any]:
        size = self.protocol and self.protocol.runs_on(method).image_size
        own = {"image_size": size} if size else {}
        return {**self.overrides.get("*", {}), **self.overrides.get(method, {}), **own}


PAPER = Suite(
    name="paper",
    backbone="ViT-L-14-336-quickgelu",
    weights="openai",
    targets=tuple("mvtec visa btad aitex dagm dtd elpv sdd mpdd brainmri headct lag br35h "
                  "colondb clinicdb kvasir endo isic tn3k".split()),
    backbones={"blip": "blip-itm-base-coco"},
)  # fmt: skip

DEMO = Suite(
    name="demo",
    backbone="tiny",
    weights=None,
    targets=(*GENERATED, "elpv"),
    # The tiny CLIP reads 96 px. Prompts learn at a tenth of the papers' rate and in fewer passes: for AnomalyCLIP
    # chosen on held-back auxiliary classes before any target was scored (docs/tiny_clip.md), for DIVE and FAPrompt
    # taken over from it. The others keep their rates. CoOp, CoCoOp, APRIL-GAN, AdaCLIP, AA-CLIP and FiLo get fewer of
    # their passes, and Bayes-PFL no augmentation, so that a training takes a minute or two; Bayes-PFL's rate rises and
    # falls within the passes that it has. Where a method would read a category's folder name, it reads the name that
    # the others read: ELPV is a solar cell.
    overrides={
        "*": {"image_size": 96},
        "anomalyclip": {"lr": 1e-4, "epochs": 6},
        "dive": {"lr": 1e-4, "epochs": 4},
        "faprompt": {"lr": 1e-4, "epochs": 4},
        "coop": {"epochs": 20},
        "cocoop": {"epochs": 4},
        "april_gan": {"epochs": 5, "class_names": "prompt_name"},
        "adaclip": {"epochs": 1, "class_names": "prompt_name"},
        "aa_clip": {"text_epochs": 2, "epochs": 4},
        "filo": {"epochs": 1, "adapter_epochs": 1, "class_names": "prompt_name"},
        "anovl": {"class_names": "prompt_name"},
        "winclip": {"class_names": "prompt_name"},
        "bayes_pfl": {"schedule_epochs": 8, "augment": False, "class_names": "prompt_name"},
    },
    generated=GENERATED,
    absent={"blip": "it needs BLIP's own towers, of which there are no tiny trained ones, and random ones say nothing"},
)

SUITES = {suite.name: suite for suite in (DEMO, PAPER)}


def under(name: str, protocol: str | None) -> Suite:
    """The suite of that name under a protocol: its backbones, its image size, its targets that are registered.

    Raises:
        UnknownNameError: no such suite or protocol. UsageError: a protocol of another suite.
    """
    if name not in SUITES:
        raise UnknownNameError(registry.did_you_mean("suite", name, SUITES))
    suite = SUITES[name]
    if protocol is None:
        return suite
    of = protocols.find(protocol)
    if of.suite != name:
        raise UsageError(f"protocol {protocol} is for suite {of.suite}, found suite {name}; leave one of them out")
    absent = of.unregistered()
    targets = suite.targets if of.targets is None else tuple(one for one in of.targets if one not in absent)
    return replace(suite, backbone=of.backbone, weights=of.weights, targets=targets, protocol=of)


def choose(name: str) -> tuple[Suite, str]:
    """The suite of that name and, for `auto`, one line that says what was taken and why.

    `auto` takes `paper` when a paper dataset other than the packaged ELPV is found and its weights can be had here,
    else `demo`.

    Raises:
        UnknownNameError: no such suite.
    """
    if name != "auto":
        if name not in SUITES:
            raise UnknownNameError(registry.did_you_mean("suite", name, [*SUITES, "auto"]))
        return SUITES[name], ""
    found = [n for n in found_targets(PAPER) if n != "elpv"]
    if not found:
        return DEMO, "suite auto takes demo: no dataset of the papers is found under ZSAD_DATA"
    from zsad_bench.backbones.load import weights_at_hand

    if not weights_at_hand(PAPER.backbone, PAPER.weights):
        return (
            DEMO,
            f"suite auto takes demo: {', '.join(found)} found, but no weights of {PAPER.backbone}; see --weights",
        )
    return PAPER, f"suite auto takes paper: {', '.join(found)} found, and the weights of {PAPER.backbone}"


def found_targets(suite: Suite) -> list[str]:
    """The targets of a suite that are registered and whose data is found; generated ones always are."""
    known = set(registry.names("datasets"))
    return [name for name in suite.targets if name in known and is_found(name)]


def is_found(name: str) -> bool:
    if name == "elpv" and os.environ.get("ELPV", "1") == "0":
        return False
    return registry.load("datasets", name).available() is not None


def pick_targets(suite: Suite, asked: str | None) -> list[str]:
    """The targets to test: all that are found, or those asked for (comma-separated, `sweep/target.py`).

    Raises:
        UnknownNameError, UsageError: a name that is not registered, no such category; nothing to test.
    """
    if asked:
        names = distinct(path_lists.targets(asked))
        if not names:
            raise UsageError(f"--targets: expected one or more names separated by commas, found '{asked}'")
        return names
    names = found_targets(suite)
    if not names:
        raise UsageError(
            f"suite {suite.name}: none of its datasets is found; point ZSAD_DATA at them or take --suite demo"
        )
    return names
