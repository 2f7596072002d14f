"""Views of a history, cropped, masked or partly reordered; pre-training that brings two of one shopper together.

After CL4SRec (Xie et al. 2020, arXiv 2010.14395). A view is made of a history's own items and of nothing else, so that
it knows no more of what comes later than the history did. Histories of two items at least; every view differs from the
history it was made of. Shapes: item codes and gap buckets [batch, width], 0 behind a history's end; sizes [batch].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from worker import device as devices
from worker.parallel import ALONE, Group
from worker.rankers.sequence.histories import Histories, Resident, Windows
from worker.rankers.sequence.network import SequenceEncoder
from worker.rankers.training import within

MOST_NORM = 5.0


class View(NamedTuple):
    """``place`` [batch, width] is where in the history each item stood; −1 behind the view's end."""

    items: Tensor
    gaps: Tensor | None
    size: Tensor
    place: Tensor


def crop(items: Tensor, gaps: Tensor | None, size: Tensor, share: float) -> View:
    """Keep one stretch of a history, ``share`` of its items; nothing came before the first of it."""
    kept, start = _stretch(size, share, least=1, most=size - 1)
    step = torch.arange(items.shape[1], device=items.device)
    place = torch.where(step < kept[:, None], start[:, None] + step, -1)
    taken, later = _taken(items, place), None if gaps is None else _taken(gaps, place) * (step > 0)
    return View(taken, later, kept, place)


def mask(items: Tensor, gaps: Tensor | None, size: Tensor, share: float) -> View:
    """Blank ``share`` of a history's items; that something happened there, and when, is left."""
    place = _places(items, size)
    chance = torch.rand(items.shape, device=items.device).masked_fill(place < 0, 2.0)
    hidden = chance.argsort(dim=1).argsort(dim=1) < _many(size, share, least=1, most=size - 1)[:, None]
    return View(items.masked_fill(hidden, 0), gaps, size, place)


def reorder(items: Tensor, gaps: Tensor | None, size: Tensor, share: float) -> View:
    """Put the items of one stretch, ``share`` of a history, into an order drawn by chance; the times stay in place."""
    long, start = _stretch(size, share, least=2, most=size)
    place = _places(items, size)
    step = torch.arange(items.shape[1], device=items.device)
    inside = (step >= start[:, None]) & (step < (start + long)[:, None])
    drawn = torch.where(inside, start[:, None] + torch.rand(items.shape, device=items.device) * long[:, None], step)
    turned = drawn.argsort(dim=1, stable=True)
    same = (items.gather(1, turned) == items).all(dim=1)
    rolled = torch.where(inside, start[:, None] + (step - start[:, None] + 1) % long[:, None], step)
    turned = torch.where(same[:, None], rolled, turned)  # by one: no item stands twice in a row
    return View(items.gather(1, turned), gaps, size, torch.where(place < 0, -1, turned))


WAYS: dict[str, Callable[[Tensor, Tensor | None, Tensor, float], View]] = {
    "crop": crop, "mask": mask, "reorder": reorder,
}  # fmt: skip


def pair(items: Tensor, gaps: Tensor | None, size: Tensor, share: float) -> tuple[View, View]:
    """Return two views of each history, made in two different ways that are drawn for it.

    A crop keeps what the other two do not change: all but ``share``.
    """
    made = [crop(items, gaps, size, 1 - share), mask(items, gaps, size, share), reorder(items, gaps, size, share)]
    way = torch.rand((len(items), len(made)), device=items.device).argsort(dim=1)
    return _chosen(made, way[:, 0]), _chosen(made, way[:, 1])


def _chosen(made: list[View], way: Tensor) -> View:
    row = torch.arange(len(way), device=way.device)
    gaps = [view.gaps for view in made if view.gaps is not None]
    return View(
        torch.stack([view.items for view in made])[way, row], torch.stack(gaps)[way, row] if gaps else None,
        torch.stack([view.size for view in made])[way, row], torch.stack([view.place for view in made])[way, row],
    )  # fmt: skip


def _many(size: Tensor, share: float, *, least: int, most: Tensor) -> Tensor:
    """Return how many items are ``share`` of each history, within bounds."""
    return torch.minimum((size * share).round().long().clamp(min=least), most)


def _stretch(size: Tensor, share: float, *, least: int, most: Tensor) -> tuple[Tensor, Tensor]:
    """Return a stretch's length and where it starts, anywhere that it fits."""
    long = _many(size, share, least=least, most=most)
    return long, (torch.rand(len(size), device=size.device) * (size - long + 1)).long()


def _places(items: Tensor, size: Tensor) -> Tensor:
    step = torch.arange(items.shape[1], device=items.device)
    return torch.where(step < size[:, None], step, -1)


def _taken(column: Tensor, place: Tensor) -> Tensor:
    return column.gather(1, place.clamp(min=0)).masked_fill(place < 0, 0)


def info_nce(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Return the mean loss of finding a row's other view among those of the whole batch, both ways round.

    ``one`` and ``other`` [batch, width] are the states of two views, row by row of one shopper; −log softmax of their
    cosines / temperature (van den Oord et al. 2018).
    """
    one, other = functional.normalize(one.float(), dim=1), functional.normalize(other.float(), dim=1)
    alike, own = one @ other.T / temperature, torch.arange(len(one), device=one.device)
    return (functional.cross_entropy(alike, own) + functional.cross_entropy(alike.T, own)) / 2


def last_states(encoder: SequenceEncoder, view: View) -> Tensor:
    """Return the state after each view's last item [batch, width]."""
    states: Tensor = encoder(view.items, view.gaps)
    return states[torch.arange(len(states), device=states.device), view.size - 1]


def beginnings(histories: Histories, kept_back: NDArray[np.bool_] | None, length: int) -> Windows:
    """Return each history's last ``length`` items before those that are kept back, where there are two or more."""
    size = np.diff(histories.offset)
    if kept_back is not None:
        counted = np.concatenate([[0], np.cumsum(kept_back)])
        size = size - np.diff(counted[histories.offset])
    end, read = histories.offset[:-1] + size, np.minimum(size, length)
    return Windows(end - read, read).take(read >= 2)


def pretrain(
    encoder: SequenceEncoder,
    histories: Histories,
    kept_back: NDArray[np.bool_] | None,
    *,
    epochs: int,
    share: float,
    temperature: float,
    batch: int,
    learning_rate: float,
    device: torch.device,
    rng: np.random.Generator,
    progress: Callable[[float], None],
    group: Group = ALONE,
) -> list[dict[str, float]]:
    """Bring the last states of two views of one shopper together, and apart from others'; return ``contrast`` an epoch.

    Nothing is read of what is kept back to find the best epoch. A batch of one has nobody to be told from: it is left.
    In a ``group`` every process sees the whole batch, since a row is told from all others; they go on as one.
    """
    read = beginnings(histories, kept_back, encoder.shape.length)
    rows = Resident(histories, device, length=encoder.shape.length, times=encoder.shape.times)
    optimiser = torch.optim.Adam(encoder.to(device).parameters(), lr=learning_rate, fused=True)
    curves: list[dict[str, float]] = []
    encoder.train()
    for number in range(epochs if len(read) > 1 else 0):
        batches = [chosen for chosen in read.batches(batch, rng) if len(chosen) > 1]
        total, tell = torch.zeros((), device=device), within(progress, number / epochs, 1 / epochs)
        for place, chosen in enumerate(batches):
            start, size = (torch.from_numpy(column[chosen]).to(device) for column in (read.start, read.size))
            items, gaps, _flat = rows.read(start, size, int(read.size[chosen].max()))
            with devices.autocast(device):
                one, other = (last_states(encoder, view) for view in pair(items, gaps, size, share))
            loss = info_nce(one, other, temperature)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            loss = group.average(encoder, loss.detach())
            torch.nn.utils.clip_grad_norm_(encoder.parameters(), MOST_NORM)
            optimiser.step()
            total += loss
            tell((place + 1) / len(batches))
        curves.append({"contrast": float(total) / max(len(batches), 1)})
    return curves
