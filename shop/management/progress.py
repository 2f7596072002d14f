"""What a long command shows while it works: bars on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.core.management.base import OutputWrapper
from django.utils.translation import gettext as _
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

SECONDS_BETWEEN_LINES = 5.0


class Terminal:
    """Writes to a command's output; ``stage`` shows the progress of one step."""

    def __init__(self, stdout: OutputWrapper) -> None:
        self._stdout = stdout
        self._bars = stdout.isatty()

    def say(self, text: str = "") -> None:
        """Write a line."""
        self._stdout.write(text)
        self._stdout.flush()

    def headline(self, text: str) -> None:
        """Write where a new part of the work begins."""
        self.say()
        self.say(text)
        self.say("─" * len(text))

    @contextmanager
    def stage(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a step of ``total`` parts; the function yielded takes the number of parts done."""
        with self._bar(label, total) if self._bars else self._lines(label, total) as advance:
            yield advance

    @contextmanager
    def _bar(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns) as progress:
            task = progress.add_task(label, total=total)
            yield lambda parts: progress.advance(task, parts)

    @contextmanager
    def _lines(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        began = said = time.monotonic()
        done = 0

        def advance(parts: int) -> None:
            nonlocal done, said
            done += parts
            if done < total and time.monotonic() - said > SECONDS_BETWEEN_LINES:
                said = time.monotonic()
                self.say(f"{label}: {done:,} / {total:,}")

        yield advance
        took = time.monotonic() - began
        self.say(
            _("%(step)s: %(count)s done in %(seconds).1f s") % {"step": label, "count": f"{done:,}", "seconds": took}
        )
