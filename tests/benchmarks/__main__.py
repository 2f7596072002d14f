"""All benchmarks, one after the other, and a table: ``python -m tests.benchmarks [--quick | --full] [NAME …]``."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from rich.console import Console

from tests.benchmarks import report, stage, starbucks


def main() -> int:
    """Run the benchmarks; a missed target is told, not an error."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these, of: {', '.join(report.NAMES)}")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    size.add_argument("--full", action="store_true", help="full counts (a million shoppers), as with SOAK=1")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line instead of the table")
    options = parser.parse_args()
    if set(options.names) - set(report.NAMES):
        parser.error(f"choose from: {', '.join(report.NAMES)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers go down with us
    if options.full:
        os.environ["SOAK"] = "1"
    cache = Path(settings.VAR_DIR) / "imports"
    cache.mkdir(exist_ok=True)
    os.environ[starbucks.CACHE] = str(cache)
    rows: list[dict[str, Any]] = []
    for name in options.names or report.NAMES:
        told = stage.run(name, quick=options.quick, server=name in SERVED)
        rows.append(told)
        print(json.dumps(told) if options.json else report.line(told), flush=True)
    if not options.json:
        Console(width=None if sys.stdout.isatty() else 160).print(report.table(rows))
    return 0


SERVED = (
    "intake", "intake_copy", "decide", "pageview", "redeem", "redeem_sql", "codes", "audiences", "triggers", "rollup",
    "reading", "score_rows",
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
