# pytest tests/leaderboard/test_page_browser.py
"""The page in a real Chromium, from the file system: what a reader does, and what they see then."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests import chromium
from tests.leaderboard.made_up_page import pick, write_board
from tests.made_up_rows import make_row
from zsad_bench.leaderboard.page.build import write_page
from zsad_bench.leaderboard.tables.leaderboard_files import write_leaderboard
from zsad_bench.leaderboard.tables.leaderboard_tables import LeaderboardLayout
from zsad_bench.results.pictures import write_pictures
from zsad_bench.results.rows import append

pytestmark = pytest.mark.skipif(not chromium.FOUND, reason="no chromium here (Debian: apt-get install chromium)")
BOARD = LeaderboardLayout(
    suite="made_up",
    command="zsad-bench table made_up",
    groups={"cloth": "Cloth", "parts": "Parts"},
    titles={"dive": "DIVE", "random": "Random", "photos": "Photos"},
    note="Made up: not comparable with papers.",
    apart_note="Photographs: in no mean.",
)
EVIL = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_board(tmp_path_factory.mktemp("board"))


@pytest.fixture(scope="module")
def address(folder: Path) -> str:
    return write_page(folder, folder / "index.html", BOARD).path.as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    with chromium.Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(browser: chromium.Browser, address: str) -> Iterator[chromium.Browser]:
    """The page, freshly opened; when the test ends, the console must have stayed silent and no request have left."""
    browser.problems.clear()
    browser.requests.clear()
    browser.size(1280, 900)
    browser.prefers("light")
    browser.open(address)
    yield browser
    assert not browser.problems, f"the console said {browser.problems}"
    left = [asked for asked in browser.requests if not asked.startswith(("file:", "data:", "about:"))]
    assert not left, f"the page asked for {left}"


def lines(page: chromium.Browser, section: str = "#tables") -> list[list[str]]:
    found = page.texts(f"{section} tbody tr")
    return [re.split(r"[\t\n]+", line) for line in found]


def test_the_reader_sees_the_numbers_of_the_markdown_tables(page, folder):
    write_leaderboard(folder / "rows", folder, BOARD)
    sections = (folder / "README.md").read_text(encoding="utf-8").split("\n## ")[1:5]
    names = page.texts("#filters .tabs button")
    assert names == [section.partition("\n")[0] for section in sections] == ["Overall", "Cloth", "Parts", "Photos"]
    for place, section in enumerate(sections, 1):
        page.click(f"#filters .tabs button:nth-child({place})")
        _, caption, table, note = section.split("\n\n")[:4]
        cells = [[text.strip() for text in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]
        plain = [[re.sub(r"\*\((.*)\)\*", r"\1", text).replace("**", "") for text in line] for line in cells]
        assert [" ".join(line) for line in lines(page)] == [" ".join(line) for line in plain]
        assert page.texts("#tables .caption") == [caption]
        assert note.startswith(page.texts("#tables .notes p")[0])
        bold = [line.split("**")[1] for line in re.findall(r"\*\*[^*]+\*\*", table)]
        assert page.texts("#tables .best") == bold, "other numbers are bold"


def test_sorting(page):
    column = "#tables thead th:nth-child(4)"
    assert page.texts(column) == ["image AUROC"]
    seen = []
    for expected in ("descending", "ascending", "none"):
        page.click(f"{column} button")
        sorted_now = page.run(f"document.querySelector('{column}').getAttribute('aria-sort')")
        assert sorted_now == expected
        seen.append([line[3] for line in lines(page)])
        focused = page.run("document.activeElement.textContent")
        assert focused.startswith("image AUROC"), "the focus is gone after sorting"
    # means: rich 82.5 (75 and 90), limited 70 of two thirds, random 49.75
    assert [text.split()[0] for text in seen[0]] == ["82.5", "70.0", "49.8"]
    assert seen[1] == seen[0][::-1]
    page.click("#filters .tabs button:nth-child(3)")
    for way in ("down", "up"):
        page.click(f"{column} button")
        assert lines(page)[-1][3] == "–", f"what is undefined is not the last one when sorted {way}"


def test_filters_are_kept_in_the_address(page):
    page.click("#q")
    for letter in "dive lim":
        page.press(letter)
    assert [line[:2] for line in lines(page)] == [["DIVE", "limited"]]
    assert page.texts("#status") == ["1 of 3 lines shown"]
    assert page.run("document.activeElement.id") == "q", "the focus leaves the search while one types"
    link = page.run("location.href")
    page.open(link)
    assert [line[:2] for line in lines(page)] == [["DIVE", "limited"]], "a link does not give the same view"
    page.click("[data-id=reset]")
    page.click("[data-open=priors] summary")
    page.click("[data-id='priors:rich']")
    assert [line[1] for line in lines(page)] == ["limited", "none"]
    page.click("[data-open=columns] summary")
    page.click("[data-id='columns:pixel_f1max']")
    assert "pixel F1-max" in page.texts("#tables thead th"), "a metric that the Markdown table lacks cannot be selected"
    assert page.texts("#gallery .card figcaption > b") == ["DIVE", "Random"], "the gallery shows what is filtered out"


def test_the_matrix_has_numbers_on_legible_colours(page):
    page.run("document.querySelector('#metric').value = 'pixel_f1max'")
    page.run("document.querySelector('#metric').dispatchEvent(new Event('change'))")
    assert page.texts("#matrix thead th") == ["method", "prior", "Overall", "Cloth", "Parts"], "Photos has no masks"
    page.click("#filters .tabs button:nth-child(2)")
    assert page.texts("#matrix thead th") == ["method", "prior", "mean", "carpet", "grid"]
    # under random: 0.5 and 0.51
    random = next(" ".join(line) for line in lines(page, "#matrix") if "Random" in line[0])
    assert random.endswith("50.5 50.0 51.0")
    contrasts = page.run("""[...document.querySelectorAll('#matrix td.painted')].map((cell) => {
        const light = (colour) => colour.match(/\\d+/g).slice(0, 3).map((c) => c / 255)
            .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
            .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
        const both = [light(cell.style.color), light(cell.style.backgroundColor)].sort((a, b) => b - a);
        return (both[0] + 0.05) / (both[1] + 0.05);
    })""")
    assert len(contrasts) == 9
    assert min(contrasts) >= 4.5, f"a number stands on its colour with a contrast of {min(contrasts):.1f}"


def test_datasets_without_a_common_mean_stand_side_by_side(page, folder, tmp_path):
    page.open(write_page(folder, tmp_path / "apart.html", replace(BOARD, groups={})).path.as_uri())
    assert page.texts("#filters .tabs button")[0] == "All datasets"
    assert page.texts("#matrix thead th") == ["method", "prior", "cloth", "parts", "Photos"]
    assert [" ".join(line[2:]) for line in lines(page, "#matrix")][:2] == ["70.0 – 40.0", "75.0 ± 7.1 90.0 55.0 ± 7.1"]
    assert page.run("document.querySelector('#tables').hidden"), "a table of no mean"
    page.click("#filters .tabs button:nth-child(2)")
    assert not page.run("document.querySelector('#tables').hidden")


def test_the_figure_has_a_dot_for_each_prior(page):
    dots = page.run("[...document.querySelectorAll('#figure .dot title')].map((one) => one.textContent)")
    assert dots == ["DIVE · limited: 70.0 (2/3)", "DIVE · rich: 82.5 ± 3.5"]
    places = page.run("[...document.querySelectorAll('#figure .dot')].map((one) => one.getBBox().x)")
    assert places[0] < places[1], "the higher mean is not on the right"


def test_where_a_number_comes_from(page):
    number = "#tables tbody tr:nth-child(2) td:nth-child(4) .number"
    page.point(number)
    page.until("!document.querySelector('#tip').hidden")
    (tip,) = page.texts("#tip")
    for text in ("82.5 ± 3.5", "DIVE", "version 1", "rich", "hash-of-ri", "2 runs", "3 categories", "abc1234", "c1"):
        assert text in tip, f"the short form lacks {text}: {tip}"
    page.click(number)
    assert page.run("document.querySelector('#panel').open")
    shown = page.texts("#panel dl")[0]
    for text in ("hash-of-rich", "tiny, 96 px", "w1", "d1", "abc1234", "float32", "cpu", "2.0"):
        assert text in shown, f"the panel lacks {text}"
    rows = page.texts("#panel tbody tr")
    assert len(rows) == 6, "three categories under two seeds"
    for text in ("carpet", "80.0000", "70.0 to 90.0 (95 %)", "10 (4)", "dive-rich-cloth-0", "run0", "2026-01-02"):
        assert any(text in row for row in rows), f"no row of the panel has {text}"
    link = page.run("location.href")
    page.press("Escape")
    assert not page.run("document.querySelector('#panel').open")
    page.open(link)
    assert page.run("document.querySelector('#panel').open"), "a link to a number does not open it"


def test_keys_alone_will_do(page):
    page.run("document.querySelector('#tables .number').focus()")
    assert page.texts("#tip")[0].startswith("70.0"), "the short form is for mice only"
    page.press("ArrowDown")
    page.press("ArrowRight")
    assert page.run("document.activeElement.innerText") == "82.5 ± 3.5"
    assert page.run("document.querySelectorAll('#tables .number[tabindex=\"0\"]').length") == 1, "one stop a table"
    page.press("Enter")
    assert page.texts("#panel-title") == ["DIVE · AUPRO · Overall"]
    page.press("Escape")
    assert page.run("document.activeElement.innerText") == "82.5 ± 3.5", "closing the panel loses the place"


def test_the_gallery(page):
    assert page.texts("#gallery .card figcaption > b") == ["DIVE", "DIVE", "Random"]
    assert page.texts("#gallery .card:first-child .values > span") == ["score 0.25", "AUROC 75.0"], "per-image values"
    assert page.run("document.querySelectorAll('#gallery .card path.outline').length") == 3
    seen = "getComputedStyle(document.querySelector('#gallery path.outline')).display"
    assert page.run(seen) != "none"
    page.click("#outline")
    assert page.run(seen) == "none", "the outline does not go away"
    opacity = "getComputedStyle(document.querySelector('#gallery .map')).opacity"
    assert page.run(opacity) == "0.6"
    page.run("document.querySelector('#opacity').focus()")
    page.press("ArrowRight")
    assert page.run(opacity) == "0.65", "the slider does not move the map"
    drawn = page.run("""(async () => { const images = [...document.querySelectorAll('#gallery svg image')];
        const sizes = await Promise.all(images.map(async (one) => { const image = new Image();
            image.src = one.getAttribute('href'); await image.decode(); return [image.width, image.height]; }));
        return sizes; })()""")
    assert drawn == [[48, 64]] * 6, "an image or a map cannot be drawn, or has another size"
    page.run("document.querySelector('#kind').value = 'false_alarm'")
    page.run("document.querySelector('#kind').dispatchEvent(new Event('change'))")
    assert page.run("document.querySelectorAll('#gallery .card path.outline').length") == 0, (
        "a normal image has no mask"
    )
    page.click("#gallery .card .link")
    assert "dive-limited-cloth-0" in page.texts("#panel .big")[0]
    assert len(page.texts("#panel tbody tr")) == 3, "the metrics of that category"
    page.press("Escape")
    assert any("6 pictures of Photos left out" in note for note in page.texts("#gallery .notes p"))


def show_board(browser, folder: Path, rows, board: LeaderboardLayout = BOARD) -> None:
    """Opens the page of these rows, with the pictures that lie in the folder."""
    append(folder / "rows" / "a.jsonl", rows)
    browser.problems.clear()
    browser.size(1280, 900)
    browser.open(write_page(folder, folder / "index.html", board).path.as_uri())
    assert not browser.problems


def options(browser, name: str) -> list[str]:
    return browser.run(f"[...document.querySelector('#{name}').options].map((one) => one.textContent)")


def test_it_opens_on_what_has_pictures(browser, tmp_path):
    """The first dataset by name has no picture of the first kind, and the first table has no picture."""
    about = {"licence": "Apache-2.0", "redistribute": True}
    rows = []
    for target, picks in (("a_bare", []), ("b_images", ["false_alarm", "best"]), ("cloth", ["largest", "worst"])):
        row = make_row(target=target, category=f"{target}_part")
        rows.append(row)
        if picks:
            made = [pick(kind, target, 3) for kind in picks]
            write_pictures(tmp_path / "pictures", row.key, row.category, made, {"target": target, **about})
    board = replace(BOARD, groups={}, titles={"a_bare": "Bare", "b_images": "Bulk", "cloth": "Cloth"})
    show_board(browser, tmp_path, rows, board)
    assert browser.texts("#gallery .card"), "the page opens on no picture although there are some"
    assert options(browser, "category") == ["Bulk / b_images_part", "Cloth / cloth_part", "all categories"]
    for place, shown in ((2, 0), (3, 1), (4, 1)):
        browser.click(f"#filters .tabs button:nth-child({place})")
        assert len(browser.texts("#gallery .card")) == shown
    assert options(browser, "kind") == ["largest defect", "worst"], "kinds that this dataset has no picture of"
    browser.click("#filters .tabs button:nth-child(3)")
    assert options(browser, "kind") == ["best", "false alarm"]


def test_one_table_without_pictures_is_not_what_it_opens_on(browser, tmp_path):
    row = make_row(target="folder:up/my parts", category="nut")
    made = [pick("best", "x", 3)]
    about = {"target": row.target, "licence": "mine", "redistribute": True}
    write_pictures(tmp_path / "pictures", row.key, row.category, made, about)
    show_board(browser, tmp_path, [row])
    assert browser.texts("#filters .tabs button") == ["up/my parts (folder)"]
    assert options(browser, "category")[0] == "up/my parts (folder) / nut"
    assert browser.texts("#gallery .card")


def test_menus_and_panels_show_titles(page):
    names = {"cloth", "parts", "photos", "dive", "random", "image_auroc", "pixel_aupro", "pixel_f1max", "false_alarm"}
    menus = "option, details.choices label, .tabs button"
    seen = page.run(f"[...document.querySelectorAll('{menus}')].map((one) => one.textContent)")
    assert not names & set(seen), f"registry names in menus: {names & set(seen)}"
    page.click("#tables .number")
    assert {row[0] for row in lines(page, "#panel")} <= {"Cloth", "Parts", "Photos"}
    page.press("Escape")


def test_numbers_on_part_of_the_data_are_marked(browser, tmp_path):
    rows = [make_row(method=name, target=t, value=0.5) for name in ("dive", "random") for t in ("cloth", "parts")]
    rows += [make_row(method="clip", target="cloth", value=0.9, n_images=6, n_skipped=4)]
    rows += [make_row(method="clip", target="parts", value=0.9, target_partial="36 of 3000")]
    show_board(browser, tmp_path, rows)
    marks = {line[0]: line[3] for line in lines(browser)}
    assert marks == {"clip": "90.0†", "DIVE": "50.0", "Random sanity check": "50.0"}
    assert "90.0†" not in browser.texts("#tables .best")
    (said,) = [note for note in browser.texts("#tables .notes p") if note.startswith("†")]
    assert "Parts 36 of 3000 images" in said
    assert "Cloth/carpet 6 of 10 images (4 could not be read and were left out)" in said
    assert [note for note in browser.texts("#matrix .notes p") if note.startswith("†")] == [said]
    browser.click("#matrix tbody tr .number")
    assert "36 of 3000 images" in browser.texts("#panel dl")[0]
    assert "6 (4), 4 left out" in " ".join(browser.texts("#panel tbody tr"))
    browser.press("Escape")


def test_dark_and_light(page):
    def lightness() -> int:
        return sum(map(int, re.findall(r"\d+", page.run("getComputedStyle(document.body).backgroundColor"))[:3]))

    assert lightness() > 600
    page.prefers("dark")
    assert lightness() < 150, "the page does not follow the system"
    page.click("#theme")
    assert page.texts("#theme") == ["Theme: dark"]
    page.prefers("light")
    assert lightness() < 150, "what was chosen by hand gives way to the system"
    page.click("#theme")
    page.prefers("dark")
    assert lightness() > 600
    page.click("#theme")
    assert page.texts("#theme") == ["Theme: auto"]


def test_a_phone_needs_no_sideways_scrolling(page, address):
    page.size(390, 844, phone=True)
    page.open(address)  # not `location.reload()`: that returns at once, and the old page still answers
    page.until("innerWidth === 390")
    for tab in (1, 2, 3, 4):
        page.click(f"#filters .tabs button:nth-child({tab})")
        wide = page.run("""[...document.querySelectorAll('body *')]
            .filter((one) => !one.closest('.scroll, dialog, svg') && one.getBoundingClientRect().right > 391)
            .map((one) => one.outerHTML)""")
        assert page.run("document.documentElement.scrollWidth") == 390, f"wider than the window: {wide[:3]}"
    page.click("[data-open=methods] summary")
    assert page.run("document.querySelector('[data-open=methods] > div').getBoundingClientRect().right") <= 390


def test_what_a_row_says_is_shown_and_not_run(browser, tmp_path):
    row = {"method": EVIL, "variant": EVIL, "prior": EVIL, "device": EVIL, "metric": EVIL, "run_id": EVIL}
    append(tmp_path / "rows" / "a.jsonl", [make_row(**row, target=name, category=EVIL) for name in ("cloth", EVIL)])
    browser.problems.clear()
    browser.open(write_page(tmp_path, tmp_path / "index.html", BOARD).path.as_uri())
    browser.run("document.querySelectorAll('details').forEach((one) => one.open = true)")
    browser.click("#matrix .number")
    assert EVIL in browser.texts("#matrix tbody th")[0], "the name is not shown as it is"
    assert EVIL in browser.texts("#panel dl")[0]
    assert browser.run("document.title") != "run", "a row's text was run"
    assert browser.run("document.querySelectorAll('img, script:not(body > script)').length") == 0
    assert not browser.problems
    browser.press("Escape")
    browser.size(390, 844, phone=True)
    browser.until("innerWidth === 390")
    assert browser.run("document.documentElement.scrollWidth") == 390, "a long name pushes the page sideways"


def test_costs_are_switched_on_and_sorted_by(browser, tmp_path):
    took = {"cloth": {"dive": (0.05, 0.02, 5), "clip": (0.04, None, 0)}, "parts": {"dive": (0.06, 0.01, 5)}}
    rows = [
        make_row(method=method, target=target, seconds_encode=encode, seconds_score=score, peak_memory_mb=900.0,
                 trained_parameters=trained, gflops=0.5, device="cpu (A, 2 threads)", pass_id=target)
        for target, lines in took.items() for method, (encode, score, trained) in lines.items()
    ]  # fmt: skip
    append(tmp_path / "rows" / "a.jsonl", rows)
    browser.problems.clear()
    browser.size(1280, 900)
    page = write_page(tmp_path, tmp_path / "index.html", BOARD).path.as_uri()
    browser.open(page)
    columns = "#tables thead th"
    quality = ["method", "prior", "runs", "image AUROC"]
    assert browser.texts(columns) == quality, "quality is what the page opens on"
    assert "one process" not in " ".join(browser.texts("#tables .notes p"))
    browser.click('[data-open="costs"] summary')
    browser.click('[data-id="costs:all"]')
    assert browser.texts(columns) == [*quality, "encode, ms", "score, ms", "peak, MiB", "trained", "GFLOPs"]
    assert browser.texts("#filters [data-open='costs'] b") == ["all"]
    assert [line[4:] for line in lines(browser)] == [
        ["–", "–", "–", "0", "0.500"],
        ["5.50", "1.50", "900", "5", "0.500"],
    ]
    assert "Seconds and memory: cpu (A, 2 threads); one process." in browser.texts("#tables .notes p")
    browser.click(f"{columns}:nth-child(8) button")
    assert [line[0] for line in lines(browser)] == ["DIVE", "clip"], "not sorted by what trains"
    assert not browser.run("document.querySelector('#tables td:nth-child(8) button') !== null"), "a number to open"
    browser.click('[data-open="costs"] summary')
    browser.click('[data-id="costs:encode"]')
    assert browser.texts("#filters [data-open='costs'] b") == ["4 of 5"]
    kept = browser.run("location.href")
    browser.open("about:blank")
    browser.open(kept)
    assert browser.texts(columns) == [*quality, "score, ms", "peak, MiB", "trained▼", "GFLOPs"], "not in the address"
    browser.click('[data-open="costs"] summary')
    browser.click('[data-id="costs:none"]')
    assert browser.texts(columns) == quality
    assert "costs=" not in browser.run("location.href")
    assert not browser.problems, f"the console said {browser.problems}"
