"""Sentences as the rows of a tree: what several of them begin with is there once, and is run once.

No row of a causal text tower sees one behind it. So sentences that begin with the same rows have the same rows there in
every block. Linear maps and norms take the rows as they lie, without padding. Attention takes them in groups, which are
parts of the tree, each beside all rows that its own ones descend from.

Axes: n texts, T places of a text, R rows of a tree, W text width, G groups, Q rows and K seen rows of a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F

LARGEST = 48  # rows of a group: a larger one pays for more pairs of rows, a smaller one for more padding


@dataclass(frozen=True)
class Attention:
    """Which rows of a tree attend to which, group by group.

    rows: (R',) the rows that attend, which are those of the result; None is all in their order. asks: (G,Q) places
    among them. seen: (G,K) rows beside these. mask: (G,Q,K) bool, True where the one attends to the other. slots: (R',)
    places in the flattened (G,Q). Tables are filled up with any number.
    """

    asks: Tensor
    seen: Tensor
    mask: Tensor
    slots: Tensor
    rows: Tensor | None = None

    def to(self, device: torch.device) -> Attention:
        """The same on a device."""
        rows = None if self.rows is None else self.rows.to(device)
        asks, seen, mask, slots = (each.to(device) for each in (self.asks, self.seen, self.mask, self.slots))
        return Attention(asks, seen, mask, slots, rows)

    def taken(self, rows_RW: Tensor) -> Tensor:
        """Of all rows those of the result."""
        return rows_RW if self.rows is None else picked(rows_RW, self.rows)

    def mix(self, queries: Tensor, keys: Tensor, values: Tensor, n_heads: int) -> Tensor:
        """(R',W): what attention gives, of queries (R',W), keys and values (R,W); scaled as a head's width asks for."""
        q, k, v = (
            picked(each, rows).unflatten(-1, (n_heads, -1)).transpose(1, 2)
            for each, rows in ((queries, self.asks), (keys, self.seen), (values, self.seen))
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask[:, None])
        return picked(mixed.transpose(1, 2).flatten(2).flatten(0, 1), self.slots)


@dataclass(frozen=True)
class TextTree:
    """Sentences as rows. Where they share none, each has T rows of its own, one sentence behind the other.

    ids: (R,) token of each row. text: (R,) the first sentence that has it. places: (R,) its place in a sentence, from
    0; places_cpu is the same on the CPU, so that nothing is read back from a device. paths: (n,T) rows of each
    sentence; what is behind its end means nothing. ends: (n,) the places of the ends, first_end: the first of them.
    within: attention of all rows. last: that of the ends alone, which are all that the last block is asked for. Both
    are None where nothing is shared.
    """

    ids: Tensor
    text: Tensor
    places: Tensor
    places_cpu: Tensor
    paths: Tensor
    ends: Tensor
    first_end: int
    within: Attention | None = None
    last: Attention | None = None

    def __len__(self) -> int:
        """How many sentences there are."""
        return len(self.paths)

    @property
    def n_rows(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device) -> TextTree:
        """The same on a device, but for `places_cpu`."""
        return replace(
            self,
            **{name: getattr(self, name).to(device) for name in ("ids", "text", "places", "paths", "ends")},
            within=self.within and self.within.to(device),
            last=self.last and self.last.to(device),
        )

    def between(self, first: int, last: int) -> Tensor:
        """The rows at places `first` to `last` of the sentences, in their order."""
        found = ((self.places_cpu >= first) & (self.places_cpu <= last)).nonzero()[:, 0]
        return found.to(self.ids.device)

    def rows_of(self, sentences_nTW: Tensor) -> Tensor:
        """(R,W): of sentences (n,T,W), which agree where they share rows, each row once."""
        flat = sentences_nTW.reshape(-1, sentences_nTW.shape[-1])
        return picked(flat, self.text * sentences_nTW.shape[1] + self.places)

    def counterparts(self, other: TextTree) -> Tensor:
        """(R,) rows of another tree of the same sentences that are at the places of this one's."""
        return other.paths[self.text, self.places]


def separate(ids: Tensor, ends: Tensor) -> TextTree:
    """Sentences of ids (n,T) that share nothing; ends (n,). All on the CPU."""
    n, length = ids.shape
    places = torch.arange(length).repeat(n)
    text = torch.arange(n).repeat_interleave(length)
    paths = torch.arange(n * length).view(n, length)
    return TextTree(ids.flatten().clone(), text, places, places, paths, ends.clone(), int(ends.min()))


def grown(ids: Tensor, ends: Tensor, labels: Tensor | None = None) -> TextTree:
    """The tree of sentences of ids (n,T) with their ends at (n,), on the CPU; O(n * T) steps of Python, to be kept.

    labels: (n,T) int64, what has to be equal from the start on for rows to be one; None is the ids. They keep rows of
    one token apart, such as those that learned values of several prompts are put into.
    """
    lines_of_labels = (ids if labels is None else labels).tolist()
    rows: dict[tuple[int, int], int] = {}  # row before and label -> row
    above: list[int] = []
    first: list[tuple[int, int]] = []  # sentence and place in which a row comes up first
    paths = []
    for number, end in enumerate(ends.tolist()):
        path, row = [], -1
        for place in range(end + 1):
            key = (row, lines_of_labels[number][place])
            if key not in rows:
                rows[key] = len(above)
                above.append(row)
                first.append((number, place))
            row = rows[key]
            path.append(row)
        paths.append(path)
    text, places = torch.tensor(first).T.contiguous()
    longest = max(map(len, paths))
    lines = [path + path[-1:] * (longest - len(path)) for path in paths]
    end_rows = [path[-1] for path in paths]
    groups, lineage = _groups(above), _lineages(above)
    return TextTree(
        ids[text, places],
        text,
        places,
        places,
        torch.tensor(lines),
        ends.clone(),
        int(ends.min()),
        _attention(groups, lineage, range(len(above))),
        replace(_attention(groups, lineage, end_rows), rows=torch.tensor(end_rows)),
    )


def joined(trees: Sequence[TextTree]) -> TextTree:
    """Several trees as one, sentences and rows one behind the other.

    Raises:
        ValueError: no tree, or one that shares rows beside one that does not.
    """
    if len(trees) == 1:
        return trees[0]
    if len({tree.within is None for tree in trees}) != 1:
        raise ValueError("trees that share rows and ones that do not cannot be joined")
    if trees[0].within is None:
        longest, n = max(tree.paths.shape[1] for tree in trees), sum(map(len, trees))
        squares = [tree.ids.view(tree.paths.shape) for tree in trees]
        filled = torch.cat([F.pad(square, (0, longest - square.shape[1])) for square in squares])
        ends, first_end = torch.cat([tree.ends for tree in trees]), min(tree.first_end for tree in trees)
        shape = separate(torch.zeros(n, longest, dtype=torch.int64), torch.zeros(n, dtype=torch.int64)).to(ends.device)
        return replace(shape, ids=filled.flatten(), ends=ends, first_end=first_end)
    before = [0, *accumulate(tree.n_rows for tree in trees)][:-1]
    texts = [0, *accumulate(map(len, trees))][:-1]
    return TextTree(
        torch.cat([tree.ids for tree in trees]),
        torch.cat([tree.text + start for tree, start in zip(trees, texts, strict=True)]),
        torch.cat([tree.places for tree in trees]),
        torch.cat([tree.places_cpu for tree in trees]),
        _stacked([tree.paths for tree in trees], before),
        torch.cat([tree.ends for tree in trees]),
        min(tree.first_end for tree in trees),
        _beside([tree.within for tree in trees if tree.within], before),
        _beside([tree.last for tree in trees if tree.last], before),
    )


def joined_rows(trees: Sequence[TextTree], rows: Sequence[Tensor]) -> Tensor:
    """(R,W): rows (R_i,W) of each tree as those of the `joined` one."""
    if trees[0].within is not None:
        return torch.cat(list(rows))
    longest = max(tree.paths.shape[1] for tree in trees)
    squares = [of.view(*tree.paths.shape, -1) for tree, of in zip(trees, rows, strict=True)]
    filled = [F.pad(square, (0, 0, 0, longest - square.shape[1])) for square in squares]
    return torch.cat(filled).flatten(0, 1)


def with_contexts(
    rows_RW: Tensor, tree: TextTree, contexts: Tensor, owner: Tensor | None = None, half: bool = False
) -> Tensor:
    """Rows of a tree with those at places 1..len of each sentence replaced by a context's; (R,W).

    contexts: (len,W), or (m,len,W) with owner (n,) int64, which of them each sentence has. Sentences that share a row
    have one context. half: what is put in is rounded to half precision, and so is the gradient of each row.
    """
    length, width = contexts.shape[-2:]
    if not length:
        return rows_RW
    where = tree.between(1, length)
    source = tree.places[where] - 1
    if owner is not None:
        source = source + owner[tree.text[where]] * length
    found = picked(contexts.reshape(-1, width), source)
    return rows_RW.index_copy(0, where, (found.half() if half else found).to(rows_RW.dtype))


def picked(rows_RW: Tensor, index: Tensor) -> Tensor:
    """Rows by their numbers, (*index,W); the same in each run on any device, its gradient too."""
    return F.embedding(index, rows_RW)


def _groups(above: Sequence[int]) -> list[list[int]]:
    """All rows in parts of the tree with at most `LARGEST` rows. above: the row before each, -1 at a start."""
    below: dict[int, list[int]] = {}
    for row, parent in enumerate(above):
        below.setdefault(parent, []).append(row)
    sizes = [1] * len(above)
    for row in reversed(range(len(above))):  # a row comes behind the one before it
        if above[row] >= 0:
            sizes[above[row]] += sizes[row]
    trunk: list[int] = []
    parts: list[list[int]] = [[]]
    waiting = list(reversed(below.get(-1, [])))
    while waiting:
        row = waiting.pop()
        if sizes[row] > LARGEST:
            trunk.append(row)
            waiting += reversed(below[row])
            continue
        if len(parts[-1]) + sizes[row] > LARGEST:
            parts.append([])
        inside = [row]
        for each in inside:
            inside += below.get(each, [])
        parts[-1] += inside
    trunks = [trunk[start : start + LARGEST] for start in range(0, len(trunk), LARGEST)]
    return [*trunks, *(part for part in parts if part)]


def _lineages(above: Sequence[int]) -> list[list[int]]:
    """Of each row itself and all that it descends from."""
    lineages: list[list[int]] = []
    for row, parent in enumerate(above):
        lineages.append([row] if parent < 0 else [*lineages[parent], row])
    return lineages


def _attention(groups: Sequence[Sequence[int]], lineages: Sequence[Sequence[int]], wanted: Sequence[int]) -> Attention:
    """Attention of the wanted rows, which are the rows of its result in this order."""
    place_of: dict[int, int] = {}
    for place, row in enumerate(wanted):
        place_of.setdefault(row, place)  # equal sentences have one end
    asking = [[row for row in group if row in place_of] for group in groups]
    asking = [group for group in asking if group]
    seen = [sorted({each for row in group for each in lineages[row]}) for group in asking]
    n_asks, n_seen = max(map(len, asking)), max(map(len, seen))
    mask = torch.zeros(len(asking), n_asks, n_seen, dtype=torch.bool)
    mask[..., 0] = True  # what is only there to fill up attends to something, so that no number is undefined
    slots: dict[int, int] = {}
    for number, (group, others) in enumerate(zip(asking, seen, strict=True)):
        at = {row: place for place, row in enumerate(others)}
        for place, row in enumerate(group):
            mask[number, place, 0] = False
            mask[number, place, [at[each] for each in lineages[row]]] = True
            slots[row] = number * n_asks + place
    return Attention(
        torch.tensor([[place_of[row] for row in group] + [0] * (n_asks - len(group)) for group in asking]),
        torch.tensor([others + [0] * (n_seen - len(others)) for others in seen]),
        mask,
        torch.tensor([slots[row] for row in wanted]),
    )


def _beside(parts: Sequence[Attention], before: Sequence[int]) -> Attention:
    """The attentions of several trees as one. before: number of rows in front of each tree's."""
    n_asks = max(part.asks.shape[1] for part in parts)
    n_seen = max(part.seen.shape[1] for part in parts)
    in_front = [0, *accumulate(len(part.slots) for part in parts)][:-1]
    masks, slots, n_groups = [], [], 0
    for part in parts:
        filled = F.pad(part.mask, (0, n_seen - part.mask.shape[2], 0, n_asks - part.mask.shape[1]))
        filled[:, part.mask.shape[1] :, 0] = True
        masks.append(filled)
        own = part.asks.shape[1]
        slots.append((n_groups + part.slots // own) * n_asks + part.slots % own)
        n_groups += len(part.asks)
    rows = [part.rows + start for part, start in zip(parts, before, strict=True) if part.rows is not None]
    return Attention(
        _stacked([part.asks for part in parts], in_front),
        _stacked([part.seen for part in parts], before),
        torch.cat(masks),
        torch.cat(slots),
        torch.cat(rows) if rows else None,
    )


def _stacked(parts: Sequence[Tensor], in_front: Sequence[int]) -> Tensor:
    """Tables of row numbers below each other, widened to one width by repeating what comes last in a line."""
    width = max(part.shape[1] for part in parts)
    return torch.cat(
        [
            torch.cat([part, part[:, -1:].expand(-1, width - part.shape[1])], 1) + start
            for part, start in zip(parts, in_front, strict=True)
        ]
    )
