# pytest tests/data/test_demo_on_disk.py
"""Generated datasets: what the plan holds, the same pixels for a seed, and nothing half-written taken for complete."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from zsad_bench import registry
from zsad_bench.data.demo import drawing, generate, suite
from zsad_bench.data.demo.drawing import Draw, draw_all
from zsad_bench.errors import DatasetError, UnknownNameError

SCALE = 0.04
AUXILIARY = ("demo_rich", "demo_limited", "demo_heldback")
TARGETS = ("demo_textures", "demo_objects", "demo_medical")


def child(code: str) -> subprocess.Popen:
    code = f"from zsad_bench.data.demo import suite\n{code}"
    path = os.pathsep.join(p for p in sys.path if p)
    return subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.PIPE
    )


def counts(name: str) -> dict[str, tuple[int, int]]:
    found = Counter((d.category, d.defect is not None) for d in suite.draws(name))
    return {c: (found[c, False], found[c, True]) for c in suite.PARTS[name].categories}


def test_every_part_is_a_registered_dataset():
    demo = {n for n in registry.names("datasets") if n.startswith("demo_")}
    assert demo == set(suite.PARTS) == {*AUXILIARY, *TARGETS}


@pytest.mark.parametrize("name", TARGETS)
def test_targets_hold_fifty_of_each(name):
    assert set(counts(name).values()) == {(50, 50)}


def test_both_priors_hold_as_many_images():
    for name in ("demo_rich", "demo_limited"):
        normal, anomalous = np.sum(list(counts(name).values()), axis=0)
        assert (normal, anomalous) == (200, 200), f"{name}: {normal} normal and {anomalous} anomalous images"


def test_the_limited_prior_is_two_textures_with_stains_and_discolorations():
    planned = suite.draws("demo_limited")
    assert {d.category for d in planned} == {"leather", "mesh"}
    assert {d.defect for d in planned} == {None, "stain", "discoloration"}


def test_every_defect_of_a_class_occurs():
    for name in ("demo_rich", *TARGETS):
        planned = suite.draws(name)
        for category in suite.PARTS[name].categories:
            seen = {d.defect for d in planned if d.category == category} - {None}
            assert seen == set(suite.classes.CLASSES[category].defects), f"{name}/{category}"


def test_classes_come_from_the_split_their_dataset_stands_for():
    wanted = {"demo_rich": "auxiliary", "demo_limited": "auxiliary", "demo_heldback": "heldback"}
    for name, part in suite.PARTS.items():
        splits = {suite.classes.CLASSES[c].split for c in part.categories}
        assert splits == {wanted.get(name, "target")}, f"{name} draws on {splits}"


def test_no_normal_image_is_the_clean_twin_of_an_anomalous_one():
    for name in suite.PARTS:
        streams = [(d.category, d.position) for d in suite.draws(name)]
        assert len(set(streams)) == len(streams), f"{name}: a draw is used twice"


def test_no_image_recurs_between_datasets_or_seeds(cache):
    folders = [suite.ensure(n, scale=SCALE) for n in suite.PARTS] + [suite.ensure("demo_medical", 1, scale=SCALE)]
    images = [h for f in folders for path, h in suite.read_marker(f)["pixels"].items() if "/test/" in path]
    assert len(images) > 80
    assert len(set(images)) == len(images), "the same pixels occur twice"


def test_pixels_do_not_depend_on_processes_or_on_the_cache(cache, tmp_path, monkeypatch):
    here = suite.read_marker(suite.ensure("demo_medical", scale=SCALE))
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path))
    there = suite.read_marker(suite.ensure("demo_medical", scale=SCALE, processes=2))
    assert there["pixels"] == here["pixels"]
    assert there["sha256"] == here["sha256"]


def test_masks_lie_beside_their_images(cache):
    folder = suite.ensure("demo_medical", scale=SCALE)
    anomalous = [s for s in suite.index(folder) if s.label == 1]
    assert anomalous
    for sample in anomalous:
        image, mask = Image.open(folder / sample.image), Image.open(folder / sample.masks[0])
        assert image.size == mask.size == (112, 112), sample
        assert (image.mode, mask.mode) == ("RGB", "L"), sample
        assert set(np.unique(mask)) == {0, 255}, f"{sample.masks} is not a mask of 0 and 255, or is empty"


def test_a_generation_that_fails_half_way_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path))
    drawn, real = [], generate.pair

    def dies(*args, **kwargs):
        drawn.append(args)
        if len(drawn) > 5:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(generate, "pair", dies)
    with pytest.raises(KeyboardInterrupt):
        suite.ensure("demo_medical", scale=SCALE)
    folder = suite.location("demo_medical", scale=SCALE)
    assert len(drawn) == 6
    assert not folder.exists(), "taken for complete"
    assert not list(folder.parent.glob(".demo_medical-*")), "the unfinished folder is still there"
    monkeypatch.setattr(generate, "pair", real)
    assert suite.read_marker(suite.ensure("demo_medical", scale=SCALE))


def test_a_killed_generation_is_drawn_again(tmp_path, monkeypatch):
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path))
    folder = suite.location("demo_medical", scale=0.2)
    stops = "lambda n, of: 0 < n < of and os.kill(os.getpid(), signal.SIGSTOP)"
    process = child(f"import os, signal; suite.ensure('demo_medical', scale=0.2, processes=1, report={stops})")
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), f"the child ended by itself: {process.stderr.read()}"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert suite.read_marker(folder) is None, "killed too late to tell"
    assert list(folder.parent.glob(".demo_medical-*")), "nothing was left half-way: the test tells nothing"
    marker = suite.read_marker(suite.ensure("demo_medical", scale=0.2))
    assert marker["counts"] == {"brain": [10, 10], "colon": [10, 10], "cell": [10, 10]}
    assert not list(folder.parent.glob(".demo_medical-*")), "what the killed one left is still there"


def test_two_at_once_draw_it_once(tmp_path, monkeypatch):
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path))
    log = tmp_path / "drawn"
    report = f"lambda n, of: open({str(log)!r}, 'a').write('x' * (n == of))"
    code = f"suite.ensure('demo_medical', scale={SCALE}, report={report})"
    processes = [child(code), child(code)]
    errors = [p.communicate()[1] for p in processes]
    assert [p.returncode for p in processes] == [0, 0], errors
    assert log.read_text() == "x", "both processes drew the images"


@pytest.mark.parametrize("damage", ["marker gone", "marker cut", "image gone", "image empty"])
def test_an_incomplete_folder_is_drawn_again(damage, cache, tmp_path, monkeypatch):
    whole = suite.ensure("demo_medical", scale=SCALE)
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path))
    folder = suite.location("demo_medical", scale=SCALE)
    shutil.copytree(whole, folder)
    marker, image = folder / suite.MARKER, next(folder.glob("*/test/*/*.png"))
    if damage == "marker gone":
        marker.unlink()
    elif damage == "marker cut":
        marker.write_text(marker.read_text()[:100])
    elif damage == "image gone":
        image.unlink()
    else:
        image.write_bytes(b"")
    assert suite.read_marker(folder) is None, f"{damage}: taken for complete"
    assert suite.read_marker(suite.ensure("demo_medical", scale=SCALE)) == suite.read_marker(whole)


def test_an_error_in_a_drawing_process_is_one_line(tmp_path):
    impossible = [Draw("demo_medical", "brain", i, i, 0, "no such defect") for i in range(2)]
    with pytest.raises(DatasetError, match="no such defect") as error:
        list(draw_all(impossible, tmp_path, processes=2))
    assert "\n" not in str(error.value)


def test_a_drawing_process_that_is_killed_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing.sys, "executable", shutil.which("false"))
    with pytest.raises(DatasetError, match="ended with code 1"):
        list(draw_all(suite.draws("demo_medical"), tmp_path, processes=2))


def test_an_unknown_part_names_the_nearest():
    with pytest.raises(UnknownNameError, match="demo_medical"):
        suite.ensure("demo_medcal")


def test_a_cache_that_cannot_be_written_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path / "file"))
    with pytest.raises(DatasetError, match="ZSAD_CACHE"):
        suite.ensure("demo_medical", scale=SCALE)


def test_drawing_needs_no_torch():
    process = child("import sys; sys.exit('torch' in sys.modules)")
    assert process.wait() == 0, "importing the generator imports torch: every drawing process would pay seconds for it"
