"""A bar for the commands that run a job themselves: drawn on a terminal, a line each stage elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from django.core.management.base import OutputWrapper
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from personalization.learning.handlers import Stage
from personalization.learning.sentences import Said

COLUMNS = (BarColumn, TaskProgressColumn, TimeElapsedColumn, TimeRemainingColumn)


@contextmanager
def progress_bar(title: str, output: TextIO | OutputWrapper | None = None) -> Iterator[Stage]:
    """Yield a function (stage, share done) that shows how far the work is, on ``output``: standard output if None."""
    output = output or sys.stdout
    if not output.isatty():
        said: list[str] = []

        def plain(what: Said, done: float) -> None:
            if [str(what)] != said:
                said[:] = [str(what)]
                output.write(f"{title}: {what}\n")

        yield plain
        return
    # Not on a command's own wrapper: that ends whatever is written with a line break, and a bar is drawn in place.
    with Progress(TextColumn("{task.description}"), *(column() for column in COLUMNS)) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda what, done: bar.update(task, completed=done, description=f"{title}: {what}")
        bar.update(task, completed=1.0, description=title)
