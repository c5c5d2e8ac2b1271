# pytest tests/commands/test_names.py
"""Names of files are data: from the command line to rows, tables and the page nothing in one is cut, read or lost."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.data.miniatures.files import write_image
from zsad_bench.results import rows as store

pytestmark = pytest.mark.usefixtures("small")

ODD = {
    "comma": "lot 7, left", "plus": "a+b", "colon": "12:30", "brackets": "batch[a]", "closing tag": "x[ b]",
    "emoji code": ":warning:", "percent": "50%2C", "tilde": "~half", "equals": "k=v", "hash": "lot #7", "pipe": "a|b",
    "quotes": "it's \"new\"", "angle": "<b>bold", "line end": "two\nlines", "tab": "a\tb", "escape": "\x1b[31mred",
    "right to left": "a\u202eb", "umlaut": "Riß", "emoji": "🔩", "separator": "a\u2028b", "star": "*a*_b_",
}  # fmt: skip


def bench(*targets: str, method: str = "center_prior") -> list[str]:
    return ["bench", "--suite", "demo", "--method", method, "--prior", "none", "--set", "image_size=32", "--targets",
            ",".join(targets)]  # fmt: skip


def folder(place) -> str:
    for kind in ("good", "bad"):
        for i in range(2):
            write_image(place / kind / f"{i}.png")
    return str(place)


def test_the_page_has_examples_that_are_tried():
    page = (Path(__file__).resolve().parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
    section = page.split("## How files and folders may be called")[1].split("\n## ")[0]
    lines = [line.rpartition(" | ")[0] for line in section.splitlines() if line.startswith("| ")][2:]
    assert len(lines) == 8, "a line of the table has no test of its own"
    examples = {name.replace("\\|", "|") for line in lines for name in re.findall("`(.+?)`", line.partition(": ")[2])}
    assert examples
    assert examples <= set(ODD.values()), f"not tried: {examples - set(ODD.values())}"


@pytest.mark.slow
def test_every_name_form_goes_all_the_way(zsad, tmp_path):
    """One run over a folder of each form, whose category and kinds of anomaly are called so too."""
    places = []
    for name in ODD.values():
        place = tmp_path / "lots" / name
        for kind in ("good", f"bad {name}"):
            for i in range(2):
                write_image(place / name / "test" / kind / f"{name}{i}.png")
        places.append(place)
    said = zsad(*bench(*(f"folder:{place}" for place in places)))
    assert said.code == 0, said.err
    rows = store.load(tmp_path / "leaderboards/demo/rows")
    assert {(row.target, row.category) for row in rows} == {(f"folder:lots/{name}", name) for name in ODD.values()}
    outputs = [said.out]
    for command in (("rows", "verify", "leaderboards/demo"), ("table", "demo"), ("page", "demo"),
                    ("table", "pivot", "--metric", "image_ap", "--dataset", "folder:lots/lot 7, left,folder:lots/a+b"),
                    ("rows", "export", "leaderboards/demo", "--out", "rows.csv"),
                    ("data", "check", f"folder:{places[-1]}")):  # fmt: skip
        said = zsad(*command)
        assert said.code == 0, f"{command}: {said.out}{said.err}"
        outputs.append(said.out)
    for text in (*outputs, (tmp_path / "leaderboards/demo/README.md").read_text(encoding="utf-8")):
        assert "\x1b" not in text, "a name steers the terminal"
        assert "\u202e" not in text, "a name turns the line around"
    for name in ("batch[a]", ":warning:", "x[ b]", "*a*_b_", "two\\nlines", "\\x1b[31mred", "a\\u202eb"):
        assert name in outputs[0], f"{name} is not printed as it is"


@pytest.mark.parametrize("form", ODD)
def test_a_path_is_one_target_and_is_told_whole(zsad, tmp_path, form):
    place = folder(tmp_path / ODD[form])
    monkey = zsad("data", "check", f"folder:{place}")
    assert monkey.code == 0, monkey.out + monkey.err
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in place)
    assert f"  {shown}, a layout of its own" in monkey.out.splitlines(), "the path is cut or changed"


@pytest.mark.slow
@pytest.mark.parametrize("form", ["colon", "plus", "comma", "percent", "hash", "brackets", "tilde", "line end"])
def test_a_manifest_is_read_from_where_it_was_written(zsad, tmp_path, form):
    kept = tmp_path / ODD[form] / "kept.jsonl"
    assert zsad("data", "prior", "demo_limited:shots=4", "--out", str(kept)).code == 0
    said = zsad("data", "prior", f"@{kept}", "--suite", "demo")
    assert said.code == 0, said.err
    name = next(line for line in said.out.splitlines() if line.startswith("prior @")).split(" · ")[0][6:]
    assert zsad("data", "prior", f"{name}:shots=2", "--suite", "demo").code == 0, f"{name} cannot be typed again"


@pytest.mark.parametrize("raw", [b"\xb5\xc6", b"caf\xe9", b"\xff"])
@pytest.mark.parametrize("where", ["image", "kind", "root"])
def test_a_name_that_is_not_utf8_is_told_before_anything_is_computed(zsad, refused, tmp_path, raw, where):
    odd = os.fsdecode(raw)
    place = tmp_path / (odd if where == "root" else "parts")
    folder(place)
    if where == "image":
        write_image(place / "bad" / f"{odd}.png")
    elif where == "kind":
        write_image(place / odd / "1.png")
    shown = "".join(chr(byte) if byte < 0x80 else f"\\x{byte:02x}" for byte in raw)
    said = zsad("data", "check", f"folder:{place}")
    assert said.code == 1, said.out
    assert shown in said.out
    assert "is not UTF-8" in said.out
    (finding,) = json.loads(zsad("data", "check", f"folder:{place}", "--json").out)["findings"]
    line = refused(1, *bench(f"folder:{place}"))
    assert finding["message"] in line, "a run says it in other words"
    assert not (tmp_path / "leaderboards/demo/scores").exists(), "it was tested first"


def test_what_lies_above_the_folder_may_be_called_anything(zsad, tmp_path):
    above = tmp_path / os.fsdecode(b"\xc2\xdd, \xcb+")
    said = zsad(
        *bench(f"folder:{folder(above / 'lot' / 'parts')}"),
        "--out",
        str(above / "board"),
        "--runs",
        str(above / "runs"),
    )
    assert said.code == 0, said.err
    assert {row.target for row in store.load(above / "board/demo/rows")} == {"folder:lot/parts"}
    assert "\\xc2\\xdd" in said.out
