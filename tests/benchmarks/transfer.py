"""What a lesson from another catalogue adds to the text ranker of a young shop, by how many shoppers have taught it.

Value: NDCG@10 with the lesson, of a shop with 50 shoppers. Peer: the same ranker without it. Within a trade, a random
half of Online Retail II's products and shoppers teaches, and the other half of the products is sold to the other half
of the shoppers: no product and no shopper is in both. Across trades, all of Amazon Games teaches the gift shop. The
check is the last fifth of each test shopper's products, one at least; the notes hold NDCG@10 and its paired gain with a
95 % bootstrap interval over the test shoppers, who teach nothing.

Run it: ``python -m tests.benchmarks.transfer [--quick]``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from personalization.features.frames import Floats, Ints
from tests.benchmarks import report, stage
from tests.benchmarks.rankers import NOW, folder
from worker.preference import RankerResult, paired_ndcg
from worker.rankers import DAY, Catalogue, Interactions, top_items
from worker.rankers.base import ndcg
from worker.rankers.lesson import Lesson
from worker.rankers.text import Text

YOUNG = (20, 50, 200, 1000)
MOST_TESTED, BLOCK = 3000, 512
Shop = tuple[list[Ints], list[str]]
"""Each shopper's products in the order in which they first turned to them, and the products' titles."""


def gift_shop() -> Shop:
    """Return the customers and products of Online Retail II; Skipped where it is absent."""
    shared = Path(os.environ.get("SHARED_DATA") or stage.ROOT.parent / "shared" / "data")
    path = shared / "online_retail_ii" / "invoices.parquet"
    if not path.exists():
        raise stage.Skipped(
            "The data set online_retail_ii is not there; name the folder that holds it in $SHARED_DATA."
        )
    known = pl.col("customer_id").is_not_null() & pl.col("description").is_not_null()
    lines = pl.read_parquet(path).filter(known & (pl.col("quantity") > 0) & (pl.col("price") > 0))
    titles = lines.group_by("stock_code").agg(pl.col("description").mode().sort().first()).sort("stock_code")
    code = {name: at for at, name in enumerate(titles["stock_code"].to_list())}
    ordered = lines.sort("customer_id", "invoice_ts", "invoice", "stock_code")
    baskets = ordered.group_by("customer_id", maintain_order=True).agg("stock_code")["stock_code"].to_list()
    return [np.array([code[name] for name in dict.fromkeys(bought)]) for bought in baskets], titles[
        "description"
    ].to_list()


def game_shop() -> Shop:
    """Return the players and games of Amazon Games; Skipped where it is absent."""
    players = pl.read_parquet(folder() / "sequences.parquet")["items_chrono"].to_list()
    told = pl.read_parquet(folder() / "titles.parquet").drop_nulls()
    text = dict(zip(told["item"].to_list(), told["title"].to_list(), strict=True))
    return [np.array(bought) for bought in players], [text.get(at, "") for at in range(max(map(max, players)) + 1)]


def halves(shop: Shop, seed: int = 1) -> tuple[Shop, Shop]:
    """Return two shops that share no product and no shopper."""
    sequences, titles = shop
    rng = np.random.default_rng(seed)
    items, people = rng.permutation(len(titles)), rng.permutation(len(sequences))

    def part(mine: Ints, those: Ints) -> Shop:
        place = np.full(len(titles), -1)
        place[mine] = np.arange(len(mine))
        own = [place[sequences[at]][place[sequences[at]] >= 0] for at in those]
        return [one for one in own if len(one) > 1], [titles[at] for at in mine]

    middle, half = len(titles) // 2, len(sequences) // 2
    return part(np.sort(items[:middle]), people[:half]), part(np.sort(items[middle:]), people[half:])


def interactions(sequences: Sequence[Ints], titles: list[str]) -> Interactions:
    """Return sequences as a ranker reads them, the last one a moment ago, each a day after the one before."""
    size = np.array([len(one) for one in sequences])
    item, shopper = np.concatenate(sequences), np.repeat(np.arange(len(size)), size)
    age = np.cumsum(size)[shopper] - np.arange(len(item))
    blank = Catalogue.blank(len(titles))
    catalogue = Catalogue(blank.category, blank.price, blank.brand, titles)
    return Interactions(shopper, item, NOW - age * DAY, np.ones(len(item)), len(titles), len(size), catalogue)


def judge(ranker: Text, tested: list[Ints], titles: list[str]) -> Floats:
    """Return NDCG@10 of each tested shopper's last fifth of products, among those not turned to before."""
    kept = [len(one) - max(len(one) // 5, 1) for one in tested]
    ranker.observe(interactions([one[:cut] for one, cut in zip(tested, kept, strict=True)], titles), NOW)
    found = np.zeros(len(tested))
    for start in range(0, len(tested), BLOCK):
        block = np.arange(start, min(start + BLOCK, len(tested)))
        scores = ranker.score(block)
        for row, shopper in enumerate(block.tolist()):
            scores[row, tested[shopper][: kept[shopper]]] = -np.inf
        for shopper, best in zip(block.tolist(), top_items(scores, 10), strict=True):
            wanted = tested[shopper][kept[shopper] :]
            found[shopper] = ndcg(np.isin(best, wanted), len(wanted), 10)
    return found


def race(old: Shop, young: Shop, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Return a row a size of the young shop: what it ranks like by titles alone, on its own, and with the lesson."""
    sequences, titles = young
    drawn = np.random.default_rng(2).permutation([at for at, one in enumerate(sequences) if len(one) > 1])
    tested = [sequences[at] for at in drawn[-min(MOST_TESTED, len(drawn) // 2) :]]
    rows = []
    with tempfile.TemporaryDirectory() as kept:
        path = str(Path(kept) / "lesson")
        Lesson.learn(interactions(*old)).save(path)
        for size in sizes:
            past = interactions([sequences[at] for at in drawn[:size]], titles)
            found = {}
            for name, settings in (
                ("titles", {"regularisation": 1e4}), ("own", {}), ("lesson", {"lesson": path}),
            ):  # fmt: skip
                ranker = Text(**({"model": "", "lesson": ""} | settings))
                ranker.fit(past, NOW, seed=0)
                found[name] = RankerResult(name, {"ndcg@10": judge(ranker, tested, titles)})
            told = {name: round(float(result.figures["ndcg@10"].mean()), 4) for name, result in found.items()}
            gain = [round(each, 4) for each in paired_ndcg(found["lesson"], found["own"], seed=0)]
            rows.append({"shoppers": size, "tested": len(tested), **told, "gain": gain})
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def measure(quick: bool) -> report.Measurement:
    """Race within a trade, and across two."""
    gifts = gift_shop()
    within = race(*halves(gifts), YOUNG[:2] if quick else YOUNG)
    notes: dict[str, Any] = {"gifts, half to half": within}
    if not quick:
        games = game_shop()
        notes |= {"games, half to half": race(*halves(games), YOUNG), "games to gifts": race(games, gifts, YOUNG)}
    with_it, without = within[1]["lesson"], within[1]["own"]
    return report.Measurement(
        "transfer", with_it, "NDCG@10", "without a lesson", without, round(with_it / max(without, 1e-9), 3), notes=notes
    )


if __name__ == "__main__":
    sys.exit(stage.main("transfer", measure, server=False))
