"""A bar for the commands that run a job: drawn where a terminal can move back, a line each stage elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from django.core.management.base import OutputWrapper
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from personalization.learning.handlers import Stage
from personalization.learning.sentences import Said

COLUMNS = (BarColumn, TaskProgressColumn, TimeElapsedColumn, TimeRemainingColumn)


@contextmanager
def progress_bar(title: str, output: TextIO | OutputWrapper | None = None) -> Iterator[Stage]:
    """Yield a function (stage, share done) that shows how far the work is, on ``output``: standard output if None."""
    output = output or sys.stdout
    # Not on a command's own wrapper: that ends whatever is written with a line break, and a bar is drawn in place.
    # Rich's shared console would remember the terminal of whoever used it first.
    console = Console()
    if not (output.isatty() and console.is_interactive):
        said: list[str] = []

        def plain(what: Said, done: float) -> None:
            if [str(what)] != said:
                said[:] = [str(what)]
                output.write(f"{title}: {what}\n")

        yield plain
        return
    with Progress(TextColumn("{task.description}"), *(column() for column in COLUMNS), console=console) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda what, done: bar.update(task, completed=done, description=f"{title}: {what}")
        bar.update(task, completed=1.0, description=title)
