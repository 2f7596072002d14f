"""Imports a data set as a shop would and writes its split: arguments DATA PATH SEED, scratch ``DATABASE_URL``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from django.core.management import call_command

from personalization.learning import frames as reading
from tests.benchmarks import stage
from tests.benchmarks.peers import splits
from worker.rankers import interactions


def main(data: str, path: Path, seed: int) -> None:
    """Import, read, split, save."""
    source = Path(os.environ.get("SHARED_DATA") or stage.ROOT.parent / "shared" / "data") / data
    if not source.is_dir():
        raise SystemExit(f"The data set {data} is not there; name the folder that holds it in $SHARED_DATA.")
    call_command("migrate", verbosity=0)
    with open(os.devnull, "w") as nowhere:
        call_command("import_dataset", data, source, stdout=nowhere)
    until = reading.last_moment(data)
    assert until is not None
    frames = reading.load(data, until)
    splits.of_frames(data, frames, interactions(frames), seed=seed).save(path)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
