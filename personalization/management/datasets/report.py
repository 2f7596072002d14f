"""What the person at the terminal sees of an import: its progress, and the table at the end."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from django.utils.translation import gettext as _
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

Advance = Callable[[int], None]
PLAIN_EVERY_S = 10.0


@dataclass(slots=True)
class Summary:
    """What an import did. ``new`` and ``known`` count by thing: shoppers, products, orders, …"""

    read: dict[str, int] = field(default_factory=dict)
    new: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)
    set_aside: Counter[str] = field(default_factory=Counter)
    period: tuple[datetime, datetime] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def nothing_new(self) -> bool:
        return not any(self.new.values())


class Terminal:
    """Shows how far each stage is: a bar on a terminal, else a line at the end and every ten seconds."""

    def __init__(self, write: Callable[[str], object], *, interactive: bool = False) -> None:
        self._write = write
        self._interactive = interactive

    @contextmanager
    def stage(self, label: str, total: int) -> Iterator[Advance]:
        """Yield the function that is told how many rows were finished."""
        with self._bar(label, total) if self._interactive else self._lines(label, total) as advance:
            yield advance

    @contextmanager
    def _bar(self, label: str, total: int) -> Iterator[Advance]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns) as progress:
            task = progress.add_task(label, total=total)
            yield lambda count: progress.advance(task, count)

    @contextmanager
    def _lines(self, label: str, total: int) -> Iterator[Advance]:
        done = 0
        said = time.monotonic()

        def advance(count: int) -> None:
            nonlocal done, said
            done += count
            if time.monotonic() - said >= PLAIN_EVERY_S and done < total:
                said = time.monotonic()
                self._write(f"{label}: {done:,} / {total:,}")

        yield advance
        self._write(f"{label}: {done:,} / {total:,}")


def render(summary: Summary, *, title: str, elapsed_s: float) -> str:
    """Return the closing table as text."""
    table = Table(title=title, box=box.SIMPLE, title_justify="left", show_edge=False)
    table.add_column("")
    table.add_column(_("new"), justify="right")
    table.add_column(_("already there"), justify="right")
    for thing in dict.fromkeys(summary.new):
        table.add_row(thing, f"{summary.new[thing]:,}", f"{summary.known[thing]:,}")
    lines = [
        _("Rows read: %(files)s.") % {"files": ", ".join(f"{file} {count:,}" for file, count in summary.read.items())}
    ]
    for reason, count in summary.set_aside.items():
        values = {"count": f"{count:,}", "reason": reason}
        lines.append(_("Lines set aside: %(count)s, because %(reason)s.") % values)
    if summary.period:
        first, last = (f"{moment:%Y-%m-%d %H:%M}" for moment in summary.period)
        lines.append(_("Period: %(first)s to %(last)s (UTC).") % {"first": first, "last": last})
    lines += summary.notes
    if summary.nothing_new:
        lines.append(_("Nothing new: everything in these files had been imported before."))
    lines.append(_("Took %(seconds).1f s.") % {"seconds": elapsed_s})
    text = io.StringIO()
    Console(file=text, width=110, no_color=True).print(table)
    return text.getvalue() + "\n" + "\n".join(lines)
