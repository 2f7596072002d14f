"""Moments, files and tables for the commands: rich on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
from datetime import datetime, time
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from django.core.management.base import CommandError
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.timezone import is_naive, make_aware, now
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from personalization.learning import metric_names
from personalization.learning.attractiveness import hindsight
from personalization.learning.board import BoardRow, Cost
from personalization.learning.card import Card, Row
from personalization.learning.frames import is_simulated
from personalization.learning.rules import Rule


def moment(value: str) -> datetime:
    """Read until when a command may look: ISO 8601, with or without a time. Nothing has happened in the future."""
    try:
        found = parse_datetime(value)
        if found is None:
            day = parse_date(value)
            found = datetime.combine(day, time.min) if day is not None else None
    except ValueError:
        found = None
    if found is None:
        raise CommandError(f"{value!r} is not a date. Write it like 2026-05-01 or 2026-05-01T12:00:00+00:00.")
    found = make_aware(found) if is_naive(found) else found
    if found > now():
        raise CommandError(f"{value} lies in the future. Leave --until out for everything that has happened so far.")
    return found


def require_writable(path: Path) -> None:
    """CommandError unless a file can be written there: asked before the work whose result it is to hold.

    It is tried out, with a file beside it that is gone again: rights alone do not tell (a full or read-only disc).
    """
    if os.path.isdir(path):
        raise CommandError(f"{path} is a folder: name a file in it.")
    if not path.parent.is_dir():
        raise CommandError(f"The folder {path.parent} does not exist.")
    try:
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}."):
            pass
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}.") from None


def board_tables(rows: list[BoardRow], population: str) -> list[Table]:
    """Return one table a task: estimators down, metrics across, each with its 95 % interval."""
    tables: list[Table] = []
    told = population + (" (simulated data)" if is_simulated(population) else "")
    for task in dict.fromkeys(row.task for row in rows):
        of_task = [row for row in rows if row.task == task]
        metrics = metric_names.ordered(name for row in of_task for name in row.metrics)
        table = Table(title=f"{task} · {told}", title_justify="left")
        for heading in ("", "estimator", *(metric_names.in_short(name) for name in metrics[:6]), *COSTS):
            table.add_column(heading, no_wrap=True)
        for row in of_task:
            cells = [_cell(row.metrics.get(name)) for name in metrics[:6]]
            name = row.estimator if row.version_id is None else f"{row.estimator} #{row.version_id}"
            name += " (judged in an earlier training)" if row.earlier else ""
            table.add_row("champion" if row.champion else "", name, *cells, *_costs(row.cost))
        tables.append(table)
    return tables


def gate_tables(rows: list[BoardRow]) -> list[Table]:
    """Return one table for each version that faced the gate: a line a check; and what came of scoring in shadow."""
    tables: list[Table] = []
    for row in rows:
        if not row.challenger or not row.checks:
            continue
        table = Table(title=f"gate · {row.task} · {row.estimator} #{row.version_id}", title_justify="left")
        for heading in ("check", "verdict", "figure", "threshold", ""):
            table.add_column(heading, no_wrap=heading != "")
        for check in row.checks:
            verdict = {True: "holds", False: "refused", None: "not judged"}[check.passed]
            table.add_row(check.label, verdict, _plain(check.figure), _plain(check.threshold), check.sentence)
        if row.shadow is not None:
            gain = "–" if row.shadow.gain is None else "{:.4f} [{:.4f}, {:.4f}]".format(*row.shadow.gain)
            told = f"log-loss gain over {row.shadow.rival} on {row.shadow.rows:,} exposures: {gain}"
            table.add_row("In shadow", "", "", "", told)
        tables.append(table)
    return tables


def hindsight_lines(population: str) -> list[str]:
    """Return how attractiveness frozen at launch did, once a launch is over."""
    found = hindsight(population)
    if found is None:
        return []
    return [
        f"Attractiveness frozen at launch: {found.launches:,} launches over, mean error {found.error:.3f}, "
        f"{found.held:,} of the 80 % intervals held ({found.coverage.low:.2f} to {found.coverage.high:.2f})."
    ]


MOST_COLUMNS = 1000
"""A table that is wider is cut off."""
COSTS = ("fit s", "peak MB", "s / 1,000", "file MB")


def _costs(cost: Cost) -> list[str]:
    """Return what a version costs, in the order of COSTS."""
    return [*map(_plain, (cost.fit_seconds, cost.peak_mb, cost.seconds_per_1000)), _plain(cost.size_bytes / 1e6)]


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def card_lines(card: Card) -> list[str]:
    """Return a model card as text, section by section, in the order of the admin's page."""
    parts: list[tuple[str, list[str]]] = [
        (str(card.version), _pairs(card.about)),
        ("Limits", [f"- {limit}" for limit in card.limits]),
        ("Data", _pairs(card.data)),
        ("How diverse and how even the data is", [*(f"! {told}" for told in card.warnings), *_pairs(card.diversity)]),
        ("How often the outcome happens", _pairs(card.rates)),
        ("What it looks at", [f"{topic.text:>8}  {topic.name}" for topic in card.topics]),
        ("What the catalogue's words are about", _pairs(card.text_topics)),
        ("How good it is", _pairs(card.metrics)),
        (
            "Calibration",
            [card.calibration_words, *(f"predicted {each.predicted_text}, happened {each.happened_text}, "
                                       f"{each.rows:,} rows" for each in card.calibration)],
        ),
        ("In a few rules", _rule_lines(card)),
        ("For shoppers whom no batch has scored", [card.quick_sees, card.quick_words, *_pairs(card.quick)]),
        ("What it was compared with", [*_pairs(card.compared), *(f"- {reason}" for reason in card.reasons)]),
        ("Time and memory", _pairs(card.cost)),
    ]  # fmt: skip
    told = [(title, [line for line in lines if line]) for title, lines in parts]
    return [text for title, lines in told if lines for text in (f"{title}", *(f"  {line}" for line in lines), "")]


def _pairs(rows: list[Row]) -> list[str]:
    return [f"{row.name}: {row.value}" + (f" [{row.interval}]" if row.interval else "") for row in rows]


def _rule_lines(card: Card) -> list[str]:
    if card.rules is None:
        return []
    fidelity = f"R² {card.rules.r2} on {card.rules.held_out} rows of shoppers that the tree was not fitted on"
    return [fidelity, *_indented(card.rules.rules, "")]


def _indented(rules: list[Rule], before: str) -> list[str]:
    lines = []
    for rule in rules:
        leaf = f": {rule.probability} ({rule.share} of rows)" if rule.probability else ""
        lines += [f"{before}{rule.words}{leaf}", *_indented(rule.then, before + "  ")]
    return lines


def _cell(value: tuple[float, float, float] | None) -> str:
    return "–" if value is None else f"{value[0]:.3f} [{value[1]:.3f}, {value[2]:.3f}]".replace("0.", ".")


def print_all(*items: Any) -> None:
    """Print to the terminal, or into a file or a pipe; a table is never narrower than its columns.

    A terminal that is too narrow wraps the lines itself: a figure that is cut off says nothing.
    """
    on_terminal = sys.stdout.isatty()
    for item in items:
        keeps_columns = isinstance(item, Table) and all(column.no_wrap for column in item.columns)
        needed = Measurement.get(_WIDE, _WIDE.options, item).maximum if keeps_columns or not on_terminal else 0
        own = Console(file=sys.stdout).width if on_terminal else 0
        Console(file=sys.stdout, highlight=False, width=max(own, needed)).print(item)


_WIDE = Console(width=MOST_COLUMNS)
