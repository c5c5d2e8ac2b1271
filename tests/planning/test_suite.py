# pytest tests/planning/test_suite.py
"""Which suite and which targets a run takes, and what it says of that."""

from __future__ import annotations

import pytest

from zsad_bench import registry
from zsad_bench.backbones import load
from zsad_bench.errors import UnknownNameError, UsageError
from zsad_bench.methods.anomalyclip import AnomalyClipConfig
from zsad_bench.planning import suite
from zsad_bench.planning.suite import DEMO, PAPER
from zsad_bench.runner.run_spec import RunSpec


@pytest.fixture
def machine(monkeypatch):
    """machine(found, weights): a machine that has these paper datasets, and the weights or not."""

    def has(found: list[str], weights: bool) -> None:
        monkeypatch.setattr(suite, "found_targets", lambda one: list(found) if one is PAPER else list(DEMO.targets))
        monkeypatch.setattr(load, "weights_at_hand", lambda name, tag: weights and name == PAPER.backbone)

    return has


@pytest.mark.parametrize(
    ("found", "weights", "taken", "why"),
    [
        ([], True, DEMO, "takes demo: no dataset"),
        (["elpv"], True, DEMO, "takes demo: no dataset"),  # packaged: it is found everywhere
        (["elpv", "mvtec"], False, DEMO, "takes demo: mvtec found, but no weights of ViT-L-14-336-quickgelu"),
        (["elpv", "mvtec", "visa"], True, PAPER, "takes paper: mvtec, visa found, and the weights"),
    ],
)
def test_auto_takes_paper_only_with_data_and_weights(machine, found, weights, taken, why):
    machine(found, weights)
    chosen, line = suite.choose("auto")
    assert chosen is taken, line
    assert why in line
    assert "\n" not in line, "it says so in one line"


def test_a_suite_that_is_named_is_taken(machine):
    machine([], False)
    assert suite.choose("paper") == (PAPER, "")
    assert suite.choose("demo") == (DEMO, "")
    with pytest.raises(UnknownNameError, match="unknown suite 'papers'; did you mean paper"):
        suite.choose("papers")


def test_generated_targets_are_always_found_and_elpv_can_be_left_out(monkeypatch):
    targets = suite.found_targets(DEMO)
    assert set(suite.GENERATED) <= set(targets)
    assert targets == [name for name in DEMO.targets if name in targets], "in the order of the suite"
    monkeypatch.setenv("ELPV", "0")
    assert suite.found_targets(DEMO) == list(suite.GENERATED)
    assert not suite.is_found("elpv")


def test_targets_that_are_asked_for(monkeypatch):
    assert suite.pick_targets(DEMO, "demo_medical, demo_objects,demo_medical") == ["demo_medical", "demo_objects"]
    assert suite.pick_targets(DEMO, None) == suite.pick_targets(DEMO, "") == suite.found_targets(DEMO)
    with pytest.raises(UnknownNameError, match="unknown dataset 'demo_medicl'; did you mean demo_medical"):
        suite.pick_targets(DEMO, "demo_objects,demo_medicl")
    with pytest.raises(UsageError, match="--targets: expected one or more names"):
        suite.pick_targets(DEMO, " , ")
    monkeypatch.setattr(suite, "is_found", lambda name: False)
    with pytest.raises(UsageError, match="ZSAD_DATA"):
        suite.pick_targets(PAPER, None)


def test_overrides_of_a_method_win_over_those_of_all():
    both = suite.Suite("x", "tiny", None, (), {"*": {"image_size": 96, "lr": 1.0}, "anomalyclip": {"lr": 2.0}})
    assert both.overrides_for("anomalyclip") == {"image_size": 96, "lr": 2.0}
    assert both.overrides_for("clip") == {"image_size": 96, "lr": 1.0}
    assert both.overrides_for("clip") is not both.overrides["*"], "a caller could change the suite"


def test_every_method_has_a_backbone_in_the_paper_suite_that_offers_what_it_needs():
    pytest.importorskip("transformers", reason="transformers is not installed (extra `transformers`)")
    offers = {name: load.architecture(name).offers for name in {PAPER.backbone, *PAPER.backbones.values()}}
    for name in registry.names("methods"):
        needs, (backbone, weights) = registry.load("methods", name).needs, PAPER.backbone_for(name)
        assert needs <= offers[backbone], f"{name} cannot run on {backbone}"
        assert needs <= offers[PAPER.backbone] or name in PAPER.backbones
        assert weights == (None if name in PAPER.backbones else PAPER.weights)
        assert name not in PAPER.backbones or not needs <= offers[PAPER.backbone], f"{name} could run on the others'"


def test_a_run_takes_its_methods_own_backbone_unless_another_is_named():
    def weights_of(method: str, **named: str) -> tuple[str, str | None]:
        return RunSpec(PAPER, method, "none", ("visa",), **named).weights_of

    assert weights_of("clip") == ("ViT-L-14-336-quickgelu", "openai")
    assert weights_of("blip") == ("blip-itm-base-coco", None)
    assert weights_of("blip", weights="/x") == ("blip-itm-base-coco", "/x")
    assert weights_of("blip", backbone="ViT-L-14-336-quickgelu") == ("ViT-L-14-336-quickgelu", None)
    assert weights_of("blip", backbone="blip-itm-large-coco") == ("blip-itm-large-coco", None)


def test_suites_name_what_exists():
    known = set(registry.names("datasets"))
    assert set(DEMO.targets) <= known, "the demo suite tests on something that is not registered"
    assert set(DEMO.generated) < set(DEMO.targets)
    assert set(DEMO.overrides) - {"*"} <= set(registry.names("methods"))
    assert set(DEMO.overrides["anomalyclip"]) <= set(AnomalyClipConfig.__dataclass_fields__)
    assert len(PAPER.targets) == len(set(PAPER.targets)) == 19
