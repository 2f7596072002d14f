"""Race our rankers and the peers on one data set: ``python -m tests.benchmarks.peers DATA [NAME …]``.

With several seeds, one race each, and at the end what they say together.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from tests.benchmarks import rankers, stage
from tests.benchmarks.peers import board, pooled, race, splits
from tests.benchmarks.peers.contestants import CONTESTANTS, QUICK
from tests.benchmarks.peers.splits import Split

IMPORTED = ("online_retail_ii", "complete_journey")


def main() -> int:
    """Split, race, print the boards; a peer that is not installed is told, not an error."""
    options = parsed()
    results = race.Results(options.results)
    raced: dict[int, Split] = {}
    for seed in options.seed:
        raced[seed] = race_once(options, results, seed)
        print(board.markdown(results.rows(), raced[seed].digest, seed), flush=True)
    if len(raced) > 1:
        print(pooled.markdown(results.rows(), raced))
    return 0


def race_once(options: argparse.Namespace, results: race.Results, seed: int) -> Split:
    """Race on the split of this seed, which is made if it is not there; tell each new row; return the split."""
    name = "-".join(str(each) for each in (options.data, options.items, options.users, seed) if each is not None)
    path = options.results.with_suffix(".splits") / f"{name}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        prepare(options.data, path, items=options.items, users=options.users, seed=seed)
    split = Split.load(path)
    past = split.test.past
    print(
        f"{split.data} {split.digest}: {len(past.item):,} interactions of {len(set(past.shopper.tolist())):,} shoppers "
        f"with {past.items:,} items; {len(split.test.truth):,} shoppers tested",
        flush=True,
    )
    for row in race.run(split, path, options.names or QUICK, results, seed=seed):
        told = {key: value for key, value in row.items() if key not in ("per_shopper", "machine", "data", "split")}
        print(json.dumps(told), flush=True)
    return split


def parsed() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers", description=__doc__)
    parser.add_argument("data", choices=(rankers.DATA, *IMPORTED))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(CONTESTANTS)}; by default the quick")
    parser.add_argument("--results", type=Path, default=stage.ROOT / "var" / "peers.jsonl", help="a row a fitted model")
    parser.add_argument("--items", type=int, help=f"{rankers.DATA}: so many items, those bought most often")
    parser.add_argument("--users", type=int, help=f"{rankers.DATA}: so many users, drawn at random")
    parser.add_argument(
        "--seed", type=int, nargs="+", default=[0], help="each draws its own users and sample and starts its own fits"
    )
    options = parser.parse_args()
    if strange := set(options.names) - set(CONTESTANTS):
        parser.error(f"who is {', '.join(sorted(strange))}? Choose from: {', '.join(CONTESTANTS)}")
    options.results = options.results.resolve()
    return options


def prepare(data: str, path: Path, *, items: int | None, users: int | None, seed: int) -> None:
    """Write the split of a data set; what must be imported is, into a scratch database of a process of its own."""
    if data == rankers.DATA:
        splits.games(items=items, users=users, seed=seed).save(path)
        return
    with stage.scratch_database(server=False) as environment:
        command = [sys.executable, "-m", "tests.benchmarks.peers.imported", data, str(path), str(seed)]
        subprocess.run(command, cwd=stage.ROOT, env=environment, check=True, timeout=stage.LIMIT_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
