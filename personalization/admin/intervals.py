"""Figures with intervals: read from JSON of any shape, and laid out for a chart that the server draws.

A figure is a mean with the bounds of its 90 % interval. Charts are SVG without style or script; the table beside
them says the same in numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from personalization.admin.display import DASH, badge, money, number
from personalization.learning.figures import is_number

ROW_HEIGHT = 48
LEFT = 8
PLOT_WIDTH = 376
CHART_WIDTH = LEFT + PLOT_WIDTH + 16
_MEANS = ("mean", "value", "expected")
_LOWS = ("low", "lower", "lo", "q05", "p05")
_HIGHS = ("high", "upper", "hi", "q95", "p95")


@dataclass(frozen=True)
class Figure:
    """One predicted number with its interval and, once known, what happened."""

    metric: str
    label: str
    mean: float | None
    low: float | None
    high: float | None
    actual: float | None = None
    inside: bool | None = None
    currency: str = ""

    def text(self, value: float | None) -> str:
        """Return a value of this figure as people read it."""
        if value is None:
            return DASH
        if self.is_money:
            return money(value, self.currency)
        return number(value, 0 if value == int(value) or abs(value) >= 10 else 1)

    @property
    def is_money(self) -> bool:
        return bool(self.currency) and (
            self.metric.endswith("_minor") or self.metric in {"cost", "revenue", "discount", "spend", "profit"}
        )

    @property
    def mean_text(self) -> str:
        return self.text(self.mean)

    @property
    def interval_text(self) -> str:
        if self.low is None or self.high is None:
            return DASH
        return _("%(low)s to %(high)s") % {"low": self.text(self.low), "high": self.text(self.high)}

    @property
    def actual_text(self) -> str:
        return self.text(self.actual)

    @property
    def verdict(self) -> str:
        if self.actual is None or self.inside is None:
            return DASH
        return _("inside the interval") if self.inside else _("outside the interval")

    @property
    def verdict_badge(self) -> str:
        """Return the verdict for a cell beside the interval."""
        if self.actual is None or self.inside is None:
            return DASH
        return badge(_("inside"), "live") if self.inside else badge(_("outside"), "failed")


@dataclass(frozen=True)
class ChartRow:
    """Coordinates of one figure in the chart; the words repeat it for those who do not see it."""

    label: str
    y: float
    low_x: float
    width: float
    mean_x: float
    actual_x: float | None
    inside: bool | None
    words: str


@dataclass(frozen=True)
class Chart:
    """All rows, with the size of the drawing and its text alternative."""

    rows: list[ChartRow]
    width: int
    height: int
    plot_x: int
    words: str


def metric_label(metric: str, fallback: str = "") -> str:
    """Return a metric's name for people."""
    labels = {
        "audience": _("Shoppers shown an offer"),
        "exposures": _("Exposures"),
        "views": _("Shoppers who view it"),
        "clicks": _("Clicks"),
        "claims": _("Coupons claimed"),
        "redemptions": _("Redemptions"),
        "orders": _("Shoppers who order"),
        "revenue_minor": _("Revenue"),
        "cost_minor": _("Cost of discounts"),
        "cost": _("Cost of discounts"),
        "revenue": _("Revenue"),
    }
    return labels.get(metric) or fallback or metric.removesuffix("_minor").replace("_", " ").capitalize()


def read_figures(raw: Any, currency: str) -> list[Figure]:
    """Return what can be read of a forecast's figures; entries of another shape are left out."""
    if not isinstance(raw, Mapping):
        return []
    figures = []
    for metric, value in raw.items():
        mean, low, high = read_interval(value)
        if mean is not None:
            figures.append(Figure(str(metric), metric_label(str(metric)), mean, low, high, currency=currency))
    return figures


def read_interval(value: Any) -> tuple[float | None, float | None, float | None]:
    """Return (mean, low, high) of a triple, a mapping or a bare number; None for what is not there."""
    if isinstance(value, Mapping):
        return _first(value, _MEANS), _first(value, _LOWS), _first(value, _HIGHS)
    if isinstance(value, list | tuple):
        parts = [_plain(part) for part in value[:3]] + [None] * 3
        return parts[0], parts[1], parts[2]
    return _plain(value), None, None


def _first(value: Mapping[str, Any], names: Iterable[str]) -> float | None:
    return next((_plain(value[name]) for name in names if name in value), None)


def _plain(value: Any) -> float | None:
    return float(value) if is_number(value) else None


def draw(figures: list[Figure]) -> Chart | None:
    """Lay the figures out from zero: all amounts of money on one scale, all counts on another."""
    drawable = [figure for figure in figures if None not in (figure.mean, figure.low, figure.high)]
    if not drawable:
        return None
    scales = {kind: _scale([item for item in drawable if item.is_money == kind]) for kind in (False, True)}
    rows = [_row(figure, index, *scales[figure.is_money]) for index, figure in enumerate(drawable)]
    return Chart(
        rows=rows,
        width=CHART_WIDTH,
        height=len(rows) * ROW_HEIGHT,
        plot_x=LEFT,
        words=" ".join(row.words for row in rows),
    )


def _scale(figures: list[Figure]) -> tuple[float, float]:
    """Return where the plot of these figures begins, and how many units of drawing one of theirs takes."""
    values = [0.0]
    for figure in figures:
        values += [value for value in (figure.mean, figure.low, figure.high, figure.actual) if value is not None]
    start, end = min(values), max(values)
    return start, PLOT_WIDTH / ((end - start) * 1.05 or 1.0)


def _row(figure: Figure, index: int, start: float, scale: float) -> ChartRow:
    mean, low, high = figure.mean or 0.0, figure.low or 0.0, figure.high or 0.0

    def x(value: float) -> float:
        return round(LEFT + (value - start) * scale, 1)

    words = _("%(label)s: %(mean)s, 90 %% interval %(interval)s.") % {
        "label": figure.label,
        "mean": figure.mean_text,
        "interval": figure.interval_text,
    }
    if figure.actual is not None:
        words += " " + _("Actual %(actual)s, %(verdict)s.") % {
            "actual": figure.actual_text,
            "verdict": figure.verdict,
        }
    return ChartRow(
        label=figure.label,
        y=index * ROW_HEIGHT + 34,
        low_x=x(low),
        width=max(round(x(high) - x(low), 1), 1.0),
        mean_x=x(mean),
        actual_x=None if figure.actual is None else x(figure.actual),
        inside=figure.inside,
        words=words,
    )
