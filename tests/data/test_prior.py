# pytest tests/data/test_prior.py
"""Priors: the grammar, the golden values of the specification, and what holds for every selection."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zsad_bench import registry
from zsad_bench.data import manifest, prior
from zsad_bench.data.datasets.mvtec import Mvtec
from zsad_bench.data.prior import Part, PriorSpec
from zsad_bench.errors import DatasetError, UnknownNameError, UsageError
from zsad_bench.types import Sample

KINDS = {card.name: card.kind for card in Mvtec.category_cards}
COUNTS = json.loads((Path(__file__).parent / "mvtec_test_split.json").read_text())  # of the official release


def mvtec() -> list[Sample]:
    """MVTec AD's official test split as a table: images are numbered from 000 in every folder."""
    samples = []
    for category, kinds in COUNTS.items():
        for kind, count in kinds.items():
            for i in range(count):
                masks = () if kind == "good" else (f"{category}/ground_truth/{kind}/{i:03d}_mask.png",)
                image = f"{category}/test/{kind}/{i:03d}.png"
                samples.append(Sample(image, masks, int(kind != "good"), category, kind, "test"))
    return samples


def keep(spec: str, samples=None) -> list[Sample]:
    (part,) = prior.resolve(spec, "paper").parts
    return prior.select(mvtec() if samples is None else samples, part, KINDS, Mvtec.anomaly_types)


def pairs(samples) -> set[str]:
    return {f"{s.category}/{s.anomaly_type}" for s in samples if s.label == 1}


# The grammar.


@pytest.mark.parametrize("name", ["rich", "limited"])
def test_demo_priors(name):
    assert prior.resolve(name, "demo") == PriorSpec(name, (Part(f"demo_{name}"),))
    assert name in prior.names()


@pytest.mark.parametrize(
    ("spec", "parts", "name"),
    [
        ("mvtec", (Part("mvtec"),), "mvtec"),
        ("mvtec:textures", (Part("mvtec", textures=True),), "mvtec:textures"),
        (
            "mvtec:normals=matched:draw=1:shots=40:types=2",
            (Part("mvtec", types=2, shots=40, normals="matched", draw=1),),
            "mvtec:types=2:shots=40:normals=matched",
        ),
        ("mvtec:types=5:unit=name", (Part("mvtec", types=5, unit="name"),), "mvtec:types=5:unit=name"),
        ("demo_rich+elpv", (Part("demo_rich"), Part("elpv")), "demo_rich+elpv"),
        (
            "demo_rich:shots=4:draw=3+elpv",
            (Part("demo_rich", shots=4, draw=3), Part("elpv", draw=3)),
            "demo_rich:shots=4+elpv",
        ),
        ("rich:normals=10", (Part("mvtec", normals=10),), "rich:normals=10"),
        ("synthetic", (Part("mvtec", synthetic=True),), "synthetic"),
        ("synthetic:shots=4:synthetic", (Part("mvtec", synthetic=True, shots=4),), "synthetic:shots=4"),
        (
            "visa:types=2:unit=name:synthetic+demo_rich:draw=3",
            (Part("visa", synthetic=True, types=2, unit="name", draw=3), Part("demo_rich", draw=3)),
            "visa:synthetic:types=2:unit=name+demo_rich",
        ),
    ],
)
def test_grammar(spec, parts, name):
    resolved = prior.resolve(spec, "paper")
    assert resolved.parts == parts
    assert resolved.name == name, "one spelling for one prior, without the draw"
    assert prior.with_draw(resolved, 9).draw == 9


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("rihc", "unknown prior 'rihc'; did you mean rich"),
        ("", "unknown prior ''"),
        ("rich:shot=4", "did you mean shots=N"),
        ("rich:types=0", "types=0 does not fit; expected a whole number from 1"),
        ("rich:shots=-1", "shots=-1 does not fit"),
        ("rich:shots=4.5", "shots=4.5 does not fit"),
        ("rich:normals=some", "expected a whole number from 0 or all, matched"),
        ("rich:unit=name", "give types=K with it"),
        ("rich:types=2:unit=triple", "expected one of pair, name"),
        ("elpv+elpv", "names dataset 'elpv' twice"),
        ("rich:draw=1+elpv:draw=2", "different draws"),
        ("rich+", "unknown prior ''"),
        ("rich+demo_rich:synthetic", "takes real and generated anomalies of dataset 'demo_rich'"),
        ("synthetic+demo_rich:synthetic", "names dataset 'demo_rich' twice"),
        ("rich:synthetc", "did you mean synthetic"),
    ],
)
def test_wrong_grammar_is_one_line_and_exit_code_2(spec, says):
    with pytest.raises(UsageError, match=says.replace("(", r"\(")) as error:
        prior.resolve(spec, "demo")
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)


def test_unknown_suite_lists_names():
    with pytest.raises(UnknownNameError, match="demo"):
        prior.resolve("rich", "dmo")


@pytest.mark.parametrize(
    ("name", "target", "dataset"),
    [("rich", "visa", "mvtec"), ("rich", "mvtec", "visa"), ("limited", "visa", "dtd"), ("synthetic", "mvtec", "visa")],
)
def test_paper_priors(name, target, dataset):
    assert prior.resolve(name, "paper", target).auxiliary == (dataset,)


# The specification's golden values.


def test_textures_of_mvtec():
    kept = keep("mvtec:textures")
    labels = [s.label for s in kept]
    assert (labels.count(0), labels.count(1), len(pairs(kept))) == (133, 382, 25)


@pytest.mark.parametrize(
    ("dataset", "unit", "size", "draw", "first"),
    [
        ("mvtec", "pair", 73, 0, "grid/glue pill/color wood/combined capsule/squeeze zipper/fabric_interior "
         "screw/scratch_neck carpet/metal_contamination zipper/squeezed_teeth"),
        ("mvtec", "pair", 73, 1, "cable/poke_insulation pill/combined zipper/split_teeth carpet/cut pill/color "
         "capsule/squeeze bottle/contamination pill/crack"),
        ("mvtec", "pair", 73, 2, "transistor/bent_lead tile/crack screw/thread_top grid/broken transistor/misplaced "
         "wood/hole zipper/squeezed_teeth pill/contamination"),
        ("mvtec", "name", 48, 0, "cable_swap bent misplaced fabric_interior split_teeth"),
        ("visa", "pair", 78, 0, "macaroni1/small_cracks fryum/similar_colour_spot macaroni1/different_colour_spot "
         "fryum/small_scratches pipe_fryum/stuck_together capsules/scratch"),
        ("visa", "name", 39, None, ""),
        ("dtd", "pair", 12, 0, "Woven_127/bad Stratified_154/bad Woven_125/bad Woven_001/bad Woven_104/bad "
         "Perforated_037/bad"),
    ],
)  # fmt: skip
def test_ranked_types(dataset, unit, size, draw, first):
    found = prior.universe([], prior.Part(dataset, unit=unit), registry.load("datasets", dataset).anomaly_types)
    assert len(found) == size
    if draw is not None:
        expected = [item.replace("_", " ") if dataset == "visa" else item for item in first.split()]
        expected = [item.replace("pipe fryum", "pipe_fryum") for item in expected]
        assert prior.ranked("type", draw, found)[: len(expected)] == expected


@pytest.mark.parametrize(("count", "images"), [(1, 11), (5, 83), (10, 185)])
def test_types_of_mvtec(count, images):
    kept = keep(f"mvtec:types={count}")
    assert sum(s.label for s in kept) == images
    assert sum(s.label == 0 for s in kept) == 467, "normal images are kept in full"


@pytest.mark.parametrize(
    ("count", "sha256"),
    [
        (4, "0a6060137b2a7c9ea7573c9ecf79ad1ac71a3da84c11271f66f3d472ca892c12"),
        (16, "5ece7b8ddd88403ef6e6e633d9d6c62bfa3523f141145ac4b3c3cbeee1cb6543"),
        (100, "e0e936c71011ffda9d096bb120feb3f04b88bf3e465c03d77301b6628aa5f337"),
    ],
)
def test_shots_of_mvtec(count, sha256):
    shot = sorted(s.image for s in keep(f"mvtec:shots={count}") if s.label == 1)
    assert hashlib.sha256("\n".join(shot).encode()).hexdigest() == sha256, shot[:4]
    if count == 4:
        assert set(shot) == {
            "capsule/test/poke/016.png", "leather/test/fold/011.png", "cable/test/cable_swap/008.png",
            "zipper/test/squeezed_teeth/011.png",
        }  # fmt: skip


def test_an_image_of_several_types_needs_all_of_them():
    def sample(name, kind):
        return Sample(name, (), 1, "fryum", kind, "test")

    samples = [sample("a", "burnt"), sample("b", "burnt,other"), sample("c", "Other"), sample("d", " burnt , burnt")]
    types = {"fryum": ("burnt", "other")}
    first = prior.ranked("type", 0, ["fryum/burnt", "fryum/other"])[0].partition("/")[2]
    kept = {s.image for s in prior.select(samples, Part("visa", types=1), None, types)}
    assert kept == ({"a", "d"} if first == "burnt" else {"c"}), "an unselected pattern leaks in, or case matters"
    assert len(prior.select(samples, Part("visa", types=2), None, types)) == 4


def test_catch_all_types_can_be_left_out():
    assert len(pairs(keep("mvtec:types=66:exclude_catch_all"))) == 68 - 2, "73 pairs, 5 of them catch-alls"
    assert not any(p.endswith(("/combined", "/defective")) for p in pairs(keep("mvtec:types=68:exclude_catch_all")))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("mvtec:types=74", "types=74, but dataset 'mvtec' has 73"),
        ("mvtec:shots=1259", "1259 anomalous images requested from dataset 'mvtec', which has 1258 left"),
        ("mvtec:normals=468", "468 normal images requested"),
    ],
)
def test_more_than_there_is_is_an_error(spec, says):
    with pytest.raises(UsageError, match=says):
        keep(spec)


def test_one_type_name_is_no_choice():
    types = registry.load("datasets", "dtd").anomaly_types
    with pytest.raises(UsageError, match="use unit=pair"):
        prior.select([], Part("dtd", types=1, unit="name"), None, types)


# What holds for every selection.

PARTS = st.builds(
    Part,
    dataset=st.just("mvtec"),
    textures=st.booleans(),
    types=st.none() | st.integers(1, 20),
    shots=st.none() | st.integers(1, 10),
    normals=st.sampled_from(["all", "matched", 0, 17]),
    draw=st.integers(0, 5),
).filter(lambda part: is_possible(part))


def is_possible(part) -> bool:
    """Whether the images are enough for it: one type of the textures may have fewer than ten."""
    try:
        return bool(chosen(part))
    except UsageError:
        return False


def ids(samples) -> set[str]:
    return {s.id for s in samples}


def chosen(part, samples=None) -> list[Sample]:
    return prior.select(mvtec() if samples is None else samples, part, KINDS, Mvtec.anomaly_types)


@settings(max_examples=25, deadline=None)
@given(PARTS, st.integers(0, 2**32))
def test_order_of_files_changes_nothing(part, order):
    samples = mvtec()
    random.Random(order).shuffle(samples)
    assert chosen(part, samples) == chosen(part)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 19), st.integers(0, 5), st.booleans())
def test_selections_are_nested(count, draw, by_shots):
    field = "shots" if by_shots else "types"
    smaller, larger = (chosen(Part("mvtec", draw=draw, **{field: n})) for n in (count, count + 1))
    assert ids(smaller) < ids(larger), f"{field}={count} is no proper subset of {field}={count + 1}"


@settings(max_examples=25, deadline=None)
@given(PARTS)
def test_steps_only_take_away(part):
    kept = chosen(part)
    anomalous = [s for s in kept if s.label == 1]
    assert ids(kept) <= ids(mvtec())
    if part.types is not None:
        assert len(pairs(kept)) <= part.types
    if part.shots is not None:
        assert len(anomalous) == part.shots
    if part.textures:
        assert {KINDS[s.category] for s in kept} <= {"texture"}
    if part.normals == "matched":
        assert {s.category for s in kept} == {s.category for s in anomalous}
    if isinstance(part.normals, int):
        assert len(kept) - len(anomalous) == part.normals


def test_a_train_split_is_never_learned_from():
    train = Sample("leather/train/good/000.png", (), 0, "leather", "good", "train")
    assert train not in keep("mvtec", [train, *mvtec()])


def test_the_same_in_another_process_with_another_hash_seed():
    script = (
        "from zsad_bench.data.prior import Part, select; from zsad_bench.types import Sample;"
        "s=[Sample(f'{c}/{t}/{i}',(),int(t!='good'),c,t,'test')"
        " for c in 'abc' for t in ('good','x','y') for i in range(9)];"
        "print([k.image for k in select(s, Part('d', types=3, shots=7, normals=5, draw=2))])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(outputs) == 1, "the selection depends on the process"


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from("abc"), st.sampled_from("123"), min_size=1), st.data())
def test_hash_follows_content_alone(contents, data):
    shuffled = dict(data.draw(st.permutations(list(contents.items()))))
    assert prior.prior_hash(shuffled) == prior.prior_hash(contents)
    changed = {**contents, "c": "4"}
    assert prior.prior_hash(changed) != prior.prior_hash(contents)


# The manifest.


def test_manifest_is_read_back_as_a_prior(tmp_path):
    kept = keep("mvtec:types=3:shots=5:normals=matched")
    file = tmp_path / "kept.jsonl"
    manifest.write(file, "mvtec", "mvtec:types=3:shots=5:normals=matched", 0, prior.RULE_VERSION, kept)
    header, records = manifest.read(file)
    assert (header["anomalous"], len(records)) == (5, len(kept))
    assert header["paths_sha256"] == hashlib.sha256("\n".join(sorted(ids(kept))).encode()).hexdigest()
    assert keep(f"@{file}") == kept
    with pytest.raises(UsageError, match="generate anomalies on those of the dataset, mvtec:synthetic"):
        keep(f"@{file}:synthetic")
    with pytest.raises(UsageError, match="not in the test split of 'mvtec' here"):
        keep(f"@{file}", kept[1:])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: "", "header"),
        (lambda text: text[: len(text) // 2], "not JSON|cut short"),
        (lambda text: "\n".join(text.splitlines()[:-1]), "cut short"),
        (lambda text: text.replace("pill", "bill"), "was changed"),
        (lambda text: "[]", "header"),
    ],
)
def test_damaged_manifest(tmp_path, damage, says):
    file = tmp_path / "kept.jsonl"
    manifest.write(file, "mvtec", "mvtec:shots=5", 0, prior.RULE_VERSION, keep("mvtec:shots=5"))
    file.write_text(damage(file.read_text()))
    with pytest.raises(DatasetError, match=says):
        manifest.read(file)


def test_missing_manifest(tmp_path):
    with pytest.raises(DatasetError, match="cannot read the manifest"):
        prior.resolve(f"@{tmp_path / 'no.jsonl'}", "paper")
