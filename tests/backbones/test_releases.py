# pytest tests/backbones/test_releases.py
"""Known releases have the hashes of open_clip's own records; every family says where its weights come from."""

from __future__ import annotations

import re

import pytest
import torch

from zsad_bench.backbones.families._open_clip import checkpoints, named_config
from zsad_bench.backbones.load import architecture, families, fitting_names, weight_sources
from zsad_bench.backbones.releases import RELEASES, of_file, of_hash, of_name


@pytest.mark.parametrize("release", RELEASES, ids=lambda one: one.file)
def test_hash_and_activation_are_those_of_open_clips_records(release):
    record = checkpoints(release.name)[release.tag]
    folder, file = record["url"].rsplit("/", 2)[1:]
    assert file == release.file
    assert release.sha256 in (folder, re.split(r"[-.]", file)[-2])
    assert (release.activation == "quickgelu") == bool(named_config(release.name).get("quick_gelu"))
    # open_clip records QuickGELU by the flag of a checkpoint; without one it is plain GELU.
    assert bool(record.get("quick_gelu")) == (release.activation == "quickgelu")


def test_releases_are_found_by_file_hash_and_name():
    first = RELEASES[0]
    assert of_hash(first.sha256) is of_file("ViT-L-14-336px.pt") is of_name(first.name, "openai") is first
    assert of_hash("8fb26589" + "0" * 56).tag == "laion400m_e31", "of some only the first digits are known"
    assert of_hash("0" * 64) is of_file("model.pt") is of_name("tiny", "") is None
    assert len({release.sha256 for release in RELEASES}) == len(RELEASES)


@pytest.mark.parametrize("family", families().values(), ids=lambda one: one.__name__)
def test_every_family_says_where_its_weights_come_from(family):
    (source, *others) = weight_sources(family.example)
    assert source.name == family.example
    assert source.packaged is not None or (source.hub.count("/") >= 1 and source.files)
    assert len({one.tag for one in others} | {source.tag}) == 1 + len(others), "a tag is listed twice"
    assert weight_sources("local-dir:folder") == []


def test_backbones_that_parameters_fit(mini_config, mini_clip, monkeypatch):
    from open_clip.factory import _MODEL_CONFIGS

    monkeypatch.setitem(_MODEL_CONFIGS, "mini-quickgelu", mini_config)
    monkeypatch.setitem(_MODEL_CONFIGS, "mini", mini_config | {"quick_gelu": False})
    state = mini_clip.state_dict()
    assert set(fitting_names(state)) == {"mini", "mini-quickgelu"}
    assert (fitting_names(state, "gelu"), fitting_names(state, "quickgelu")) == (["mini"], ["mini-quickgelu"])
    assert fitting_names(state | {"visual.conv1.weight": torch.zeros(64, 3, 4, 4)}) == [], "of other patches"
    assert fitting_names(state | {"more": torch.zeros(1)}) == []
    real = architecture("ViT-B-16-plus-240").model.state_dict()
    assert fitting_names(real) == ["ViT-B-16-plus-240"]


@pytest.mark.slow
def test_numbers_of_parameters():
    """Counted on models without values; what is recorded is what `weights list` prints as a size."""
    named = {source.name: source for family in families().values() for name in family.names()
             for source in family.sources(name)[:1] if source.parameters}  # fmt: skip
    named |= {one.name: source for one in RELEASES for source in weight_sources(one.name) if source.tag == one.tag}
    assert len(named) >= 15
    for name, source in named.items():
        assert source.parameters == sum(one.numel() for one in architecture(name).model.parameters()), name
