"""Models of RecBole, trained by RecBole's own trainer on its own loaders, scored by its ``full_sort_predict``.

Only what touches files and figures is ours: the best weights are kept in memory instead of a checkpoint, and early
stopping asks the benchmark's metric on the benchmark's validation. RecBole 1.2.1 was written for numpy 1 and an older
scipy: the names it expects are put back first.
"""

from __future__ import annotations

import copy
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from scipy import sparse

from personalization.features.frames import Ints
from worker.preference import Scoring
from worker.rankers import Interactions
from worker.rankers.base import Scores

MODULES = ("recbole", "recbole.config", "recbole.data", "recbole.utils", "recbole.trainer", "recbole.model.layers")
GONE = {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}
SEQUENTIAL = ("SASRec", "GRU4Rec")
CLOSED_FORM = ("EASE",)
MOST_EPOCHS, PATIENCE = 100, 3
LENGTHS = (10, 50)
"""Bounds of how many items of a history a sequential model reads; RecBole's default is the upper one."""


@dataclass
class Fitted:
    """A trained model, and how its numbers stand for ours."""

    model: Any
    user: Ints
    """RecBole's number of each of our shoppers, 0 for those it never met."""
    item: Ints
    """RecBole's number of each of our items, 0 for those it never met."""
    histories: torch.Tensor | None
    """[shoppers, longest] in RecBole's numbers, oldest first, padded behind; None for models that read none."""

    @torch.no_grad()
    def score(self, shoppers: Ints) -> Scores:
        from recbole.data.interaction import Interaction

        self.model.eval()
        asked: dict[str, torch.Tensor] = {"user_id": torch.from_numpy(self.user[shoppers])}
        if self.histories is not None:
            asked["item_id_list"] = self.histories[torch.from_numpy(shoppers)]
            asked["item_length"] = (asked["item_id_list"] > 0).sum(dim=1).clamp(min=1)
        told = self.model.full_sort_predict(Interaction(asked).to(self.model.device))
        own = np.asarray(told.cpu().numpy(), dtype=np.float32).reshape(len(shoppers), -1)
        found: Scores = np.where(self.item > 0, own[:, self.item], np.float32(-np.inf))
        return found


def fit(
    name: str, data: Interactions, settings: dict[str, Any], seed: int, judge: Callable[[Scoring], float] | None
) -> tuple[Fitted, int]:
    """Train a model; with ``judge`` until it tells nothing better. Return it, and the best epoch (0: closed form)."""
    for gone, instead in GONE.items():
        setattr(np, gone, instead)
    sparse.dok_matrix._update = lambda matrix, cells: matrix._dict.update(cells)
    with tempfile.TemporaryDirectory() as folder, elsewhere(folder):
        return _fit(name, data, settings, seed, judge, Path(folder))


@contextmanager
def elsewhere(folder: str) -> Any:
    """Work in a folder that is thrown away: RecBole leaves logs where it stands, and reads our arguments as its own."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        with mock.patch.object(sys, "argv", sys.argv[:1]):
            yield
    finally:
        os.chdir(before)


def _fit(
    name: str,
    data: Interactions,
    settings: dict[str, Any],
    seed: int,
    judge: Callable[[Scoring], float] | None,
    folder: Path,
) -> tuple[Fitted, int]:
    from recbole.config import Config
    from recbole.data import create_dataset
    from recbole.data.utils import create_samplers, get_dataloader
    from recbole.utils import get_model, init_seed

    write(data, folder)
    config = Config(model=name, dataset="past", config_dict=configuration(name, folder, seed, longest(data)) | settings)
    init_seed(seed, config["reproducibility"])
    dataset = create_dataset(config)
    built = dataset.build()
    sampler = create_samplers(config, dataset, built)[0]
    loader = get_dataloader(config, "train")(config, built[0], sampler, shuffle=config["shuffle"])
    init_seed(seed, config["reproducibility"])
    model = get_model(name)(config, loader.dataset).to(config["device"])
    fitted = numbered(name, model, dataset, data)
    trainer = _trainer(config, model, fitted, judge)
    trainer.fit(loader, valid_data=[None] if trainer.judges else None, verbose=False, saved=trainer.judges)
    if trainer.best is not None:
        model.load_state_dict(trainer.best)
        model.load_other_parameter(trainer.beside)  # LightGCN keeps what it scores by beside its weights
    epochs = 0 if name in CLOSED_FORM else trainer.best_epoch or int(config["epochs"])
    return fitted, epochs


def configuration(name: str, folder: Path, seed: int, length: int) -> dict[str, Any]:
    """Return what is the same for all settings: everything is learnt from, nothing is shown, one seed."""
    found: dict[str, Any] = {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "kept"),
        "seed": seed,
        "state": "ERROR",
        "show_progress": False,
        "use_gpu": torch.cuda.is_available(),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"RS": [1, 0, 0]}, "group_by": None, "order": "TO", "mode": "full"},
        "epochs": MOST_EPOCHS,
        "stopping_step": PATIENCE - 1,
        "eval_step": 1,
    }
    if name in SEQUENTIAL:
        return found | {"MAX_ITEM_LIST_LENGTH": length, "train_neg_sample_args": None, "train_batch_size": 256}
    return found | {"rm_dup_inter": "last"} | ({"train_neg_sample_args": None} if name == "MultiVAE" else {})


def longest(data: Interactions) -> int:
    """Return how long nineteen in twenty histories are at most: what is padded beyond costs and teaches nothing."""
    lengths = np.bincount(data.shopper)
    return int(np.clip(np.quantile(lengths[lengths > 0], 0.95), *LENGTHS))


def write(data: Interactions, folder: Path) -> None:
    """Write the interactions as RecBole reads them; a time, 32 bits there, is the place in a shopper's history."""
    place = np.arange(len(data.item)) - np.searchsorted(data.shopper, data.shopper)
    (folder / "past").mkdir()
    with (folder / "past" / "past.inter").open("w") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        rows = zip(data.shopper.tolist(), data.item.tolist(), place.tolist(), strict=True)
        file.writelines(f"u{shopper}\ti{item}\t{at}\n" for shopper, item, at in rows)


def numbered(name: str, model: Any, dataset: Any, data: Interactions) -> Fitted:
    """Return the model with its numbers for our shoppers and items, and the histories a sequential one reads."""
    users, items = (dataset.field2token_id[field] for field in ("user_id", "item_id"))
    user = np.array([users.get(f"u{at}", 0) for at in range(data.shoppers)], dtype=np.int64)
    item = np.array([items.get(f"i{at}", 0) for at in range(data.items)], dtype=np.int64)
    if name not in SEQUENTIAL:
        return Fitted(model, user, item, None)
    length = longest(data)
    histories = np.zeros((data.shoppers, length), dtype=np.int64)
    start, end = (np.searchsorted(data.shopper, np.arange(data.shoppers), side=side) for side in ("left", "right"))
    for shopper in np.flatnonzero(end > start):
        last = item[data.item[max(start[shopper], end[shopper] - length) : end[shopper]]]
        histories[shopper, : len(last)] = last
    return Fitted(model, user, item, torch.from_numpy(histories))


def _trainer(config: Any, model: Any, fitted: Fitted, judge: Callable[[Scoring], float] | None) -> Any:
    from recbole.utils import get_trainer

    class Watched(get_trainer(config["MODEL_TYPE"], config["model"])):  # type: ignore[misc]
        """RecBole's trainer, judged by our figure, its best weights kept in memory."""

        best: dict[str, torch.Tensor] | None = None
        beside: dict[str, Any] | None = None
        best_epoch = 0
        judges = judge is not None and config["model"] not in CLOSED_FORM

        def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, dict[str, float]]:
            assert judge is not None
            value = judge(fitted)
            return value, {"ndcg@10": value}

        def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
            self.best, self.best_epoch = copy.deepcopy(self.model.state_dict()), epoch + 1
            self.beside = copy.deepcopy(self.model.other_parameter())

    return Watched(config, model)
