"""What the lines of a table cost, beside what they reach: time, memory, what learns, operations of an image."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, NamedTuple

from zsad_bench.leaderboard.tables.grid import UNDEFINED
from zsad_bench.leaderboard.tables.mixed_rows import LINE
from zsad_bench.results.row import Row

# Key -> title, of the columns that can be switched on.
COLUMNS = {
    "encode": "encode, ms",
    "score": "score, ms",
    "memory": "peak, MiB",
    "trained": "trained",
    "gflops": "GFLOPs",
}
_RAISED = "ᵃᵇᶜᵈᵉᶠᵍʰⁱ"
TIME = "encode + score, ms"  # both in one, where columns are dear
HOW_TO_READ = """\
Cost stands beside quality. *encode* and *score* are milliseconds per image of the fastest pass over each category,
averaged over categories; reading files and computing metrics are not in them. Encoding is of the whole pass and shared
by all methods that were tested in it: it is not to be added up over them, and a method alone takes about as much.
*score* is of the method alone, from features to scores and maps. *peak* is the largest memory of the pass,
other methods included: of tensors on a GPU, else of the process. Times and memory of several machines are never mixed:
each line has those of one, which is named below its table (with a letter where there are several); every pass is one
process. *trained* is the number of
parameters that training changes, and *GFLOPs* are 1e9 operations to encode and score one image alone, texts cached (an
addition and a multiplication are two; matrix products and convolutions count): both follow from the configuration."""


@dataclass(frozen=True)
class LineCost:
    """encode, score: seconds per image. memory: MiB. None: not measured. machine: that measured them; "": none did.

    n_categories: that the seconds are a mean over, of n_expected. trained, gflops: the distinct numbers of the line's
    configurations, which may differ between targets; () where unknown. letter: of the machine, where a table has
    several.
    """

    encode: float | None = None
    score: float | None = None
    memory: float | None = None
    machine: str = ""
    n_categories: int = 0
    n_expected: int = 0
    trained: tuple[int, ...] = ()
    gflops: tuple[float, ...] = ()
    letter: str = ""

    def texts(self) -> dict[str, str]:
        """Key of a column -> what stands there."""
        lacking = f" ({self.n_categories}/{self.n_expected})" if self.n_categories < self.n_expected else ""
        return {
            "encode": UNDEFINED if self.encode is None else _milliseconds(self.encode) + lacking + self.letter,
            "score": UNDEFINED if self.score is None else _milliseconds(self.score) + lacking + self.letter,
            "memory": UNDEFINED if self.memory is None else f"{self.memory:,.0f}{self.letter}",
            "trained": _range([f"{number:,}" for number in self.trained]),
            "gflops": _range([_operations(number) for number in self.gflops]),
        }

    def numbers(self) -> dict[str, float | None]:
        """Key of a column -> what it is sorted by."""
        return {
            "encode": self.encode,
            "score": self.score,
            "memory": self.memory,
            "trained": max(self.trained, default=None),
            "gflops": max(self.gflops, default=None),
        }

    def record(self) -> dict[str, Any]:
        """The columns of a CSV file, unrounded; of several numbers the largest."""
        return {
            "encode_seconds_per_image": self.encode, "score_seconds_per_image": self.score,
            "peak_memory_mib": self.memory, "machine": self.machine,
            "trained_parameters": max(self.trained, default=None), "gflops_per_image": max(self.gflops, default=None),
        }  # fmt: skip

    def short(self) -> dict[str, str]:
        """Title -> what stands there, in fewer columns: time as one, with the letter of its machine."""
        texts = self.texts()
        parts = [texts[key] for key in ("encode", "score") if texts[key] != UNDEFINED]
        time = " + ".join(part.removesuffix(self.letter) for part in parts) + self.letter if parts else UNDEFINED
        return {TIME: time} | {COLUMNS[key]: texts[key] for key in ("memory", "trained", "gflops")}


class Machine(NamedTuple):
    """letter: "" where all lines of the table are of this one."""

    letter: str
    name: str


@dataclass(frozen=True)
class TableCosts:
    """by_line: `LINE` values -> cost. machines: of the lines' seconds, the one with the most lines first."""

    by_line: Mapping[tuple, LineCost] = field(default_factory=dict)
    machines: Sequence[Machine] = ()

    @property
    def columns(self) -> list[str]:
        """Keys of the columns in which any line has something."""
        kinds = {key for cost in self.by_line.values() for key, text in cost.texts().items() if text != UNDEFINED}
        return [key for key in COLUMNS if key in kinds]

    @property
    def short_columns(self) -> list[str]:
        """Titles of `LineCost.short` in which any line has something."""
        kinds = {title for cost in self.by_line.values() for title, text in cost.short().items() if text != UNDEFINED}
        return [title for title in LineCost().short() if title in kinds]

    @property
    def note(self) -> str:
        """Where seconds and memory are from; "" where there are none."""
        if not self.machines:
            return ""
        named = "; ".join(f"{letter} {name}".strip() for letter, name in self.machines)
        return f"Seconds and memory: {named}; one process."


def costs(rows: Iterable[Row]) -> TableCosts:
    """The cost of each line of a table. rows: those that its numbers are made of."""
    rows = list(rows)
    line_of = attrgetter(*LINE)
    passes: dict[tuple, dict[str, dict[tuple, list[Row]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    computed: dict[tuple, set[tuple[int | None, float | None]]] = defaultdict(set)
    seen = set()
    for row in rows:
        once = row.key, row.category, row.run_id, row.pass_id
        if once in seen:  # all metrics of a category have one cost
            continue
        seen.add(once)
        line = line_of(row)
        computed[line].add((row.trained_parameters, row.gflops))
        if row.seconds_encode is not None and row.seconds_score is not None and row.n_images:
            passes[line][row.device][row.target, row.category].append(row)
    expected = len({(row.target, row.category) for row in rows})
    usual = Counter(machine for by_machine in passes.values() for machine in by_machine)
    by_line = {line: _cost(passes.get(line, {}), known, expected, usual) for line, known in computed.items()}
    lines = Counter(cost.machine for cost in by_line.values() if cost.machine)
    names = sorted(lines, key=lambda name: (-lines[name], name))
    letters = dict(zip(names, _letters(len(names)), strict=True))
    by_line = {line: replace(cost, letter=letters.get(cost.machine, "")) for line, cost in by_line.items()}
    return TableCosts(by_line, [Machine(letters[name], name) for name in names])


def _cost(
    by_machine: Mapping[str, Mapping[tuple, Sequence[Row]]],
    known: Collection[tuple[int | None, float | None]],
    expected: int,
    usual: Mapping[str, int],
) -> LineCost:
    """Of the machine that measured most categories of the line, of several the one that most lines were measured on."""
    trained = tuple(sorted({number for number, _ in known if number is not None}))
    operations = tuple(sorted({number for _, number in known if number is not None}))
    cost = LineCost(n_expected=expected, trained=trained, gflops=operations)
    if not by_machine:
        return cost
    machine = max(by_machine, key=lambda name: (len(by_machine[name]), usual[name], name))
    blind = all(row.backbone == "none" for rows in by_machine[machine].values() for row in rows)
    # The fastest pass: what else the machine did only adds.
    fastest = [min(map(_per_image, rows), key=sum) for rows in by_machine[machine].values()]
    memory = [row.peak_memory_mb for rows in by_machine[machine].values() for row in rows if row.peak_memory_mb]
    return replace(
        cost,
        # Sanity checks are tested in a pass of others, of which they use nothing.
        encode=None if blind else math.fsum(encode for encode, _ in fastest) / len(fastest),
        score=math.fsum(score for _, score in fastest) / len(fastest),
        memory=min(memory, default=None),
        machine=machine,
        n_categories=len(fastest),
    )


def _per_image(row: Row) -> tuple[float, float]:
    """Seconds of encoding and of scoring."""
    return (row.seconds_encode or 0.0) / row.n_images, (row.seconds_score or 0.0) / row.n_images


def _letters(number: int) -> list[str]:
    """One for each of several machines, none for a single one; beyond nine they are numbers in brackets."""
    if number == 1:
        return [""]
    return [_RAISED[place] if place < len(_RAISED) else f"({place + 1})" for place in range(number)]


def _milliseconds(seconds: float) -> str:
    value = 1000 * seconds
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}" if value == 0 or value >= 0.005 else "<0.01"


def _operations(number: float) -> str:
    if 0 < number < 0.001:
        return "<0.001"
    digits = 0 if number >= 100 or not number else 1 if number >= 10 else 2 if number >= 1 else 3
    return f"{number:,.{digits}f}"


def _range(texts: Sequence[str]) -> str:
    """The number, or the smallest and the largest of several that are printed differently."""
    if not texts:
        return UNDEFINED
    return texts[0] if texts[0] == texts[-1] else f"{texts[0]} to {texts[-1]}"
