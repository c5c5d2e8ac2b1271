"""The warning on anomalous images whose mask has no pixel left at the backbone's image size."""

from __future__ import annotations

from collections.abc import Mapping

_NAMED = 4  # categories that are named before they are counted
MEANING = "they are not normal images to AUPIMO and RCPRO; the other pixel metrics count their pixels as normal"


def vanished(dataset: str, counts: Mapping[str, tuple[int, int]], image_size: int) -> list[str]:
    """One line on a dataset where any mask has vanished, else [].

    counts: category -> (anomalous images without a marked pixel at that size, anomalous images).
    """
    lost = {name: numbers for name, numbers in counts.items() if numbers[0]}
    if not lost:
        return []
    n, total = sum(numbers[0] for numbers in lost.values()), sum(numbers[1] for numbers in counts.values())
    names = [f"{name} {some} of {every}" for name, (some, every) in sorted(lost.items())]
    more = f" and {len(names) - _NAMED} more categories" if len(names) > _NAMED + 1 else ""
    where = f" ({', '.join(names[:_NAMED] if more else names)}{more})" if len(counts) > 1 else ""
    verb = "has" if n == 1 else "have"
    return [
        f"{dataset}: {n} of {total} anomalous images {verb} no marked pixel left at {image_size} px{where}; {MEANING}"
    ]
