# pytest tests/leaderboard/test_page.py
"""The page without a browser: its numbers are those of the Markdown tables, nothing in it acts but its own script."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from tests.leaderboard.made_up_page import write_board
from tests.made_up_rows import make_row
from zsad_bench.errors import RowError
from zsad_bench.html_page import as_data
from zsad_bench.leaderboard.page.build import write_page
from zsad_bench.leaderboard.page.outline import outline
from zsad_bench.leaderboard.page.provenance import CATEGORY, OWN, RUN, packed_rows
from zsad_bench.leaderboard.tables.leaderboard_files import write_leaderboard
from zsad_bench.leaderboard.tables.leaderboard_tables import build
from zsad_bench.leaderboard.tables.mixed_rows import LINE
from zsad_bench.results.row import FIELDS
from zsad_bench.results.rows import append, load


class Elements(HTMLParser):
    """tags: name and attributes of every element. scripts: text of each script element. style: of the style element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.scripts: list[str] = []
        self.style = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script" and self.cdata_elem == "script":
            self.scripts[-1] += data
        elif self.cdata_elem == "style":
            self.style += data


def page_of(folder, board, **options) -> tuple[Elements, dict]:
    made = write_page(folder, folder / "index.html", board, **options)
    text = made.path.read_text(encoding="utf-8")
    assert made.size == len(text.encode()), "the size that is told is another one"
    page = Elements(text)
    return page, json.loads(page.scripts[0])


def cell(column, i):
    return column[i] if isinstance(column, list) else column["of"][column["at"][i] if "at" in column else 0]


@pytest.fixture
def folder(tmp_path, board):
    return write_board(tmp_path)


def test_numbers_are_those_of_the_markdown_tables(folder, board):
    write_leaderboard(folder / "rows", folder, board)
    markdown = (folder / "README.md").read_text(encoding="utf-8")
    _, data = page_of(folder, board)
    sections = markdown.split("\n## ")[1:]
    titles = dict(data["metrics"])
    for table, section in zip(data["tables"], sections, strict=False):
        heading, caption, lines, note = section.split("\n\n")[:4]
        assert (table["title"], table["caption"] + ".") == (heading, caption), "another table, or another caption"
        assert note.startswith(table["note"]), f"{heading}: the note is another one"
        head, _, *body = [[text.strip() for text in line.strip("|").split(" | ")] for line in lines.splitlines()]
        assert head[-len(table["columns"]) :] == [titles[metric] for metric in table["columns"]], f"{heading}: columns"
        printed = []
        for place, of in enumerate(data["lines"]):
            if str(place) in table["runs"]:
                numbers = [table["cells"][metric][str(place)] for metric in table["columns"]]
                bold = [f"**{text}**" if best else text for text, _, _, best in numbers]
                title = of["title"] + (" *(sanity check)*" if of["sanity"] else "")
                printed.append([title, of["prior"], str(table["runs"][str(place)]), *bold])
        assert printed == body, f"{heading}: the page and README.md differ"
    assert len(data["tables"]) == 4, "overall, cloth, parts, photos"
    assert {"–", "70.0 (2/3)"} <= set(re.findall(r'"(–|[\d.]+ \(2/3\))"', json.dumps(data, ensure_ascii=False)))
    assert "".join(data["how"]) in markdown.replace("\n\n", ""), "what the numbers mean is told otherwise"


def test_categories_have_numbers_of_their_own(folder, board):
    _, data = page_of(folder, board)
    cloth = next(table for table in data["tables"] if table["name"] == "cloth")
    parts = {part["category"]: part["cells"]["image_auroc"] for part in cloth["parts"]}
    line = next(i for i, of in enumerate(data["lines"]) if (of["method"], of["prior"]) == ("dive", "rich"))
    # carpet: 0.8 and 0.9 under two seeds; their standard deviation is 0.1 / sqrt 2
    assert parts["carpet"][str(line)] == ["85.0 ± 7.1", 0.85, 0.070711, 0]


def test_every_row_is_there_with_all_that_is_known_about_it(folder, board):
    rows = load(folder / "rows")
    places = build(rows, board).places()
    data = json.loads(as_data(packed_rows(rows, places)))
    assert data["n"] == len(rows)
    for i, row in enumerate(rows):
        category = cell(data["rows"]["at"], i)
        run = cell(data["categories"]["run"], category)
        for part, names, at in (("rows", OWN, i), ("categories", CATEGORY, category), ("runs", RUN, run)):
            for name in names:
                if name != "run":
                    found, own = cell(data[part][name], at), getattr(row, name)
                    same = found == (round(own, 6) if isinstance(own, float) else own)
                    assert same, f"row {i}: its {name} is {own}, on the page {found}"
        assert cell(data["runs"]["line"], run) == places[tuple(getattr(row, name) for name in LINE)]
    left = set(FIELDS) - {*OWN, *CATEGORY, *RUN, *LINE}
    assert left == {
        "suite",
        "schema",
        "networks",
        "pass_id",
        "seconds",
        "seconds_encode",
        "seconds_score",
        "peak_memory_mb",
        "trained_parameters",
        "gflops",
    }, "a field of rows that the page does not have"


def test_what_a_row_says_is_text(tmp_path, board):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    row = make_row(method=evil, variant=evil, prior=evil, target=evil, category=evil, value=None, reason=evil,
                   run_id=evil, device=evil, commit=evil, metric=evil, key="k")  # fmt: skip
    append(tmp_path / "rows" / "a.jsonl", [row])
    page, data = page_of(tmp_path, board)
    assert [tag for tag, _ in page.tags].count("script") == 2, "a row has made a script element"
    assert not [tag for tag, _ in page.tags if tag == "img"], "a row has made an image"
    assert data["lines"][0]["method"] == data["tables"][0]["parts"][0]["category"] == evil, "the name was changed"
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_nothing_but_its_own_script_and_style_may_act(folder, board):
    page, _ = page_of(folder, board)
    policy = next(of["content"] for tag, of in page.tags if of.get("http-equiv") == "Content-Security-Policy")
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    for kind, text in (("script-src", page.scripts[1]), ("style-src", page.style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert allowed[kind] == f"'sha256-{digest}'", f"{kind} lets something else act, or not the page's own"
    assert allowed["default-src"] == "'none'"
    assert allowed["img-src"] == "data:"
    linked = {of[name] for _, of in page.tags for name in ("src", "href", "action") if name in of}
    assert {address for address in linked if not address.startswith(("#", "data:"))} == set(), "it points elsewhere"


def test_the_same_rows_give_the_same_bytes(folder, board):
    pages = [write_page(folder, folder / name, board).path.read_bytes() for name in ("a.html", "b.html")]
    assert pages[0] == pages[1]


def test_pictures_that_may_not_be_passed_on_are_counted(folder, board):
    _, data = page_of(folder, board)
    gallery = data["gallery"]
    assert gallery["withheld"] == {"Photos": 6}, "two per line of three"
    assert {cell(gallery["cards"]["target"], i) for i in range(gallery["n"])} == {"cloth"}
    assert len(gallery["images"]) == 2, "one image a kind, shared by all lines"
    assert gallery["n"] == 6
    assert gallery["licences"] == {"Cloth": "Apache-2.0"}
    assert gallery["private"] == []
    _, data = page_of(folder, board, photos=True)
    assert data["gallery"]["n"] == 12, "--photos shows them all"
    assert not data["gallery"]["withheld"]
    assert data["gallery"]["private"] == ["Photos"], "a page that may not be passed on does not say so"


def test_a_picture_is_that_of_the_first_run(folder, board):
    _, data = page_of(folder, board)
    cards = data["gallery"]["cards"]
    keys = {cell(cards["key"], i) for i in range(data["gallery"]["n"])}
    assert "dive-rich-cloth-0" in keys
    assert "dive-rich-cloth-1" not in keys, "the second seed's pictures"


def test_a_page_keeps_to_its_size(folder, board):
    whole = write_page(folder, folder / "a.html", board)
    small = write_page(folder, folder / "b.html", board, megabytes=(whole.size - 1000) / 1024**2)
    assert small.size < whole.size - 1000
    assert small.gallery.too_many > 0, "nobody is told that pictures are missing"
    assert len(small.gallery.cards) + small.gallery.too_many == len(whole.gallery.cards)
    none = write_page(folder, folder / "c.html", board, megabytes=0.001)
    assert not none.gallery.cards
    assert none.n_rows == whole.n_rows, "rows were left out for want of space"


def test_no_rows_and_no_folder(tmp_path, board):
    with pytest.raises(RowError, match="no such folder of rows"):
        write_page(tmp_path, tmp_path / "index.html", board)
    (tmp_path / "rows").mkdir()
    _, data = page_of(tmp_path, board)
    assert data["tables"] == []


def test_an_outline_goes_around_regions_and_holes():
    assert outline(np.zeros((4, 4), bool)) == ""
    one = np.zeros((3, 5), bool)
    one[1, 2] = True
    assert outline(one) == "M2.5 1l0.5 0.5l-0.5 0.5l-0.5 -0.5z", "not the middles of the four sides of the pixel"
    ring = np.ones((7, 9), bool)
    ring[2:5, 3:6] = False
    outer, inner = outline(ring).removesuffix("z").split("z")
    assert area(outer) == pytest.approx(7 * 9, abs=1), "the outer line does not hold the region (corners are cut)"
    assert area(inner) == pytest.approx(-3 * 3, abs=1), "the hole has no line of its own"
    touching = np.eye(2, dtype=bool)
    assert abs(sum(area(path) for path in outline(touching).split("z") if path)) == pytest.approx(2, abs=1.1)


def corners(path: str) -> list[tuple[float, float]]:
    x, y = 0.0, 0.0
    found = []
    for sign, dx, dy in re.findall(r"([Ml])(\S+?) ([-\d.]+)", path):
        x, y = (float(dx), float(dy)) if sign == "M" else (x + float(dx), y + float(dy))
        found.append((x, y))
    return found


def area(path: str) -> float:
    """Of a closed line, by the shoelace formula: positive when it runs clockwise on the screen."""
    points = np.array(corners(path))
    x, y = points.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)
