"""Files of events, read row by row: JSON lines, CSV and parquet. What comes out is for the schema to judge."""

from __future__ import annotations

import csv
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO

from django.utils.translation import gettext as _

from personalization.exceptions import DatasetError
from personalization.tracking import schema
from personalization.tracking.importing import SHOPPER, Row
from personalization.tracking.parsing import KEYS

LONGEST = 1_000_000
"""Characters of one row; a longer one is kept aside, not read."""
PARQUET_ROWS = 10_000
NESTED = "properties."
NAMES = frozenset({"id", "type", SHOPPER, "item_id", "category", "channel"})
NUMBERS = frozenset({"offer_id", "value_minor"})
FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class EventFile(ABC):
    """One file. ``mapping`` says which column a field is read from; the others are read from columns of their name."""

    def __init__(self, path: Path, mapping: Mapping[str, str]) -> None:
        self.path = path
        self.mapping = dict(mapping)
        self.share = 0.0
        """How much of the file has been read."""

    def digest(self) -> str:
        """Return the SHA-256 of the file's content."""
        with self.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    @abstractmethod
    def rows(self, start: int) -> Iterator[Row]:
        """Yield the rows from number ``start`` on, counted from 0."""

    def _fields(self, columns: list[str]) -> dict[str, str]:
        """Return field → column. Raises DatasetError for a column that is not there."""
        missing = [column for column in self.mapping.values() if column not in columns]
        if missing:
            raise DatasetError(
                _("%(path)s has no column “%(name)s”. Its columns: %(columns)s.")
                % {"path": self.path, "name": missing[0], "columns": ", ".join(columns)}
            )
        taken = set(self.mapping.values())
        own = {
            column: column
            for column in columns
            if column not in taken and (column in KEYS or column == SHOPPER or column.startswith(NESTED))
        }
        fields = own | self.mapping
        if "type" not in fields:
            raise DatasetError(
                _("%(path)s has no column for “type”. Name it: --map type=COLUMN.") % {"path": self.path}
            )
        return fields


def open_file(path: Path, mapping: Mapping[str, str]) -> EventFile:
    """Return the reader for a file, by its ending. Raises DatasetError for one that cannot be read."""
    if not path.is_file():
        raise DatasetError(_("There is no file %(path)s.") % {"path": path})
    kinds: dict[str, type[EventFile]] = {
        ".jsonl": JsonLines,
        ".ndjson": JsonLines,
        ".csv": Csv,
        ".parquet": Parquet,
    }
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise DatasetError(
            _("%(path)s: only %(endings)s files can be read.") % {"path": path, "endings": ", ".join(kinds)}
        )
    return kind(path, mapping)


class JsonLines(EventFile):
    """One JSON object a line; empty lines count and are left out."""

    def rows(self, start: int) -> Iterator[Row]:
        """Yield the rows from number ``start`` on."""
        size = max(self.path.stat().st_size, 1)
        with self.path.open("rb") as stream:
            number = -1
            while line := stream.readline(LONGEST + 1):
                number += 1
                if len(line) > LONGEST:
                    _skip_rest(stream, line)
                self.share = stream.tell() / size
                if number >= start and line.strip():
                    yield self._row(number, line)

    def _row(self, number: int, line: bytes) -> Row:
        if len(line) > LONGEST:
            return Row(number, {}, f"The line is longer than {LONGEST} characters.")
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return Row(number, {"line": line[:500].decode(errors="replace")}, "The line is not valid JSON.")
        if not isinstance(value, dict):
            return Row(number, {"value": value}, "The line is not a JSON object.")
        if not self.mapping:
            return Row(number, {name: _name(item) if name in NAMES else item for name, item in value.items()})
        fields = {name: name for name in value if name not in self.mapping.values()} | self.mapping
        return Row(number, shaped({field: value.get(column) for field, column in fields.items()}))


def _skip_rest(stream: BinaryIO, line: bytes) -> None:
    while line and not line.endswith(b"\n"):
        line = stream.readline(LONGEST)


class Csv(EventFile):
    """Comma-separated values with a header, UTF-8. Empty cells are left out; text becomes what the schema declares."""

    def rows(self, start: int) -> Iterator[Row]:
        """Yield the rows from number ``start`` on."""
        size = max(self.path.stat().st_size, 1)
        csv.field_size_limit(LONGEST)
        with self.path.open("rb") as stream:
            reader = csv.reader(TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline=""))
            try:
                columns = next(reader, [])
            except csv.Error as error:
                raise DatasetError(_("%(path)s is not CSV: %(why)s.") % {"path": self.path, "why": error}) from error
            fields = self._fields(columns)
            places = {field: columns.index(column) for field, column in fields.items()}
            number = -1
            while True:
                number += 1
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    if number >= start:
                        yield Row(number, {}, f"The row is not CSV: {error}.")
                    continue
                if number % 100 == 0:
                    self.share = stream.tell() / size
                if number >= start and cells:
                    yield _csv_row(number, cells, columns, places)


def _csv_row(number: int, cells: list[str], columns: list[str], places: Mapping[str, int]) -> Row:
    if len(cells) != len(columns):
        told = f"The row has {len(cells)} cells, the header {len(columns)}."
        return Row(number, {"cells": cells[:50]}, told)
    raw = shaped({field: cells[place] or None for field, place in places.items()})
    return Row(number, typed(raw))


class Parquet(EventFile):
    """A parquet file, read by polars; its columns' own types are kept."""

    def rows(self, start: int) -> Iterator[Row]:
        """Yield the rows from number ``start`` on."""
        try:
            import polars as pl
        except ImportError as error:
            raise DatasetError(_("Parquet files need polars: pip install 'personalization[import]'.")) from error
        try:
            scan = pl.scan_parquet(self.path, glob=False)
            fields = self._fields(scan.collect_schema().names())
            total = int(scan.select(pl.len()).collect().item())
            for begin in range(start, total, PARQUET_ROWS):
                part = scan.select(list(dict.fromkeys(fields.values()))).slice(begin, PARQUET_ROWS).collect()
                self.share = min(begin + PARQUET_ROWS, total) / total
                for offset, values in enumerate(part.iter_rows(named=True)):
                    yield Row(begin + offset, shaped({field: values[column] for field, column in fields.items()}))
        except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
            raise DatasetError(_("%(path)s cannot be read (%(why)s).") % {"path": self.path, "why": reason}) from error


def shaped(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a raw event of flat values: ``properties.x`` goes into the properties, what is empty is left out."""
    raw: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    for field, value in values.items():
        if value is None:
            continue
        value = _plain(value)
        if field.startswith(NESTED):
            properties[field.removeprefix(NESTED)] = value
        elif field == "properties":
            given = _json(value)
            if isinstance(given, dict):
                properties.update({name: item for name, item in given.items() if item is not None})
            else:
                raw[field] = given
        else:
            raw[field] = _name(value) if field in NAMES else value
    if properties:
        raw["properties"] = properties
    return raw


def typed(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the event with its cells as the schema declares them; one that does not fit stays text, and is refused."""
    for name in NUMBERS & raw.keys():
        raw[name] = _whole(raw[name])
    found = schema.get(str(raw.get("type", "")))
    properties = raw.get("properties")
    if found is None or not isinstance(properties, dict):
        return raw
    readers = {
        schema.Kind.WHOLE: _whole,
        schema.Kind.NUMBER: _number,
        schema.Kind.FLAG: lambda text: FLAGS.get(text.strip().lower(), text),
        schema.Kind.LIST: _json,
        schema.Kind.OBJECT: _json,
    }
    for declared in found.properties:
        value = properties.get(declared.name)
        if isinstance(value, str) and declared.kind in readers:
            properties[declared.name] = readers[declared.kind](value)
    return raw


def _plain(value: Any) -> Any:
    """Return a moment as ISO 8601 (UTC where it has no zone); anything else as it is."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    return value.isoformat() if isinstance(value, date) else value


def _name(value: Any) -> Any:
    """Return a number that names something as text."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _whole(text: Any) -> Any:
    try:
        return int(text) if isinstance(text, str) else text
    except ValueError:
        return text


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _json(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return text
