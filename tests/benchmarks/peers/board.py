"""The board of one split: figures with intervals, what they cost, and who is better than whom in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.benchmarks.peers.contestants import CONTESTANTS
from tests.benchmarks.peers.race import CHOSEN_BY, chosen, unpacked
from worker import preference
from worker.preference import RankerResult

Row = dict[str, Any]
COLUMNS = ("ndcg@10", "recall@20", "new ndcg@10", "new recall@20")


def tests_of(rows: list[Row], split: str, seed: int) -> dict[str, Row]:
    """Return each contestant's test row with the settings that its validation rows choose, and how many those are."""
    own = [row for row in rows if row.get("split") == split and row["seed"] == seed and "figures" in row]
    found = {}
    for row in own:
        tried = [each for each in own if each["contestant"] == row["contestant"] and each["part"] == "validation"]
        if row["part"] == "test" and chosen(tried) in (None, row["settings"]):
            found[row["contestant"]] = row | {"tried": len(tried)}
    return found


def best(found: dict[str, Row], *, peer: bool) -> str | None:
    """Return who has the highest NDCG@10 on the test among the peers, or among ours."""
    names = [name for name in found if CONTESTANTS[name].peer is peer]
    return max(names, key=lambda name: float(found[name]["figures"][CHOSEN_BY][0]), default=None)


def gain(one: Row, other: Row, figure: str = CHOSEN_BY) -> tuple[float, float, float]:
    """Return by how much ``one`` is better, with its 95 % interval over paired resamples of shoppers."""
    results = [
        RankerResult(row["contestant"], {CHOSEN_BY: unpacked(row["per_shopper"][figure])}) for row in (one, other)
    ]
    return preference.paired_ndcg(results[0], results[1], seed=0)


def markdown(rows: list[Row], split: str, seed: int) -> str:
    """Return the table, the best first; gains in NDCG@10: ours over the best peer, ours over a peer's same model."""
    found = tests_of(rows, split, seed)
    if not found:
        return "Nobody has been tested yet."
    columns = [name for name in COLUMNS if name in next(iter(found.values()))["figures"]]
    lead = best(found, peer=True)
    head = ["contestant", *columns, "gain (paired)", "fits", "fit, s (CPU)", "MiB"]
    lines = [head, ["---"] * len(head)]
    for name, row in sorted(found.items(), key=lambda each: -float(each[1]["figures"][CHOSEN_BY][0])):
        lines.append([
            f"**{name}**" if name == best(found, peer=CONTESTANTS[name].peer) else name,
            *(interval(row["figures"][column]) for column in columns),
            _gain(found, name, lead),
            str(row["tried"] + 1),
            f"{row['fit_s']:.1f} ({row['fit_cpu_s']:.1f})",
            f"{row['grown_mib']:,}",
        ])  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _gain(found: dict[str, Row], name: str, lead: str | None) -> str:
    ours = CONTESTANTS[name].ours
    if not CONTESTANTS[name].peer:
        return f"{signed(gain(found[name], found[lead]))} over {lead}" if lead else ""
    return f"{signed(gain(found[ours], found[name]))} for {ours}" if ours in found else ""


def signed(told: tuple[float, float, float]) -> str:
    """Return a gain with its interval as a cell."""
    value, low, high = told
    return f"{value:+.4f} [{low:+.4f}, {high:+.4f}]"


def interval(told: Sequence[float]) -> str:
    """Return a figure between 0 and 1 with its interval as a cell."""
    value, low, high = (f"{each:.4f}".removeprefix("0") for each in told)
    return f"{value} [{low}, {high}]"
