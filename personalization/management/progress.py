"""A bar for the commands that run a job themselves: drawn on a terminal, a line each stage elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from personalization.learning.handlers import Stage
from personalization.learning.sentences import Said


@contextmanager
def progress_bar(title: str, output: TextIO = sys.stdout) -> Iterator[Stage]:
    """Yield a function (stage, share done) that shows how far the work is."""
    console = Console(file=output)
    if not console.is_terminal:
        told: set[str] = set()

        def plain(what: Said, done: float) -> None:
            if str(what) not in told:
                told.add(str(what))
                output.write(f"{title}: {what}\n")

        yield plain
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda what, done: bar.update(task, completed=done, description=f"{title}: {what}")
        bar.update(task, completed=1.0, description=title)
