# pytest tests/test_protocol.py
"""Protocols: what the shipped ones say, and that a wrong file is refused with its line."""

from __future__ import annotations

import pytest

from zsad_bench import protocol, registry
from zsad_bench.data import prior
from zsad_bench.errors import UnknownNameError, UsageError
from zsad_bench.planning.suite import DEMO, PAPER, under

GOOD = "title: T\nsuite: paper\npriors: {p: {auxiliary: mvtec}}\nbackbone: tiny\nmetrics: [image_auroc]\n"


@pytest.mark.parametrize(
    ("name", "spec", "learned"),
    [
        ("faprompt", "rich", {"visa": "mvtec", "kvasir": "mvtec", "mvtec": "visa"}),
        ("dive", "limited", {"visa": "dtd", "mvtec": "dtd"}),
        ("visa2026", "visa2026", {"mvtec": "visa", "kvasir": "visa", "visa": "mvtec"}),
        ("synthetic", "synthetic", {"visa": "mvtec", "mvtec": "visa"}),
        ("demo", "limited", {"demo_textures": "demo_limited"}),
    ],
)
def test_what_is_learned_from_by_target(name, spec, learned):
    """As the papers say it: `shared protocols` of docs/protocols.md."""
    of = protocol.find(name)
    assert {target: of.auxiliary(spec, target) for target in learned} == learned
    resolved = {target: prior.resolve(spec, of.suite, target) for target in learned}
    assert {target: spec.auxiliary for target, spec in resolved.items()} == {t: (a,) for t, a in learned.items()}
    assert {part.synthetic for spec in resolved.values() for part in spec.parts} == {name == "synthetic"}


def test_a_suite_under_a_protocol():
    visa = under("paper", "visa2026")
    assert visa.backbone_for("anomalyclip") == (PAPER.backbone, PAPER.weights)
    assert visa.backbone_for("winclip") == ("ViT-B-16-plus-240", "laion400m_e31")
    assert (visa.overrides_for("clip"), visa.overrides_for("winclip")) == ({"image_size": 518}, {"image_size": 240})
    assert "image_size" not in visa.overrides_for("blip"), "its own size is the backbone's"
    assert {*visa.targets, *protocol.find("visa2026").unregistered()} == set(protocol.find("visa2026").targets)
    assert set(visa.targets) <= set(registry.names("datasets"))
    for name, suite in (("faprompt", PAPER), ("demo", DEMO)):
        same = under(suite.name, name)
        assert (same.backbone, same.weights, same.targets) == (suite.backbone, suite.weights, suite.targets)
    assert under("paper", None) is PAPER
    with pytest.raises(UsageError, match="protocol demo is for suite demo, found suite paper"):
        under("paper", "demo")


def test_what_is_not_registered_is_named(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD + "targets: [visa, moonrocks]\n", encoding="utf-8")
    found = protocol.read(file)
    assert found.unregistered() == ("moonrocks",)
    assert found.summary() == "p: mvtec; tiny; not registered: moonrocks"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "a protocol: expected `key: value` lines"),
        (
            GOOD.replace("backbone: tiny\n", ""),
            1,
            "no backbone; a protocol needs title, suite, priors, backbone, metrics",
        ),
        (GOOD + "bakbone: x\n", 6, "unknown key 'bakbone'; did you mean backbone"),
        (GOOD.replace("image_auroc", "image_aurok"), 5, "unknown metric 'image_aurok'; did you mean image_auroc"),
        (GOOD.replace("{auxiliary: mvtec}", "{auxilary: mvtec}"), 3, "unknown key 'auxilary'; did you mean auxiliary"),
        (GOOD.replace("{auxiliary: mvtec}", "{}"), 3, "auxiliary: expected a text, found nothing"),
        (GOOD.replace("{auxiliary: mvtec}", "mvtec"), 3, "p: expected `key: value` lines, found 'mvtec'"),
        (GOOD + "image_size: big\n", 6, "image_size: 'big'; expected a whole number of pixels"),
        (GOOD + "own_backbones: {clip: {backbone: tiny, stated: 3}}\n", 6, "stated: 3; expected true or false"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(tmp_path, text, line, said):
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        protocol.read(file)
    assert str(caught.value).startswith(f"{file}:{line}: {said}"), caught.value


def test_one_name_means_one_thing_in_a_suite(tmp_path, monkeypatch):
    for name, auxiliary in (("a", "mvtec"), ("b", "visa")):
        (tmp_path / f"{name}.yaml").write_text(GOOD.replace("mvtec", auxiliary), encoding="utf-8")
    monkeypatch.setattr(protocol, "FOLDER", tmp_path)
    protocol.find.cache_clear()
    with pytest.raises(UsageError, match=r"b\.yaml: prior 'p' means something else in protocol a; rename one"):
        protocol.named_priors.__wrapped__("paper")
    with pytest.raises(UnknownNameError, match="unknown protocol 'c'"):
        protocol.find("c")
    protocol.find.cache_clear()
