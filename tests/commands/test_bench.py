# pytest tests/commands/test_bench.py
"""The main job through the front door: methods, priors and seeds in, tables and rows out."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import pytest

from zsad_bench.results import rows as store
from zsad_bench.runner import computation, run_group

pytestmark = pytest.mark.usefixtures("small")
COMMON = ("--suite", "demo", "--targets", "demo_textures,demo_medical", "--epochs", "1", "--set", "image_size=32")


@pytest.fixture
def ran(zsad, tmp_path, recwarn) -> SimpleNamespace:
    """All four methods under both priors and two seeds. recwarn: warnings would be printed to the user."""
    said = zsad("bench", "--method", "anomalyclip,clip,random,center_prior", "--prior", "limited,rich",
                "--seed", "0,1", *COMMON, "--out", "boards", "--runs", "kept")  # fmt: skip
    return SimpleNamespace(said=said, board=tmp_path / "boards" / "demo", runs=tmp_path / "kept", warned=list(recwarn))


def test_tables_rows_and_what_is_run_how_often(ran):
    assert ran.said.code == 0, ran.said.err
    assert ran.said.err == "", f"something was said on standard error: {ran.said.err}"
    assert "━" not in ran.said.out, "a progress bar was drawn although nobody watches a terminal"
    assert not ran.warned, f"warnings reach the user: {[str(w.message) for w in ran.warned]}"
    for part in ("AnomalyCLIP", "CLIP", "Random", "Center prior", "limited", "rich", "AUROC", "AUPRO"):
        assert part in ran.said.out, f"the printed tables lack {part}"
    assert str(ran.board.relative_to(ran.board.parents[1]) / "README.md") in ran.said.out

    page = (ran.board / "README.md").read_text(encoding="utf-8")
    for part in ("AnomalyCLIP", "Center prior", "Textures", "Medical", "never with a paper's"):
        assert part in page, f"README.md lacks {part}"
    for name in ("overall", "demo_textures", "demo_medical"):
        with (ran.board / f"{name}.csv").open(encoding="utf-8") as file:
            methods = {line["method"] for line in csv.DictReader(file)}
        assert methods == {"anomalyclip", "clip", "random", "center_prior"}, f"{name}.csv holds {methods}"

    cells: dict[str, set] = {}
    rows = store.load(ran.board / "rows")
    for row in rows:
        cells.setdefault(row.method, set()).add((row.prior, row.seed, row.run_id))
    ran_as = {name: sorted((prior, seed) for prior, seed, _ in found) for name, found in cells.items()}
    assert ran_as == {
        "anomalyclip": [("limited", 0), ("limited", 1), ("rich", 0), ("rich", 1)],
        "clip": [("none", 0)],
        "random": [("none", 0), ("none", 1)],
        "center_prior": [("none", 0)],
    }, "a prior and a seed that change nothing must not be run again"
    categories = {row.category for row in rows if row.method == "clip"}
    assert categories == {"perforated", "terrazzo", "carpet", "brain", "colon", "cell"}
    assert len(list(ran.runs.glob("*/config.json"))) == 8, "one folder per run"
    assert len(list(ran.runs.glob("*/anomalyclip.safetensors"))) == 4

    assert store.current(rows).conflicts == []


def test_the_tables_can_be_regenerated(zsad, tmp_path):
    assert zsad("bench", "--method", "random", "--prior", "limited", *COMMON).code == 0
    board = tmp_path / "leaderboards" / "demo"
    before = {path.name: path.read_bytes() for path in (*board.glob("*.csv"), board / "README.md")}
    assert len(before) == 4, f"overall, two groups and the page, found {sorted(before)}"
    (board / "README.md").write_text("edited by hand")
    assert zsad("table", "demo").code == 0
    for name, content in before.items():
        assert (board / name).read_bytes() == content, f"{name} differs although the rows are the same"


def test_licences_of_what_is_tested_are_printed(zsad, monkeypatch):
    from zsad_bench.data.datasets.demo_medical import DemoMedical

    monkeypatch.setattr(DemoMedical, "redistribute", False)
    said = zsad("bench", "--method", "random", "--prior", "limited", *COMMON)
    assert f"{DemoMedical.title}: {DemoMedical.licence}" in said.out.splitlines()


def test_auto_says_what_it_takes_in_one_line(zsad):
    said = zsad("bench", "--method", "random", "--prior", "limited", "--targets", "demo_medical", "--set",
                "image_size=32")  # fmt: skip
    assert said.code == 0, said.err
    assert said.out.splitlines()[0].startswith("suite auto takes demo: ")


@pytest.mark.slow
def test_every_target_image_is_encoded_once_per_forward_pass(zsad, tmp_path, monkeypatch, mini):
    """Three learners under two priors with two seeds, and CLIP beside them: one pass for all thirteen."""
    monkeypatch.setattr(run_group, "fit", lambda *_: None)  # what is encoded to learn from is another matter
    monkeypatch.setattr(computation, "gflops", lambda _: 0.0)  # and so is the image of noise that is counted
    encoded: list[int] = []
    encode = type(mini).encode_image

    def counted(backbone, images, *args, **kwargs):
        encoded.append(len(images))
        return encode(backbone, images, *args, **kwargs)

    monkeypatch.setattr(type(mini), "encode_image", counted)
    said = zsad("bench", "--method", "clip,coop,cocoop,anomalyclip", "--prior", "limited,rich", "--seed", "0,1",
                *COMMON)  # fmt: skip
    assert said.code == 0, said.err
    rows = store.load(tmp_path / "leaderboards" / "demo" / "rows")
    assert len({(row.method, row.prior, row.seed) for row in rows}) == 1 + 3 * 2 * 2
    images = {(row.target, row.category): row.n_images for row in rows}
    assert sum(encoded) == sum(images.values()) == 24
