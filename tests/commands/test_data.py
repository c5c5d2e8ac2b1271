# pytest tests/commands/test_data.py
"""`zsad-bench data`: several datasets in one folder, some broken; the JSON form; the tables; a dataset from outside."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.data import miniatures
from tests.data.miniatures.files import write_image, write_mask
from zsad_bench import registry
from zsad_bench.commands import data_stats
from zsad_bench.data import catalog, manifest
from zsad_bench.data.base import Expected
from zsad_bench.planning.suite import PAPER

PAGE = Path(__file__).resolve().parents[2] / "docs" / "datasets.md"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """ZSAD_DATA with colondb whole; btad without its masks, kvasir with a broken image, visa without a table, mpdd
    still packed, lag only packed beside; and nothing else."""
    monkeypatch.setenv("ELPV", "0")  # it may be installed
    folder = tmp_path / "data"
    for name, place in (("colondb", "CVC-ColonDB"), ("btad", "btad"), ("kvasir", "Kvasir-SEG"), ("visa", "VisA")):
        module = miniatures.load(name)
        module.write(folder / place, module.LAYOUTS[0])
    colondb, expected = registry.load("datasets", "colondb"), Expected(0, 4, "V")
    monkeypatch.setattr(colondb, "variants", {"all": expected})
    monkeypatch.setattr(colondb, "expected", expected)
    for masks in (folder / "btad").rglob("ground_truth"):
        shutil.rmtree(masks)
    kvasir = registry.load("datasets", "kvasir")(folder / "Kvasir-SEG")
    victim = kvasir.root / kvasir.samples()[0].image
    victim.write_bytes(victim.read_bytes()[:40])
    next((folder / "VisA").rglob("1cls.csv")).write_text("object;split;label;image;mask\n")
    (folder / "MPDD").mkdir()
    (folder / "MPDD/mpdd.zip").write_bytes(b"PK")
    (folder / "LAG_database_part_1.rar").write_bytes(b"Rar!")
    monkeypatch.setenv("ZSAD_DATA", str(folder))
    return folder


# --- list -------------------------------------------------------------------------------------------------------------


def rows(text):
    """First word -> line of a printed table, folded lines joined."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line and not line.startswith(" "):
            name = line.split()[0]
        found[name] = f"{found.get(name, '')} {' '.join(line.split())}".strip()
    return found


def test_list_shows_the_broken_beside_the_whole(zsad, root, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    said = zsad("data", "list")
    assert said.code == 0, said.err
    table = rows(said.out)
    assert re.search(r"pixel yes 0 4 0 / 4 \(V\) research", table["colondb"]), table["colondb"]
    place = registry.load("datasets", "colondb")().root
    assert f"colondb  {place} (raw)" in said.out.splitlines(), "the path is cut at 80 columns"
    assert "has no mask; restore the mask" in table["btad"]
    assert "broken 6 0 451 / 290 (V)" in table["btad"]
    assert "1cls.csv" in table["visa"]
    assert "unpack mpdd.zip first" in table["mpdd"]
    assert "packed: LAG_database_part_1.rar; unpack it" in table["lag"]
    assert "pixel no – –" in table["tn3k"]
    assert f"5 of {len(catalog.real())} found, 3 of them broken" in said.out


def test_list_opens_no_image(zsad, root, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("an image was opened"))
    assert "CVC-ColonDB" in zsad("data", "list").out
    assert "manifest hash" in zsad("data", "list", "colondb").out


def test_list_without_any_data(zsad, monkeypatch):
    monkeypatch.setenv("ELPV", "0")
    monkeypatch.delenv("ZSAD_DATA", raising=False)
    said = zsad("data", "list")
    assert said.code == 0
    assert f"0 of {len(catalog.real())} found" in said.out
    assert "ZSAD_DATA is not set" in said.out


def test_list_does_not_draw_what_is_generated(zsad, tmp_path, monkeypatch):
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path / "cache"))
    assert "generated" in zsad("data", "list", "demo_textures").out
    assert not (tmp_path / "cache").exists(), "looking at it drew it"


@pytest.mark.parametrize("name", registry.names("datasets"))
def test_list_of_one_says_everything(name, zsad, root, monkeypatch):
    monkeypatch.setenv("ZSAD_CACHE", str(root / "cache"))
    said = zsad("data", "list", name)
    assert said.code == 0, f"{name}: {said.err}"
    cls = registry.load("datasets", name)
    for word in (cls.title, cls.licence.split()[0]):
        assert word in said.out, f"{name}: '{word}' is not said"
    for card in cls.category_cards:
        assert card.name in said.out, f"{name}: category {card.name} is not listed"
    for variant in getattr(cls, "variants", ()):
        assert f"{variant}: " in said.out, f"{name}: variant {variant} is not listed"


def test_list_of_one_says_what_is_wrong(zsad, root):
    assert "unpack mpdd.zip first" in zsad("data", "list", "mpdd").out.replace("\n", " ")
    assert "only packed: LAG_database_part_1.rar" in zsad("data", "list", "lag").out
    assert "with br35h" in zsad("data", "list", "brainmri").out


# --- check ------------------------------------------------------------------------------------------------------------

FIELDS = (
    "schema dataset title verdict exit_code root layout variant manifest_hash normal anomalous expected categories "
    "images masks unmasked image_bytes sizes modes formats duplicates large findings notes"
).split()


def objects(text):
    return {found["dataset"]: found for found in map(json.loads, text.splitlines())}


def test_check_all_goes_through_whatever_is_broken(zsad, root):
    said = zsad("data", "check", "all", "--json")
    found = objects(said.out)
    assert said.code == 2, "mpdd is not recognised, and the worst decides"
    assert said.err == ""
    assert list(found) == ["btad", "mpdd", "visa", "colondb", "kvasir"], "what is not there does not count"
    verdicts = {name: (of["verdict"], of["exit_code"]) for name, of in found.items()}
    assert verdicts == {
        "btad": ("findings", 1),
        "mpdd": ("not_recognised", 2),
        "visa": ("findings", 1),
        "colondb": ("clean", 0),
        "kvasir": ("findings", 1),
    }
    kinds = {name: {finding["kind"] for finding in of["findings"]} for name, of in found.items()}
    assert kinds["btad"] == {"missing_mask", "counts"}
    assert kinds["visa"] == {"broken"}
    assert kinds["kvasir"] == {"unreadable", "counts"}
    shutil.rmtree(root / "MPDD")
    assert zsad("data", "check", "all").code == 1
    for name in ("btad", "Kvasir-SEG", "VisA"):
        shutil.rmtree(root / name)
    assert zsad("data", "check", "all").code == 0
    shutil.rmtree(root / "CVC-ColonDB")
    said = zsad("data", "check", "all")
    assert said.code == 2, "nothing at all was found"
    assert "none found" in said.out


def test_the_json_form_is_as_documented(zsad, root):
    """Fields are only ever added: who reads schema 1 relies on these names and types."""
    found = objects(zsad("data", "check", "all", "--json").out)
    for name, of in found.items():
        assert list(of) == FIELDS, f"{name}: the fields changed"
    of = found["colondb"]
    assert of["schema"] == 1
    assert of["expected"] == {"normal": 0, "anomalous": 4, "evidence": "V"}
    assert of["categories"] == {"colon": {"normal": 0, "anomalous": 4}}
    assert (of["images"], of["masks"], of["findings"]) == (4, 4, [])
    assert (of["sizes"], of["formats"]) == ({"24x16": 4}, {"PNG": 4})
    assert re.fullmatch("[0-9a-f]{64}", of["manifest_hash"])
    assert found["mpdd"]["root"] is None
    assert set(found["kvasir"]["findings"][0]) == {"kind", "message"}
    section = PAGE.read_text(encoding="utf-8").split("### The JSON form")[1]
    documented = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", section, re.MULTILINE)
    assert re.findall(r"\w+", " ".join(documented)) == FIELDS, "docs/datasets.md lists other fields"


def test_every_kind_of_finding_is_documented():
    from typing import get_args

    from zsad_bench.data.check import Kind

    table = PAGE.read_text(encoding="utf-8").split("| kind | means |")[1].split("\n\n")[0]
    named = re.findall(r"`(\w+)`", " ".join(line.split("|")[1] for line in table.splitlines() if "|" in line))
    assert set(named) == set(get_args(Kind)), "docs/datasets.md lists other kinds of findings"


def test_check_for_a_person(zsad, root):
    said = zsad("data", "check", "btad")
    assert said.code == 1
    assert "btad: findings" in said.out
    assert "missing mask: " in said.out
    assert "--json lists all" in said.out or said.out.count("has no mask") <= 5
    said = zsad("data", "check", "colondb")
    assert said.code == 0
    assert "colondb: clean" in said.out
    assert "0 normal, 4 anomalous; expected 0, 4 (evidence V)" in said.out


def test_root_and_layout(zsad, root, monkeypatch, tmp_path):
    monkeypatch.delenv("ZSAD_DATA")
    assert zsad("data", "check", "colondb").code == 2
    assert zsad("data", "check", "colondb", "--root", str(root / "CVC-ColonDB")).code == 0
    assert zsad("data", "check", "colondb", "--root", str(root / "CVC-ColonDB"), "--layout", "raw").code == 0
    said = zsad("data", "check", "colondb", "--root", str(root / "CVC-ColonDB"), "--layout", "mvtec_style", "--json")
    assert said.code == 2
    assert "matches layout mvtec_style" in json.loads(said.out)["findings"][0]["message"]
    assert set(objects(zsad("data", "check", "all", "--json", "--root", str(root)).out)) >= {"colondb", "btad"}
    assert "ZSAD_DATA" not in os.environ, "--root stayed behind"


def test_images_of_ones_own(zsad, tmp_path):
    write_image(tmp_path / "own/good/1.png")
    write_image(tmp_path / "own/bad/2.png")
    write_mask(tmp_path / "own/masks/bad/2.png")
    assert zsad("data", "check", f"folder:{tmp_path}/own").code == 0
    assert zsad("data", "check", "folder", "--root", f"{tmp_path}/own").code == 0
    assert zsad("data", "check", f"folder:{tmp_path}/none").code == 2
    (tmp_path / "table.csv").write_text("image;label\nown/good/1.png;0\n")
    said = zsad("data", "check", f"csv:{tmp_path}/table.csv")
    assert said.code == 1
    assert "a test needs both" in said.out


@pytest.mark.parametrize(
    ("code", "args", "said"),
    [
        (2, ("check",), "NAME|all"),
        (2, ("check", "mvtek"), "unknown dataset 'mvtek'; did you mean mvtec"),
        (2, ("check", "all", "--layout", "raw"), "name one dataset"),
        (1, ("check", "all", "--root", "nowhere"), "--root nowhere is not a folder"),
        (2, ("check", "mvtec", "--layout", "rwa", "--root", "."), "unknown layout 'rwa'; did you mean raw?"),
        (2, ("check", "folder:.", "--layout", "raw"), "folder has one layout"),
        (2, ("check", "folder"), "no path given"),
        (2, ("list", "mvtek"), "unknown dataset 'mvtek'; did you mean mvtec"),
        (2, ("fetch", "mvtek"), "unknown dataset 'mvtek'; did you mean mvtec"),
        (2, ("samples", "mvtek"), "unknown dataset 'mvtek'; did you mean mvtec"),
        (2, ("prior", "riche"), "unknown prior 'riche'; did you mean rich, demo_rich?"),
        (2, ("prior", "rich", "--suite", "dmo"), "unknown suite 'dmo'; did you mean demo?"),
        (2, ("stats", "--out", "."), "--out .: is a folder"),
    ],
)
def test_wrong_usage_is_one_line(refused, code, args, said):
    assert said in refused(code, "data", *args)


# --- stats ------------------------------------------------------------------------------------------------------------


def test_the_page_holds_the_table_of_today():
    """Of the papers' datasets; what else is registered here, a plug-in say, may stand there or not."""
    section = PAGE.read_text(encoding="utf-8").split(data_stats.BEGIN)[1].split(data_stats.END)[0]
    found, today = section.strip().splitlines(), data_stats.markdown({}).splitlines()
    newer = "run `zsad-bench data stats --cards --out docs/datasets.md`"
    assert [line for line in found if line not in today] == [], newer
    others = {cls.name for cls in catalog.real()} - set(PAPER.targets)
    assert [line for line in today if line not in found and line.split()[1] not in others] == [], newer


def test_stats_show_what_is_found(zsad, root):
    said = zsad("data", "stats")
    table = {line.split(" | ")[0].strip("| "): line for line in said.out.splitlines()}
    assert table["colondb"].endswith("| 0 / 4 |")
    assert table["tn3k"].endswith("| – |")
    assert "found here" not in zsad("data", "stats", "--cards").out


def test_stats_go_between_the_marker_lines(zsad, refused, tmp_path):
    page = tmp_path / "page.md"
    assert zsad("data", "stats", "--cards", "--out", str(page)).code == 0
    page.write_text(f"before\n{page.read_text()}after\n")
    once = page.read_text()
    assert zsad("data", "stats", "--cards", "--out", str(page)).code == 0
    assert page.read_text() == once, "writing it again changed it"
    page.write_text("a page of somebody's own")
    assert "put them back" in refused(2, "data", "stats", "--cards", "--out", str(page))
    assert page.read_text() == "a page of somebody's own"


# --- prior ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def mvtec(tmp_path, monkeypatch):
    miniatures.load("mvtec").write(tmp_path / "data/mvtec", "mvtec_style")
    miniatures.load("colondb").write(tmp_path / "data/CVC-ColonDB", "raw")
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path / "data"))


@pytest.mark.usefixtures("mvtec")
def test_prior_shows_category_by_type(zsad):
    said = zsad("data", "prior", "mvtec:types=3:normals=matched")
    assert said.code == 0, said.err
    table = rows(said.out)
    # The first three of the seeded order that the specification gives: grid/glue, pill/color, wood/combined.
    assert table["category"].split() == ["category", "normal", "anomalous", "color", "combined", "glue"]
    assert table["grid"].split() == ["grid", "1", "1", "·", "·", "1"]
    assert table["pill"].split() == ["pill", "1", "1", "1", "·", "·"]
    assert table["all"].split() == ["all", "3", "3", "1", "1", "1"]
    assert "carpet" not in table
    assert re.search(r"prior mvtec:types=3:normals=matched · draw 0 · hash [0-9a-f]{64}", said.out)


@pytest.mark.usefixtures("mvtec")
def test_prior_lists_types_where_there_are_many(zsad):
    said = zsad("data", "prior", "rich")
    assert "mvtec (MVTecAD): " in said.out
    table = rows(said.out)
    assert "broken_large 1, broken_small 1, contamination 1" in table["bottle"]
    assert table["all"].endswith("48 different")


@pytest.mark.usefixtures("mvtec")
def test_the_manifest_that_is_written_is_the_prior(zsad, tmp_path):
    out = tmp_path / "kept.jsonl"
    said = zsad("data", "prior", "mvtec:shots=4:draw=1", "--out", str(out))
    assert said.code == 0, said.err
    header, records = manifest.read(out)
    assert (header["dataset"], header["prior"], header["draw"], header["anomalous"]) == ("mvtec", "mvtec:shots=4", 1, 4)
    again = zsad("data", "prior", f"@{out}")
    hashes = [re.search("hash ([0-9a-f]{64})", text)[1] for text in (said.out, again.out)]
    assert hashes[0] == hashes[1], "read back, the manifest is another prior"
    assert len(records) == header["normal"] + 4


@pytest.mark.usefixtures("mvtec")
def test_prior_of_a_union(zsad, refused, tmp_path):
    said = zsad("data", "prior", "mvtec:textures+colondb")
    assert "mvtec (MVTecAD)" in said.out
    assert "colondb (CVC-ColonDB): 0 normal, 4 anomalous" in said.out
    assert "a manifest is of one dataset" in refused(2, "data", "prior", "mvtec+colondb", "--out", str(tmp_path / "m"))
    assert not (tmp_path / "m").exists()


@pytest.mark.usefixtures("mvtec")
def test_a_prior_of_generated_anomalies_is_shown_and_drawn(zsad, refused, tmp_path):
    said = zsad("data", "prior", "synthetic:textures", "--samples", str(tmp_path / "kinds.png"))
    assert said.code == 0, said.err
    assert "mvtec (MVTecAD): 5 normal, 5 anomalous" in said.out
    assert "anomalies are generated on its normal images, 15 of its train split" in said.out
    kinds = {"cut_paste", "noise_shuffle", "noise_texture", "scar"}
    assert set(rows(said.out)["category"].split()) - {"category", "normal", "anomalous"} <= kinds
    assert f"{tmp_path / 'kinds.png'} (" in said.out
    assert "not to be published" in said.out, "the licence of the normal images holds for what is drawn on them"
    assert Image.open(tmp_path / "kinds.png").width > 480
    line = refused(2, "data", "prior", "synthetic", "--out", str(tmp_path / "kept.jsonl"))
    assert "the anomalies of 'synthetic' are in none; name the prior itself" in line
    assert "pictures are of one dataset" in refused(2, "data", "prior", "mvtec+colondb", "--samples", "a.png")
    assert "--samples a.jpg: expected a file that ends in .png" in refused(
        2, "data", "prior", "mvtec", "--samples", "a.jpg"
    )
    assert "colondb: " in refused(1, "data", "prior", "colondb:synthetic")


def test_prior_without_its_data(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path))
    line = refused(1, "data", "prior", "limited")
    assert "dtd: no folder called like DTD-Synthetic" in line
    assert "download" in line, "how to get it is not said"


# --- the measurement in the docs -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_script_that_measures_check_still_runs(tmp_path):
    script = PAGE.parents[1] / "benchmarks/speed/check.py"
    page = tmp_path / "page.md"
    begin, end = re.findall(r"<!-- .*benchmarks/speed/check.py.* -->", PAGE.read_text(encoding="utf-8"))
    page.write_text(f"before\n{begin}\n{end}\nafter\n")
    options = ("--images", "20", "--size", "16", "--page", str(page), "--folder", str(tmp_path))
    done = subprocess.run(
        [sys.executable, str(script), *options], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"before\n.*\| 20 \| .*\nafter\n", page.read_text(), re.DOTALL), page.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["page.md"], "images were left behind"
