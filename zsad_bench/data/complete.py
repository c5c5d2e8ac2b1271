"""Whether all of a dataset is there: what rows say of one that is not, and what a user can do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from zsad_bench.types import Sample

Counts = tuple[int, int]  # test images, normal and anomalous
_MOST_NAMED = 5  # files in a note; the rest is counted


def remedy(how: str = "restore what is missing") -> str:
    """What to do about a copy that is not whole."""
    return f"the copy is partial, {how}, or take it as it is with --partial (in a recipe: partial: true)"


def counts(samples: Iterable[Sample]) -> Counts:
    """How many test images there are, normal and anomalous."""
    labels = [sample.label for sample in samples if sample.split == "test"]
    return labels.count(0), labels.count(1)


def shortfall(found: Counts, whole: Iterable[Counts]) -> str:
    """ "36 of 3000" where fewer images are there than the dataset holds, "" where all are.

    whole: the counts of every published composition, that which was asked for first; a copy that has exactly those of
    another one is complete. Fewer of one label count even where there are more of the other. Where nobody verified
    the counts on files (docs/datasets.md, evidence), too few are too few: such a number is compared with no other.
    """
    first, *others = (tuple(each[:2]) for each in whole)
    if found in others or all(there >= wanted for there, wanted in zip(found, first, strict=True)):
        return ""
    return f"{sum(map(min, found, first))} of {sum(first)}"


def without_absent(
    samples: Iterable[Sample], is_there: Callable[[str], bool], needs_mask: bool, notes: list[str]
) -> list[Sample]:
    """The samples whose image and masks are there, for a dataset that is used although it is partial.

    is_there: whether a path below the root is a file. needs_mask: an anomalous image that has no mask is left out too,
    as no pixel of it could be measured. What is left out is counted in `notes`.
    """
    complete, gone, bare = [], [], []
    for sample in samples:
        if not all(map(is_there, (sample.image, *sample.masks))):
            gone.append(sample.image)
        elif needs_mask and sample.label == 1 and not sample.masks:
            bare.append(sample.image)
        else:
            complete.append(sample)
    for left_out, why in ((gone, "themselves or their masks missing"), (bare, "anomalous and without a mask")):
        if left_out:
            notes.append(f"partial: {len(left_out)} samples are left out, {why}: {_named(left_out)}")
    return complete


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
