"""Training the encoder: every position predicts the item after it; stopped on the latest slice; resident on its device.

Negatives are drawn once a batch (on a CPU, once a part of it) and shared by all its positions. The last tenth of the
targets, by time, is kept back to find the best epoch, and is learnt from only then: what is newest matters most to the
next purchase.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from worker import device as devices
from worker.losses import calibrated_cross_entropy, positive_weight, sampled_softmax
from worker.parallel import ALONE, Group
from worker.rankers.sequence.histories import Floats, Histories, Ints, Resident, Windows
from worker.rankers.sequence.network import SequenceEncoder
from worker.rankers.sequence.views import crop, mask, pretrain
from worker.rankers.training import late, more_epochs, patient_epochs, until_no_better, within

MOST_JUDGED = 4096
JUDGED_AT_ONCE = 512
REPORT_EVERY = 10
PARTS, LEAST_PART = 4, 16
"""Into how many parts of like size a CPU cuts a batch, and how many windows a part holds at least."""


@dataclass(frozen=True, slots=True)
class Training:
    """How to train. ``popularity`` is the power of an item's frequency in the draw of negatives: 0 draws evenly.

    Training ends after ``patience`` epochs, and at least ``patient_steps`` steps, that brought nothing better.
    ``most_steps`` bounds what all epochs may cost: there are fewer of them where there is much data, one at least. A
    catalogue no larger than ``negatives`` is compared in full. ``compile`` fuses the step through torch.compile,
    ``graph`` replays it as one CUDA graph: both pay where steps are short and many. ``augment`` shows every batch as a
    view of itself; reordering is none of them, since it would teach the wrong next item. ``pretraining`` counts the
    epochs in which two views of one shopper are brought together first; ``view_share`` is how much a view changes.
    """

    epochs: int = 100
    most_steps: int | None = None
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    negatives: int = 256
    popularity: float = 0.5
    loss: Literal["sampled_softmax", "gsasrec"] = "sampled_softmax"
    calibration: float = 0.75
    augment: Literal["none", "crop", "mask"] = "none"
    view_share: float = 0.3
    pretraining: int = 0
    temperature: float = 0.2
    patience: int = 3
    patient_steps: int = 100
    compile: bool = False
    graph: bool = False

    def epochs_over(self, windows: int) -> int:
        """Return how many times to go through so many windows at most."""
        if self.most_steps is None:
            return self.epochs
        return max(1, min(self.epochs, self.most_steps // self._steps(windows)))

    def patience_over(self, windows: int) -> int:
        """Return how many epochs over so many windows may bring nothing better."""
        return patient_epochs(self.patience, self.patient_steps, self._steps(windows))

    def _steps(self, windows: int) -> int:
        return max(-(-windows // self.batch), 1)

    def drawn(self, frequency: Floats) -> Floats:
        """Return each item's share of the negatives."""
        found: Floats = np.power(np.maximum(frequency, 1.0), self.popularity)
        return found / max(found.sum(), 1.0)

    def start(self, frequency: Floats) -> Tensor:
        """Return the items' biases under which an untrained network already says how popular each item is.

        Under the softmax the logarithms of the frequencies; under gBCE those of β·positives / negatives, the odds at
        which its terms balance: from zero it would first have to learn that nearly everything is wrong.
        """
        share = np.maximum(frequency, 1.0) / max(frequency.sum(), 1.0)
        found = np.log(share) - np.log(share).mean() if len(share) else share
        if self.loss == "gsasrec" and len(share):
            beta = positive_weight(self.rate(len(share)), self.calibration)
            found = np.log(beta * share / (self.negatives * self.drawn(frequency)))
        return torch.tensor(found, dtype=torch.float32)

    def rate(self, items: int) -> float:
        """Return the share of the other items that are drawn as negatives."""
        return min(self.negatives / max(items - 1, 1), 1.0)


class Trainer:
    """One network, its data on the device, its optimiser; ``epoch`` goes through the windows once.

    In a ``group`` each process draws the same batches and steps on its part of each; the steps are the whole batch's.
    """

    def __init__(
        self,
        encoder: SequenceEncoder,
        histories: Histories,
        training: Training,
        *,
        device: torch.device,
        seed: int,
        group: Group = ALONE,
    ) -> None:
        shape = encoder.shape
        self.encoder, self.training, self.device = encoder.to(device), training, device
        self.group = group
        self.histories = histories
        self.rng = np.random.default_rng(seed)
        self.rows = Resident(histories, device, length=shape.length, times=shape.times)
        self.counted = torch.zeros(len(self.rows.items), dtype=torch.bool, device=device)
        self.targets = np.zeros(len(histories.items), dtype=bool)
        self.usual = torch.ones((), device=device)
        """How many targets of this epoch a batch, and a process's part of it, holds on average."""
        frequency = np.bincount(histories.items, minlength=shape.items + 1)[1:].astype(np.float64)
        drawn = training.drawn(frequency)
        self.cumulative = torch.tensor(np.cumsum(drawn), dtype=torch.float32, device=device)
        self.log_drawn = torch.tensor(np.log(np.maximum(drawn, 1e-30)), dtype=torch.float32, device=device)
        self.full = training.negatives >= shape.items
        self.ragged = device.type == "cpu"
        """On a CPU a batch comes in parts, each as wide as its longest window, and only real positions meet the loss; a
        GPU takes fixed shapes instead, since it would have to wait for the number of real positions."""
        self.optimiser = torch.optim.AdamW(
            encoder.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True,
            capturable=self._recording,
        )  # fmt: skip
        self._of_batch: Callable[[Tensor, Tensor, int], Tensor] = self._batch_loss
        if training.compile:
            self._of_batch = torch.compile(self._batch_loss, dynamic=False)
        self._graph: _Graph | None = None

    def pretrain(self, kept_back: NDArray[np.bool_] | None, tell: Callable[[float], None]) -> list[dict[str, float]]:
        """Bring views of one shopper together, for as many epochs as the settings say; return a row an epoch."""
        how = self.training
        if not how.pretraining:
            return []
        return pretrain(
            self.encoder, self.histories, kept_back, epochs=how.pretraining, share=how.view_share,
            temperature=how.temperature, batch=how.batch, learning_rate=how.learning_rate, device=self.device,
            rng=self.rng, progress=tell, group=self.group,
        )  # fmt: skip

    @property
    def _recording(self) -> bool:
        """Whether a step is one CUDA graph: a sum over processes is none of what a graph here records."""
        return self.training.graph and self.device.type == "cuda" and self.group.size == 1

    def learn_from(self, counted: NDArray[np.bool_]) -> None:
        """Name the flat positions whose items count as targets."""
        self.targets = counted
        self.counted.zero_()
        self.counted[: len(counted)] = torch.from_numpy(counted).to(self.device)

    def epoch(self, windows: Windows, tell: Callable[[float], None] = lambda done: None) -> float:
        """Take a step a batch; return the mean loss.

        Every target weighs the same, whatever stands beside it: a batch's losses are added up and divided by how many
        targets a batch holds on average.
        """
        self.encoder.train()
        total = torch.zeros((), device=self.device)
        batches = list(windows.batches(self.training.batch, self.rng))
        self.usual.fill_(max(windows.count(self.targets), 1) / max(len(batches) * self.group.size, 1))
        start, size = (torch.from_numpy(column).to(self.device) for column in (windows.start, windows.size))
        for number, chosen in enumerate(batches):
            mine = self.group.part(chosen)
            total += self._step(_parts(windows, mine)) if self.ragged else self._fixed_step(start, size, mine)
            if number % REPORT_EVERY == 0:
                tell(number / len(batches))
        return float(total) / max(len(batches), 1)

    def _fixed_step(self, start: Tensor, size: Tensor, chosen: Ints) -> Tensor:
        """Step on a batch of the one size; what an epoch's last lacks is made up by windows without any item."""
        at = torch.from_numpy(chosen).to(self.device, non_blocking=True)
        lack = -(-self.training.batch // self.group.size) - len(chosen)
        starts, sizes = functional.pad(start[at], (0, lack)), functional.pad(size[at], (0, lack))
        width = self.encoder.shape.length + 1
        if self._recording:
            if self._graph is None:
                self._graph = _Graph(lambda s, z: self._step([(s, z, width)]), starts, sizes)
            return self._graph.replay(starts, sizes)
        return self._step([(starts, sizes, width)])

    def _step(self, parts: Iterable[tuple[Tensor, Tensor, int]]) -> Tensor:
        """Step on a batch given in parts: their windows' starts and sizes, and the width to read."""
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for part in parts:
            with devices.autocast(self.device):
                loss = self._of_batch(*part)
            loss.backward()
            total += loss.detach()
        loss = self.group.average(self.encoder, total)
        torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), 5.0)
        self.optimiser.step()
        return loss

    def _batch_loss(self, start: Tensor, size: Tensor, width: int) -> Tensor:
        """Return the sum of the losses of the targets that count, over how many those usually are."""
        items, gaps, at = self.rows.read(start, size, width)
        if self.training.augment == "crop":
            items, gaps, _size, place = crop(items, gaps, size, 1 - self.training.view_share)
            at = torch.where(place < 0, len(self.rows.items) - 1, at.gather(1, place.clamp(min=0)))
        targets, inputs = items[:, 1:], items[:, :-1]
        if self.training.augment == "mask":
            inputs = mask(inputs, None, size - 1, self.training.view_share).items
        states = self.encoder(inputs, None if gaps is None else gaps[:, :-1])
        counted = self.counted[at[:, 1:]]
        if self.ragged:
            states, targets = states[counted], targets[counted] - 1
            return self._losses(states, targets).sum() / self.usual
        losses = self._losses(states.flatten(0, 1), (targets.flatten() - 1).clamp(min=0))
        return (losses * counted.flatten()).sum() / self.usual

    def _losses(self, states: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each state [rows, width] whose right answer is the item at ``targets`` (from 0)."""
        table, bias, training = self.encoder.table, self.encoder.bias, self.training
        if self.full and training.loss == "sampled_softmax":
            return functional.cross_entropy((states @ table.T).float() + bias, targets, reduction="none")
        drawn = torch.searchsorted(self.cumulative, torch.rand(training.negatives, device=self.device))
        drawn = drawn.clamp(max=len(table) - 1)
        positive = (states * functional.embedding(targets, table)).sum(dim=-1).float() + bias[targets]
        negative = (states @ functional.embedding(drawn, table).T).float() + bias[drawn]
        clash = drawn == targets[:, None]
        if training.loss == "gsasrec":
            rate = training.rate(len(table))
            return calibrated_cross_entropy(positive, negative, clash, rate=rate, calibration=training.calibration)
        return sampled_softmax(positive, negative, self.log_drawn[drawn] + math.log(training.negatives), clash)

    @torch.no_grad()
    def judge(self, windows: Windows) -> float:
        """Return the mean reciprocal rank, over the whole catalogue, of up to 4,096 of the targets that count.

        An item that is new to the shopper is ranked among what is new to them: the more a network has learnt of a
        history, the more of it comes back, and that would hide how much better it has become at what comes next.
        """
        self.encoder.eval()
        found: list[Tensor] = []
        seen = 0
        width = self.encoder.shape.length + 1
        for at in range(0, len(windows), JUDGED_AT_ONCE):
            start, size = (
                torch.from_numpy(column[at : at + JUDGED_AT_ONCE]).to(self.device)
                for column in (windows.start, windows.size)
            )
            items, gaps, flat = self.rows.read(start, size, width)
            states = self.encoder(items[:, :-1], None if gaps is None else gaps[:, :-1])
            row, place = (each[: MOST_JUDGED - seen] for each in self.counted[flat[:, 1:]].nonzero(as_tuple=True))
            for rows, places in zip(row.split(JUDGED_AT_ONCE), place.split(JUDGED_AT_ONCE), strict=True):
                found.append(self._reciprocal_ranks(states[rows, places], items[rows], places))
            seen += len(row)
            if seen >= MOST_JUDGED:
                break
        return float(torch.cat(found).mean()) if found else 0.0

    def _reciprocal_ranks(self, states: Tensor, items: Tensor, place: Tensor) -> Tensor:
        """Return [rows] for states after the item at ``place`` [rows] of ``items`` [rows, width]; the next is right."""
        wanted = items.gather(1, place[:, None] + 1)
        had = items.masked_fill(torch.arange(items.shape[1], device=items.device) > place[:, None], 0)
        had = had.masked_fill((had == wanted).any(dim=1, keepdim=True), 0)
        scores = functional.pad((states @ self.encoder.table.T).float() + self.encoder.bias, (1, 0))
        own = scores.gather(1, wanted)
        scores.scatter_(1, had, -torch.inf)
        return 1.0 / ((scores[:, 1:] > own).sum(dim=1) + 1)


def _parts(windows: Windows, chosen: Ints) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Yield starts, sizes and width of a batch's windows, those of like size together, so that little is padded.

    A batch itself holds windows of any size: batches of like size would pull the weights to and fro.
    """
    chosen = chosen[np.argsort(windows.size[chosen], kind="stable")]
    for part in np.array_split(chosen, min(PARTS, -(-len(chosen) // LEAST_PART))) if len(chosen) else ():
        start, size = windows.start[part], windows.size[part]
        yield torch.from_numpy(start), torch.from_numpy(size), int(size.max())


class _Graph:
    """A step recorded once and replayed: one launch in the place of a few hundred."""

    def __init__(self, step: Callable[[Tensor, Tensor], Tensor], start: Tensor, size: Tensor) -> None:
        self._start, self._size = start.clone(), size.clone()
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):  # allocates gradients and the optimiser's state, which a recording must find in place
                step(self._start, self._size)
        torch.cuda.current_stream().wait_stream(aside)
        self._recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._recorded):
            self._loss = step(self._start, self._size)

    def replay(self, start: Tensor, size: Tensor) -> Tensor:
        self._start.copy_(start)
        self._size.copy_(size)
        self._recorded.replay()
        return self._loss.clone()


def train(
    encoder: SequenceEncoder,
    histories: Histories,
    training: Training,
    *,
    device: torch.device,
    seed: int,
    progress: Callable[[float], None] = lambda done: None,
    group: Group = ALONE,
) -> list[dict[str, float]]:
    """Train in place and return a row an epoch: ``loss``, and ``late_mrr`` where a late slice could be kept back.

    After the best epoch come a tenth as many, one at least, that learn from the late slice too.
    """
    trainer = Trainer(encoder, histories, training, device=device, seed=seed, group=group)
    windows = Windows.cut(histories.offset, encoder.shape.length)
    if not len(windows):
        return []
    targets = np.ones(len(histories.items), dtype=bool)
    targets[histories.offset[:-1][np.diff(histories.offset) > 0]] = False  # nothing comes before a first item
    kept_back = late(histories.time, targets)
    begun = 0.3 if training.pretraining else 0.0
    curves = trainer.pretrain(kept_back, within(progress, 0.0, begun))
    more, done = training.epochs_over(len(windows)), begun
    if kept_back is not None:
        early = targets & ~kept_back
        best = _best_epoch(trainer, windows, early, kept_back, curves, within(progress, begun, 0.9 - begun))
        more, done = more_epochs(best), 0.9
    trainer.learn_from(targets)
    step = (1 - done) / more
    for number in range(more):
        curves.append({"loss": trainer.epoch(windows, within(progress, done + step * number, step))})
    encoder.eval()
    return curves


def _best_epoch(
    trainer: Trainer,
    windows: Windows,
    early: NDArray[np.bool_],
    kept_back: NDArray[np.bool_],
    curves: list[dict[str, float]],
    progress: Callable[[float], None],
) -> int:
    """Train on the early targets until those kept back get no better; leave the best weights, return their epoch."""
    learnt, watched = windows.holding(early), windows.holding(kept_back)
    watched = watched.take(trainer.rng.permutation(len(watched)))

    def epoch(tell: Callable[[float], None]) -> float:
        trainer.learn_from(early)
        return trainer.epoch(learnt, tell)

    def judge() -> float:
        trainer.learn_from(kept_back)
        return trainer.judge(watched)

    return until_no_better(
        trainer.encoder, epoch, judge, curves, epochs=trainer.training.epochs_over(len(learnt)),
        patience=trainer.training.patience_over(len(learnt)), progress=progress,
    )  # fmt: skip


@torch.no_grad()
def encode(
    encoder: SequenceEncoder, histories: Histories, shoppers: Ints, *, device: torch.device, block: int = 1024
) -> NDArray[np.float32]:
    """Return each shopper's state [shoppers, width] after their last items; zeros for an empty history."""
    shape = encoder.shape
    encoder = encoder.to(device).eval()
    rows = Resident(histories, device, length=shape.length, times=shape.times)
    out = np.zeros((len(shoppers), shape.width), dtype=np.float32)
    end = histories.offset[1:][shoppers]
    size = np.minimum(end - histories.offset[:-1][shoppers], shape.length)
    order = np.argsort(size, kind="stable")
    order = order[size[order] > 0]
    for at in range(0, len(order), block):
        chosen = order[at : at + block]
        start, length = (torch.from_numpy(column[chosen]).to(device) for column in (end - size, size))
        items, gaps, _flat = rows.read(start, length, int(size[chosen].max()))
        states = encoder(items, gaps)
        last = states[torch.arange(len(chosen), device=device), length - 1]
        out[chosen] = last.float().cpu().numpy()
    return out
