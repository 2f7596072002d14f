"""What every data set importer stands on: open and prove all files, then write through the sink.

Flow: files → tables → **importer** (what this set's rows mean) → sink → the rooms' verbs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import polars as pl
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from personalization.management.datasets.report import Summary, Terminal
from personalization.management.datasets.sink import Sink
from personalization.management.datasets.tables import Column, Table, open_table, require
from personalization.types import Purpose

PURPOSES = frozenset({Purpose.ANALYTICS, Purpose.PERSONALISATION})
"""Published rows may be analysed and learnt from; nobody in them agreed to be written to."""
CONSENT_SOURCE = "data set"


class DatasetImporter(ABC):
    """One public data set. Made: its files are proven. :meth:`run`: they are in the database.

    A row's identity is its file's SHA-256 and its number, so a repeated or resumed run stores nothing twice,
    and rows that repeat exactly within a file stay what they are: data. ``limit`` keeps the first customers
    with all that is theirs; a later run without it adds the rest.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    files: ClassVar[Mapping[str, Mapping[str, Column]]]
    notice: ClassVar[str | Promise] = ""

    def __init__(self, folder: Path, *, limit: int | None = None) -> None:
        require(
            folder.is_dir(),
            _("There is no folder %(folder)s. Give the folder that holds %(files)s.")
            % {"folder": folder, "files": ", ".join(self.files)},
        )
        self.limit = limit
        self.tables: dict[str, Table] = {
            file.removesuffix(".parquet"): open_table(folder, file, columns) for file, columns in self.files.items()
        }
        self.check()

    @abstractmethod
    def check(self) -> None:
        """Refuse files whose rows contradict each other. Raises DatasetError; runs before the first write."""

    @abstractmethod
    def write(self, sink: Sink) -> None:
        """Send everything to the sink: campaigns and shoppers first, since the rest refers to them."""

    def run(self, terminal: Terminal) -> Summary:
        """Import what is not there yet and return what was done."""
        summary = Summary(read={table.file: table.rows for table in self.tables.values()})
        self.write(Sink(self.name, summary, terminal))
        return summary

    def identifier(self, raw: object) -> str:
        """Return an id of this set's (a customer, a product) as it is known outside of it."""
        return f"{self.name}:{raw}"


def minor(amount: str) -> pl.Expr:
    """Return a column of money in major units as whole minor units."""
    return (pl.col(amount) * 100).round().cast(pl.Int64)
