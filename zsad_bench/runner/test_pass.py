"""One pass over a target for every method that is tested on it, and the rows that come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lightning import Callback, Trainer
from torch.utils.data import DataLoader

from zsad_bench.atomic import file_name
from zsad_bench.console import Console
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.data.vanished import vanished
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.results.pictures import Pick
from zsad_bench.runner import resume
from zsad_bench.runner.metric_collector import Collector, Finished, OnCategory
from zsad_bench.runner.picks import draw_sheet
from zsad_bench.runner.progress import progress
from zsad_bench.runner.shared_encoder import SharedPass
from zsad_bench.runner.train import stoppable, trainer_options
from zsad_bench.types import Batch, Category

if TYPE_CHECKING:
    from zsad_bench.runner.run_group import Member


def test(asked: str, data: ZeroShotDataModule, members: Sequence[Member], console: Console) -> None:
    """One pass for the methods that read the same image size; usually that is all of them."""
    labels = {}
    for at, member in enumerate(members):
        for name, categories in member.due[asked].items():
            if categories:
                labels[name if len(members) == 1 else f"{name} {at}"] = (member, name, categories)
    for size in sorted({member.built[name].config.image_size for member, name, _ in labels.values()}):
        chosen = {label: of for label, of in labels.items() if of[0].built[of[1]].config.image_size == size}
        methods = {label: member.built[name] for label, (member, name, _) in chosen.items()}
        data.image_size = size
        wanted = set().union(*(categories for _, _, categories in chosen.values()))
        kept = resume.whole_batches(data.samples(), wanted, data.batch_size)
        part = data
        if len(kept) < len(data.samples()):
            part = members[0].group.module(asked, next(iter(methods.values())).backbone, {"samples": kept})
            part.image_size = size
        shown = {label: method.title for label, method in methods.items() if not method.stochastic_at_test}
        largest: dict[str, dict[str, Pick]] = {}
        left: dict[str, tuple[int, int]] = {}
        callbacks = [
            Collector(part, _writer(data, chosen, largest, left), shown),
            progress(console, f"test on {data.title}"),
        ]
        loader = part.test_dataloader()
        run_pass(methods, loader, callbacks, console.is_terminal)
        if largest and shown:
            draw_sheet(largest, shown, members[0].folder / f"maps_{file_name(data.name)}_{size}px.png")
        lost = vanished(data.name, left, size)
        for line in [*(f"left out: {reason}" for reason in loader.reasons), *loader.resized, *loader.said, *lost]:
            console.print(line, style="yellow")


def run_pass(
    methods: Mapping[str, ZeroShotMethod],
    batches: DataLoader[Batch],
    callbacks: Sequence[Callback] = (),
    progress_bar: bool = False,
) -> None:
    """Tests methods, by label, on the same batches; what comes of it is the callbacks' matter."""
    trainer = Trainer(logger=False, callbacks=list(callbacks), enable_progress_bar=progress_bar, **trainer_options())
    with stoppable(trainer):
        trainer.test(SharedPass(methods), dataloaders=batches, verbose=False)


def _writer(
    data: ZeroShotDataModule,
    chosen: Mapping[str, tuple[Member, str, set[str]]],
    largest: dict[str, dict[str, Pick]],
    left: dict[str, tuple[int, int]],
) -> OnCategory:
    """What a collector calls: the rows go where their member keeps them, of wanted categories alone.

    largest: takes the picks of that kind, by category and label. left: takes how many anomalous images of a category
    have no marked pixel, and how many there are.
    """
    bound = {label: member.recorder.bind(data) for label, (member, _, _) in chosen.items()}

    def finished(label: str, category: Category, found: Finished) -> None:
        _, name, categories = chosen[label]
        if category.name in categories:
            bound[label](name, category, found)
            left[category.name] = found.result.n_vanished, found.result.n_anomalous
        for pick in found.picks:
            if pick.kind == "largest":
                largest.setdefault(category.name, {})[label] = pick

    return finished
