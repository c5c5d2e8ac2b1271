# pytest tests/tracking/test_mirror.py
"""What wandb is told, read back from its offline files; and that its troubles are one warning and nothing more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import wandb
from PIL import Image

from tests.tracking.conftest import KEY
from tests.tracking.offline import runs_below
from zsad_bench.tracking.access import Access, decide
from zsad_bench.tracking.mirror import CaptionedImage, Mirror
from zsad_bench.tracking.wandb_run import tracked

PICTURE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


@pytest.fixture
def fresh_wandb() -> Iterator[None]:
    """A wandb service that knows this test's server, and is gone afterwards."""
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def mirror(tmp_path) -> Callable[..., Mirror]:
    """mirror(mode): into the test's folder; warnings are in its `said`."""

    def make(access: Access | str = "offline", folder: Path = tmp_path, **more) -> Mirror:
        said: list[str] = []
        access = Access(access) if isinstance(access, str) else access
        made = Mirror(access, folder, "a sweep", said.append, **more)
        made.said = said
        return made

    return make


def test_everything_told_stands_in_the_file(mirror, record, tmp_path):
    of = tracked(record)
    with mirror() as told:
        log = told.begin_stage(of, "prompts")
        for step, loss in enumerate((0.9, 0.5), start=1):
            log({"train/prompts/step": step, "train/prompts/loss": loss})
        told.show_means(of, [record], averaged=("demo_textures",))
        told.show_table(of, [record, {**record, "category": "terrazzo", "value": None}])
        told.show_maps(of, "demo_textures", [CaptionedImage(PICTURE, "carpet · worst")])
        told.show_maps(of, "demo_objects", [])
    (kept,) = runs_below(tmp_path)
    assert (kept.id, kept.project, kept.group, kept.exit_code) == (of.id, "zsad-bench", "a sweep", 0)
    assert (kept.name, kept.tags) == (of.name, of.tags)
    assert {name: kept.config[name] for name in of.config} == of.config
    assert kept.curve("train/prompts/loss") == [0.9, 0.5]
    assert kept.axes["train/prompts/*"] == "train/prompts/step", "losses are drawn over wandb's own steps"
    assert kept.summary["mean/image_auroc"] == kept.summary["demo_textures/image_auroc"] == 0.5
    columns, lines = kept.table()
    shown = [[line[columns.index(name)] for name in ("category", "image_auroc")] for line in lines]
    assert shown == [["carpet", 0.5], ["terrazzo", None]]
    (maps,) = kept.curve("maps/demo_textures")
    assert maps["captions"] == ["carpet · worst"]
    with Image.open(kept.files / maps["filenames"][0]) as image:
        assert np.array_equal(np.asarray(image), PICTURE), "the picture changed on its way"
    assert "maps/demo_objects" not in kept.summary, "no pictures, no entry"
    assert told.said == []


def test_nothing_of_the_machine_is_in_the_files(mirror, record, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with mirror() as told:
        told.show_table(tracked(record), [record])
    (kept,) = runs_below(tmp_path)
    sent = [file for file in kept.files.parent.rglob("*") if file.is_file() and "logs" not in file.parts]
    assert len(sent) == 2, f"the run and its table, found {sent}"
    assert kept.host == ""
    known = {"header", "run", "telemetry", "summary", "artifact", "files", "exit"}
    assert kept.kinds <= known, f"records of the machine: {kept.kinds - known}"
    for file in sent:  # the place of the table's file is in there, for `wandb sync` on this machine
        for secret in (KEY, str(Path.cwd())):
            assert secret.encode() not in file.read_bytes(), f"{file.name} holds {secret}"


def test_runs_that_continue_have_one_id(mirror, record, tmp_path):
    for value in (0.5, 0.7):
        with mirror() as told:
            told.show_means(tracked(record), [{**record, "value": value}], averaged=())
    first, second = runs_below(tmp_path)
    assert first.id == second.id, "a resumed cell made a second run"
    assert second.summary["demo_textures/image_auroc"] == 0.7


def test_several_runs_are_open_at_a_time(mirror, record, tmp_path):
    others = [tracked({**record, "seed": seed}) for seed in range(3)]
    with mirror() as told:
        for value in (0.1, 0.2):
            for of in others:
                told.show_means(of, [{**record, "value": value}], averaged=())
    found = runs_below(tmp_path)
    assert sorted(kept.id for kept in found) == sorted(of.id for of in others)
    assert {kept.summary["demo_textures/image_auroc"] for kept in found} == {0.2}


def test_a_failed_run_says_so(mirror, record, tmp_path):
    told = mirror()
    told.show_means(tracked(record), [record], averaged=())
    told.__exit__(KeyboardInterrupt)
    (kept,) = runs_below(tmp_path)
    assert kept.exit_code == 1


def test_off_does_nothing(mirror, record, tmp_path, monkeypatch):
    monkeypatch.setattr(wandb, "init", None)
    with mirror("off") as told:
        told.show_means(tracked(record), [record], averaged=())
    assert told.said == []
    assert not (tmp_path / "wandb").exists()


@pytest.mark.usefixtures("fresh_wandb")
def test_a_server_that_fails_later_leaves_files_and_one_warning(mirror, record, server, tmp_path):
    def answer(question: bytes) -> tuple[int, bytes]:
        if b"query { viewer { id } }" in question:
            return 200, b'{"data": {"viewer": {"id": "me"}}}'
        return 401, json.dumps({"errors": [f"no such key: {KEY}"]}).encode()

    server(answer)
    access = decide("auto", tmp_path)
    assert access.mode == "online"
    others = [tracked({**record, "seed": seed}) for seed in range(2)]
    with mirror(access) as told:
        for of in others:
            told.show_means(of, [record], averaged=())
    (line,) = told.said
    assert "offline" in line
    assert "\n" not in line
    assert KEY not in line, "the key was printed"
    assert sorted(kept.id for kept in runs_below(tmp_path)) == sorted(of.id for of in others)


def test_what_wandb_raises_is_one_warning(mirror, record, monkeypatch):
    def broken(**options: object) -> None:
        raise OSError(f"the disk\nmelted, said {KEY}")

    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(wandb, "init", broken)
    with mirror() as told:
        for _ in range(3):
            told.show_means(tracked(record), [record], averaged=())
            told.show_table(tracked(record), [record])
    assert told.said == ["wandb: OSError: the disk melted, said …; going on without tracking"]


def test_a_warning_of_the_decision_is_told_once(mirror, record, no_folder):
    with mirror(decide("offline", no_folder), no_folder) as told:
        told.show_means(tracked(record), [record], averaged=())
    assert len(told.said) == 1
    assert "cannot be written" in told.said[0]
