# pytest tests/data/test_prior.py
"""Priors: names to auxiliary datasets, a pure selection, a hash that follows content, and the overlap guard."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from zsad_bench.data import prior
from zsad_bench.data.prior import PriorSpec
from zsad_bench.errors import OverlapError, UnknownNameError, UsageError
from zsad_bench.types import Sample


@dataclass
class Folder:
    """The least that the overlap guard looks at."""

    name: str
    root: Path

    def samples(self) -> list[Sample]:
        images = sorted(p.relative_to(self.root).as_posix() for p in self.root.glob("*"))
        return [Sample(i, None, 0, "c", "good", "test") for i in images]


def folder(root: Path, **files: bytes) -> Folder:
    root.mkdir()
    for name, content in files.items():
        (root / name).write_bytes(content)
    return Folder(root.name, root)


@pytest.mark.parametrize("name", ["rich", "limited"])
def test_demo_priors(name):
    assert prior.resolve(name, "demo") == PriorSpec(name, (f"demo_{name}",))
    assert name in prior.names()


@pytest.mark.parametrize("spec", ["rihc", "rich:shots=4", "mvtec+colondb", ""])
def test_unknown_prior_lists_names(spec):
    with pytest.raises(UnknownNameError, match="rich") as error:
        prior.resolve(spec, "demo")
    assert error.value.exit_code == 2


def test_unknown_suite_lists_names():
    with pytest.raises(UnknownNameError, match="demo"):
        prior.resolve("rich", "dmo")


@pytest.mark.parametrize(
    ("name", "target", "dataset"), [("rich", "visa", "mvtec"), ("rich", "mvtec", "visa"), ("limited", "visa", "dtd")]
)
def test_paper_priors(name, target, dataset, monkeypatch):
    monkeypatch.setattr(prior.registry, "names", lambda room: ["mvtec", "visa", "dtd"])
    assert prior.resolve(name, "paper", target).auxiliary == (dataset,)


def test_an_auxiliary_dataset_that_is_not_registered_is_named(monkeypatch):
    monkeypatch.setattr(prior.registry, "names", lambda room: ["elpv"])
    with pytest.raises(UsageError, match="'mvtec', which is not registered; registered: elpv"):
        prior.resolve("rich", "paper")


def test_selection_is_pure_sorted_and_keeps_the_test_split(small_demo):
    samples = small_demo("demo_limited").samples()
    train = Sample("leather/train/good/000.png", None, 0, "leather", "good", "train")
    spec, given = prior.resolve("limited", "demo"), [train, *samples[::-1]]
    kept = prior.select(given, spec)
    assert kept == samples, "not the test split, or not sorted"
    assert given == [train, *samples[::-1]], "the input was changed"


def test_hash_follows_content_and_nothing_else():
    spec = PriorSpec("rich", ("demo_rich",))
    base = prior.prior_hash(spec, ["a|0", "b|1"])
    assert prior.prior_hash(spec, ["b|1", "a|0"]) == base, "depends on the order of lines"
    others = [
        prior.prior_hash(spec, ["a|0"]),
        prior.prior_hash(spec, ["a|0", "b|0"]),
        prior.prior_hash(spec, ["a|0", "b|1"], draw=1),
        prior.prior_hash(PriorSpec("rich", ("demo_limited",)), ["a|0", "b|1"]),
        prior.prior_hash(PriorSpec("limited", ("demo_rich",)), ["a|0", "b|1"]),
    ]
    assert len({base, *others}) == 6, "two different priors share a hash"


def test_same_dataset_on_both_sides(tmp_path):
    table = folder(tmp_path / "mvtec", a=b"1")
    with pytest.raises(OverlapError, match="'mvtec' is both"):
        prior.check_overlap([table], [table])


def test_same_image_in_two_datasets(tmp_path):
    learned = folder(tmp_path / "brainmri", a=b"11", b=b"22", c=b"333")
    tested = folder(tmp_path / "br35h", x=b"44", y=b"22", z=b"333")
    with pytest.raises(OverlapError, match=r"brainmri/b and target image br35h/y .*1 more"):
        prior.check_overlap([learned], [tested])


def test_different_images_of_one_size_pass(tmp_path):
    prior.check_overlap([folder(tmp_path / "a", x=b"11")], [folder(tmp_path / "b", x=b"22", y=b"33")])


def test_demo_priors_and_targets_share_nothing(small_demo, tmp_path):
    targets = [small_demo(n) for n in ("demo_textures", "demo_objects", "demo_medical")]
    prior.check_overlap([small_demo("demo_rich"), small_demo("demo_limited")], targets)
    shutil.copytree(targets[0].root, tmp_path / "stolen")
    with pytest.raises(OverlapError, match="demo_textures/"):
        prior.check_overlap([Folder("stolen", tmp_path / "stolen" / "carpet" / "test" / "good")], targets)
