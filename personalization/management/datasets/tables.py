"""Parquet files that are proven readable before the first write.

Flow: **file → Table** → the set's transformations → sink → the rooms' verbs. A table is opened whole: hashed,
its columns checked, every page decoded. What comes out is uniform: text, 64-bit numbers and UTC moments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

import polars as pl
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from personalization.exceptions import DatasetError

CHUNK = 100_000
"""Rows decoded at a time; with text of ordinary length some ten megabytes."""
PART = 500_000
"""Rows that are grouped or joined at a time."""
MOST = 10**8
"""No amount, quantity or code of a data set is larger, either way: a price times a quantity fits an integer."""
MOST_LETTERS, TEXT_LETTERS = 80, 1_000_000
"""Characters of a code, which every row has, and of text that a row may have."""
EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


class Kind(Enum):
    """What a column holds; the value is its name for people."""

    TEXT = gettext_lazy("text")
    INTEGER = gettext_lazy("whole numbers")
    NUMBER = gettext_lazy("numbers")
    MOMENT = gettext_lazy("dates")
    TEXTS = gettext_lazy("lists of text")


@dataclass(frozen=True, slots=True)
class Column:
    """A column that must be there. Empty cells are refused unless ``optional``."""

    kind: Kind
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One opened file. ``frame`` holds the declared columns and ``row``, the row's number from 0."""

    file: str
    digest: str
    rows: int
    frame: pl.LazyFrame

    def source(self, dataset: str) -> str:
        """Return the first half of every row's identity; the row's number is the second."""
        return f"{dataset}:{self.digest}"


_STORED: dict[Kind, pl.DataType] = {
    Kind.TEXT: pl.String(),
    Kind.INTEGER: pl.Int64(),
    Kind.NUMBER: pl.Float64(),
    Kind.TEXTS: pl.List(pl.String()),
}


def open_table(folder: Path, file: str, columns: Mapping[str, Column]) -> Table:
    """Hash, check and decode one file. Raises DatasetError with what is wrong and what to do."""
    path = folder / file
    if not path.is_file():
        raise DatasetError(
            _("“%(file)s” is missing in %(folder)s. Give the folder that holds the data set's parquet files.")
            % {"file": file, "folder": folder}
        )
    with _readable(path):
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
        scan = pl.scan_parquet(path, row_index_name="row", glob=False)
        schema = scan.collect_schema()
    _check_schema(path, schema, columns)
    frame = scan.select("row", *(_uniform(name, column.kind, schema[name]) for name, column in columns.items()))
    return Table(file=file, digest=digest, rows=_decode(path, frame, columns), frame=frame)


def require(holds: bool, message: str) -> None:
    """Raise DatasetError with this message unless the data is as it should be."""
    if not holds:
        raise DatasetError(message)


def collect(frame: pl.LazyFrame) -> pl.DataFrame:
    """Run a query in batches: what is held is the result and polars' working set, not the file."""
    return frame.collect(engine="streaming")


def chunks(frame: pl.LazyFrame, rows: int) -> Iterator[pl.DataFrame]:
    """Cut an unfiltered frame of ``rows`` rows into pieces, in the file's order."""
    for start in range(0, rows, CHUNK):
        yield collect(frame.slice(start, CHUNK))


def by_parts(
    frame: pl.LazyFrame, key: str, rows: int, summarise: Callable[[pl.LazyFrame], pl.LazyFrame]
) -> pl.DataFrame:
    """Summarise a frame of ``rows`` rows by key. Medians and the like hold all their rows: so part by part."""
    return pl.concat([collect(summarise(frame.filter(belongs(key)))) for belongs in parts(rows)])


def parts(rows: int) -> Iterator[Callable[[str], pl.Expr]]:
    """Cut ``rows`` rows by key: yields, part by part, what makes the filter for a key's column.

    All rows of a key fall into one part of about PART rows. The file is read once a part: that bounds the
    memory whatever the order of its rows. A file sorted by key would need one pass, but none of them is.
    """
    count = max(1, -(-rows // PART))
    for part in range(count):
        yield lambda key, part=part: pl.col(key).hash(seed=0) % count == part  # type: ignore[misc]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn whatever polars and the disk say into one sentence."""
    try:
        yield
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise DatasetError(
            _("%(path)s cannot be read (%(reason)s). Fetch this file again; nothing has been imported.")
            % {"path": path, "reason": reason}
        ) from error


def _check_schema(path: Path, schema: pl.Schema, columns: Mapping[str, Column]) -> None:
    missing = [name for name in columns if name not in schema]
    require(
        not missing,
        _("%(path)s has no column %(names)s. Check that this is the data set; nothing has been imported.")
        % {"path": path, "names": ", ".join(f"“{name}”" for name in missing)},
    )
    for name, column in columns.items():
        require(
            _fits(schema[name], column.kind),
            _("Column “%(name)s” of %(path)s holds %(dtype)s, not %(kind)s. Check that this is the data set.")
            % {"name": name, "path": path, "dtype": schema[name], "kind": column.kind.value},
        )


def _fits(dtype: pl.DataType, kind: Kind) -> bool:
    if kind is Kind.TEXT:
        return isinstance(dtype, (pl.String, pl.Categorical, pl.Enum))
    if kind is Kind.TEXTS:
        return isinstance(dtype, pl.List) and isinstance(dtype.inner, (pl.String, pl.Categorical, pl.Enum))
    if kind is Kind.MOMENT:
        return isinstance(dtype, (pl.Datetime, pl.Date))
    return dtype.is_integer() if kind is Kind.INTEGER else dtype.is_numeric()


def _uniform(name: str, kind: Kind, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if kind is Kind.MOMENT:
        zone = dtype.time_zone if isinstance(dtype, pl.Datetime) else None
        moment = column.cast(pl.Datetime("us", zone))
        return moment.dt.convert_time_zone("UTC") if zone else moment.dt.replace_time_zone("UTC")
    return column.cast(_STORED[kind])


def _odd(values: pl.Series, column: Column) -> pl.Series:
    """Tell of each cell whether no database could hold it, or no arithmetic that follows."""
    if column.kind is Kind.MOMENT:
        return (values < EARLIEST) | (values >= LATEST)
    if column.kind is Kind.TEXTS:
        values = values.explode()
    if column.kind in {Kind.TEXT, Kind.TEXTS}:
        too_long = values.str.len_chars() > (TEXT_LETTERS if column.optional else MOST_LETTERS)
        return values.str.contains("\x00", literal=True) | too_long
    return (values < -MOST) | (values > MOST)


def _decode(path: Path, frame: pl.LazyFrame, columns: Mapping[str, Column]) -> int:
    """Read every row once, chunk by chunk, and return how many there are."""
    rows = 0
    while True:
        with _readable(path):
            chunk = collect(frame.slice(rows, CHUNK))
        for name, column in columns.items():
            values = chunk[name]
            bad = 0 if column.optional else values.null_count()
            if column.kind is Kind.NUMBER:
                bad += int((~values.drop_nulls().is_finite()).sum())
            require(
                not bad,
                _("Column “%(name)s” of %(path)s has %(count)d cells without a value. Fetch this file again.")
                % {"name": name, "path": path, "count": bad},
            )
            require(
                not (odd := int(_odd(values, column).sum())),
                _(
                    "Column “%(name)s” of %(path)s has %(count)d cells that nobody can mean: a number beyond "
                    "±%(most)s, a date before 1900 or after 2199, a code of more than %(letters)d characters, or a "
                    "NUL. Fetch this file again."
                )
                % {"name": name, "path": path, "count": odd, "most": f"{MOST:,}", "letters": MOST_LETTERS},
            )
        rows += chunk.height
        if chunk.height < CHUNK:
            break
    require(rows > 0, _("%(path)s holds no rows. Fetch this file again.") % {"path": path})
    return rows
