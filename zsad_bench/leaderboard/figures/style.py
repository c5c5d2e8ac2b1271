"""How figures look, and how they become files: the same bytes from the same numbers.

Every difference is shown twice: colours by a marker, a hatch or a line as well, so that a figure can
be read in grey and with any colour vision. What a figure is of, and what is not in it, stands below it.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from zsad_bench import metric_keys
from zsad_bench.atomic import write_whole
from zsad_bench.errors import ZsadError
from zsad_bench.leaderboard.tables.averaging import Measured, widest
from zsad_bench.leaderboard.tables.marks import Marked, describe, union
from zsad_bench.leaderboard.tables.published import Facts
from zsad_bench.variant import Variant

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

Place = TypeVar("Place", bound=Hashable)
FORMATS = ("svg", "png")
INK, FAINT = "#222222", "#777777"
# Okabe and Ito's colours, dark enough for lines on white: distinct with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#000000", "#7A5195")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
METRICS = metric_keys.titles()
_LETTERS, _LINE = 19.0, 0.135  # letters of a caption an inch, and inches a line, at its size
_CAPTION, _HEAD = 7.0, 0.3  # size of its letters, and inches of the title
_RC = {
    "font.family": "DejaVu Sans", "font.size": 8, "axes.titlesize": 9, "axes.labelsize": 8, "legend.fontsize": 7.5,
    "xtick.labelsize": 7.5, "ytick.labelsize": 7.5,
    "axes.edgecolor": FAINT, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "#dddddd", "grid.linewidth": 0.6, "hatch.linewidth": 0.7, "legend.frameon": False,
    "lines.linewidth": 1.4, "lines.markersize": 5.5, "figure.dpi": 130, "savefig.dpi": "figure",
    "svg.hashsalt": "zsad_bench",
}  # fmt: skip


class Drawn(NamedTuple):
    """A figure, and what stands below it."""

    figure: Figure
    caption: str


@contextmanager
def look() -> Iterator[None]:
    """Draws and saves within it look alike, whatever the user's own matplotlibrc; afterwards all is as before.

    Raises:
        ZsadError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise ZsadError("figures need matplotlib; pip install 'zsad-bench[figures]'") from None
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def sheet(width: float, height: float, title: str, caption: Sequence[str]) -> Drawn:
    """An empty figure of that many inches, its title above and its caption, given in sentences, below."""
    from matplotlib.figure import Figure

    text = " ".join(sentence for sentence in caption if sentence)
    lines = textwrap.wrap(text, int(width * _LETTERS), break_long_words=False)
    foot = len(lines) * _LINE + 0.12
    figure = Figure(figsize=(width, height + foot), layout="constrained")
    whole = height + foot
    rect = (0, foot / whole, 1, (height - _HEAD) / whole)
    _layout(figure).set(rect=rect, w_pad=0.08, h_pad=0.05)
    figure.text(0.08 / width, 1 - 0.06 / whole, title, va="top", weight="bold", fontsize=11)
    figure.text(0.08 / width, 0.06 / whole, "\n".join(lines), va="bottom", fontsize=_CAPTION, color="#444444",
                linespacing=1.35)  # fmt: skip
    return Drawn(figure, text)


def legend(figure: Figure, handles: Mapping[str, Any], beside: bool = False) -> None:
    """Names what is drawn, below the title or beside the panels; the panels make room. handles: by name."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    x, y, width, height = _layout(figure).get()["rect"]
    columns = 1 if beside else max(1, min(len(handles), int(figure.get_figwidth() / 1.3)))
    made = figure.legend(
        list(handles.values()), list(handles), loc="upper right" if beside else "upper left", ncols=columns,
        bbox_to_anchor=(x + width if beside else x, y + height), borderaxespad=0.2,
    )  # fmt: skip
    made.set_in_layout(False)
    size = made.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    wide, high = (size.width / figure.bbox.width, 0) if beside else (0, size.height / figure.bbox.height)
    _layout(figure).set(rect=(x, y, width - wide, height - high))


def _layout(figure: Figure) -> ConstrainedLayoutEngine:
    """The layout of a sheet until it is settled."""
    return cast("ConstrainedLayoutEngine", figure.get_layout_engine())


def save(drawn: Drawn, folder: str | Path, name: str, title: str) -> list[Path]:
    """The files `name`.svg and `name`.png, complete or missing; without dates or versions inside.

    Raises:
        RowError: the folder cannot be written.
    """
    # Letters are drawn as shapes: every reader of the SVG sees the same widths, so nothing collides.
    metadata = {
        "svg": {"Date": None, "Creator": "zsad-bench", "Title": title, "Description": drawn.caption},
        "png": {"Software": "zsad-bench", "Title": title, "Description": drawn.caption},
    }
    _settle(drawn.figure)
    paths = []
    for form in FORMATS:
        content = io.BytesIO()
        drawn.figure.savefig(content, format=form, metadata=metadata[form])
        paths.append(write_whole(Path(folder) / f"{name}.{form}", content.getvalue()))
    return paths


def _settle(figure: Figure) -> None:
    """Lays the figure out and rounds where its panels are: the layout's last digits differ from one time to another."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        left, bottom, width, height = (round(side, 5) for side in axes.get_position(original=True).bounds)
        axes.set_position((left, bottom, width, height))


class Mark(NamedTuple):
    """How one of several things is drawn."""

    colour: str
    marker: str


def marks(names: Iterable[str]) -> dict[str, Mark]:
    """A colour and a marker each, no two pairs alike up to forty, in this order."""
    return {
        name: Mark(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(dict.fromkeys(names))
    }


def method_marks(methods: Iterable[str], facts: Facts) -> dict[str, Mark]:
    """The marks of these methods: the same in every figure, as every method has its own."""
    known = marks([*sorted(facts.built), *sorted(set(methods) - facts.built)])
    return {method: known[method] for method in methods}


def label(method: str, variant: Variant, facts: Facts) -> str:
    """A method variant as printed; of the presets the name alone."""
    if variant.keys() == {"fidelity"}:
        return f"{facts.title(method)} ({variant['fidelity']})"
    return facts.title(method) + (f" ({variant})" if variant else "")


def is_plain(variant: Variant) -> bool:
    """Whether this is the method as it is, under any preset: no ablation."""
    return variant.keys() <= {"fidelity"}


def titles(names: Iterable[str], facts: Facts) -> str:
    return ", ".join(facts.title(name) for name in names)


def fullest(means: Mapping[Place, Measured]) -> dict[Place, Measured]:
    """Those that are defined and cover the same categories as the widest of them: the rest is not comparable with them.

    Nor is what was measured or learned on part of the data, unless all of them were; `partial_sentence` then says so.
    """
    places = widest(measured.places for measured in means.values())
    full = {key: m for key, m in means.items() if m.mean is not None and m.places == places}
    return {key: m for key, m in full.items() if not m.parts} or full


def lacking_sentence(names: Sequence[str]) -> str:
    """The sentence of a caption on what is not shown, as it covers less than the rest; "" where nothing is."""
    if not names:
        return ""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"Not shown, as rows of some categories are missing or on part of the data: {', '.join(names[:4])}{more}."


def partial_sentence(numbers: Iterable[Marked], facts: Facts) -> str:
    """The sentence of a caption on what is drawn although its data are not whole; "" where nothing is."""
    parts = union(number.parts for number in numbers)
    return f"On part of the data, and comparable with nothing else: {describe(parts, facts.title)}." if parts else ""


def transductive_sentence(numbers: Iterable[tuple[str, Marked]]) -> str:
    """The sentence of a caption on methods that see all test images before they score one; "" where none does."""
    return transductive_names(dict.fromkeys(name for name, number in numbers if number.transductive))


def transductive_names(names: Iterable[str]) -> str:
    """The same sentence, of these methods; "" where there are none."""
    listed = ", ".join(names)
    return f"Transductive, seeing all test images of a category at once: {listed}." if listed else ""
