"""The leak guard of a run: what it refuses and says, and what rows and checkpoints record of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from zsad_bench.console import Console
from zsad_bench.data import overlap
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.runner import checkpoint

Say = Callable[[str], None]
NearDuplicates = Mapping[str, frozenset[str]]  # target dataset -> paths of its images that look like an auxiliary one
_NAMED = 3  # pairs; the rest is counted


def printed_once(console: Console) -> Say:
    """Prints each line once, although members of one run learn from the same images."""
    printed: set[str] = set()

    def say(line: str) -> None:
        if line not in printed:
            printed.add(line)
            console.print(line, style="yellow")

    return say


def check_training(
    auxiliary: Sequence[ZeroShotDataModule], targets: Sequence[ZeroShotDataModule], say: Say
) -> NearDuplicates:
    """The near-duplicates that rows count; each gets a warning.

    Raises:
        OverlapError: a dataset or an image is on both sides.
    """
    return _said(overlap.check_overlap(auxiliary, targets, say), targets, say)


def check_checkpoint(
    path: Path,
    auxiliary: Sequence[str],
    here: Callable[[], Sequence[ZeroShotDataModule]],
    targets: Sequence[ZeroShotDataModule],
    say: Say,
) -> NearDuplicates:
    """The same for a trained checkpoint, by the hashes it carries, else by those of its auxiliary datasets' images.

    auxiliary: names of those datasets. here: data modules of those that are found on this machine.

    Raises:
        OverlapError: a dataset or an image is on both sides. CheckpointError: the file is damaged.
    """
    overlap.check_names(auxiliary, targets)
    seen = checkpoint.read_images(path)
    if seen is not None:
        return _said(overlap.compare(seen, targets, say), targets, say)
    found = here()
    lacking = ", ".join(sorted(set(auxiliary) - {module.name for module in found})) or "what it learned from"
    if not auxiliary or len(found) < len(auxiliary):
        say(
            f"checkpoint {path} has no hashes of the images it learned from, and {lacking} is not here: there the "
            "leak guard compares the names of datasets only"
        )
    return _said(overlap.check_overlap(found, targets, say), targets, say)


def _said(pairs: Iterable[overlap.Pair], targets: Sequence[ZeroShotDataModule], say: Say) -> NearDuplicates:
    by_target: dict[str, list[overlap.Pair]] = defaultdict(list)
    for pair in pairs:
        by_target[pair.dataset].append(pair)
    for target in targets:
        if found := by_target.get(target.name):
            named = ", ".join(f"{pair.image} like {pair.auxiliary}" for pair in found[:_NAMED])
            more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
            count = len({sample.image for sample in target.samples()})
            say(
                f"leak guard: {len(found)} of {count} images of {target.name} look like an auxiliary image (encoded "
                f"again, resized or mirrored?): {named}{more}; rows count them as n_near_duplicates"
            )
    return {name: frozenset(pair.image for pair in found) for name, found in by_target.items()}
