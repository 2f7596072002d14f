"""How admin pages show things: money, bars, badges, links and JSON of any shape. No query, no decision.

Whatever a JSON column holds, these functions return something readable; none raises.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any

from django.db.models import Model
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from personalization.learning.figures import signed
from personalization.ports.money import money as money_text

DASH = "–"
TONES = {
    "draft": "quiet",
    "review": "wait",
    "scheduled": "wait",
    "running": "good",
    "paused": "wait",
    "ended": "quiet",
    "archived": "quiet",
    "queued": "wait",
    "succeeded": "good",
    "failed": "bad",
    "cancelled": "quiet",
    "quarantined": "bad",
    "champion": "good",
    "candidate": "wait",
    "retired": "quiet",
    "live": "good",
    "building": "wait",
    "held": "wait",
    "redeemed": "good",
    "released": "quiet",
    "expired": "quiet",
    "searching": "wait",
    "judged": "good",
    "finished": "good",
    "pruned": "quiet",
}


def number(value: Any, decimals: int | None = None) -> str:
    """Return a number with grouped thousands; anything else as text, nothing as a dash."""
    if value is None or value == "":
        return DASH
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if not isinstance(value, int | float) or value != value:  # NaN is unequal to itself
        return str(value)
    if decimals is None:
        decimals = 0 if isinstance(value, int) or abs(value) >= 100 else 2 if abs(value) >= 1 else 4
    if abs(value) == float("inf"):
        return str(value)
    return number_format(round(value, decimals), decimals, force_grouping=True)  # it cuts off and does not round


def percent(share: Any, decimals: int = 1) -> str:
    """Return a share between 0 and 1 as a percentage."""
    if isinstance(share, bool) or not isinstance(share, int | float) or share != share:
        return DASH
    return f"{number_format(round(share * 100, decimals), decimals)} %"  # it cuts off and does not round


def day(moment: datetime | None, place: tzinfo | None = None, *, with_year: bool = False) -> str:
    """Return a day (of the page's time zone, or another) as short text; its year only where that is not this one.

    ``with_year``: always with its year, beside a day that has one.
    """
    if moment is None:
        return DASH
    local = timezone.localtime(moment, place)
    style = "DATE_FORMAT" if with_year or local.year != timezone.localtime().year else "MONTH_DAY_FORMAT"
    return str(date_format(local, style))


def points(share: Any, decimals: int = 1) -> str:
    """Return a difference of shares in percentage points, with a true minus; the unit stands elsewhere."""
    if isinstance(share, bool) or not isinstance(share, int | float) or share != share:
        return DASH
    return signed(number_format(round(share * 100, decimals), decimals))


def money(minor: Any, currency: str) -> str:
    """Return minor units as an amount in its currency; nothing as a dash."""
    if isinstance(minor, bool) or not isinstance(minor, int | float) or minor != minor or abs(minor) == float("inf"):
        return DASH
    return money_text(round(minor), currency)


def badge(text: Any, state: str = "") -> SafeString:
    """Return a state as a small label; the colour only repeats what the text says."""
    return format_html('<span class="pz-badge pz-badge--{}">{}</span>', TONES.get(state, "quiet"), text)


def progress(share: float, label: str) -> SafeString:
    """Return a progress bar with its percentage as text."""
    whole = round(min(max(share, 0.0), 1.0) * 100)
    return format_html(
        '<progress class="pz-progress" max="100" value="{0}" aria-label="{1}"></progress> '
        '<span class="pz-figure">{0} %</span>',
        whole,
        label,
    )


def budget_bar(
    *, spent: int, reserved: int, budget: int | None, currency: str, liability: int = 0, open_now: int | None = None
) -> SafeString:
    """Return how much of a budget is spent, reserved and promised: a drawn bar, and the same in words.

    ``liability`` is what coupons that are out could still cost; ``open_now`` how much may be used by today.
    """
    figures = [_("%(amount)s spent") % {"amount": money(spent, currency)}]
    if reserved:
        figures.append(_("%(amount)s reserved") % {"amount": money(reserved, currency)})
    if liability:
        figures.append(_("%(amount)s promised at most") % {"amount": money(liability, currency)})
    if not budget:
        return format_html(
            '<span class="pz-figure pz-figure--wraps">{}<br>{}</span>', " · ".join(figures), _("no limit")
        )
    figures.append(_("%(amount)s left") % {"amount": money(max(budget - spent - reserved, 0), currency)})
    if open_now is not None:
        figures.append(_("%(amount)s may be used by today") % {"amount": money(open_now, currency)})
    words = _("%(figures)s of %(budget)s") % {"figures": " · ".join(figures), "budget": money(budget, currency)}
    return format_html(
        '<span class="pz-budget"><svg class="pz-bar" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" '
        'aria-label="{}"><rect class="pz-bar-all" width="100" height="8"></rect>{}</svg>'
        '<span class="pz-figure">{} · {}</span><span class="pz-hint pz-hint--wraps">{}</span></span>',
        words,
        _bar_parts(budget, spent, reserved, liability, open_now),
        percent((spent + reserved) / budget, 0),
        money(budget, currency),
        " · ".join(figures),
    )


def _bar_parts(budget: int, spent: int, reserved: int, liability: int, open_now: int | None) -> SafeString:
    """Return the bar's rectangles one after another, none beyond its end, and the pacing mark."""
    parts, x = [], 0.0
    for name, amount in (("spent", spent), ("reserved", reserved), ("liability", liability)):
        width = min(max(amount, 0) / budget * 100, 100.0 - x)
        if width > 0:
            parts.append((name, f"{x:.2f}", f"{width:.2f}"))
        x += width
    drawn = format_html_join("", '<rect class="pz-bar-{}" x="{}" width="{}" height="8"></rect>', parts)
    if open_now is None:
        return drawn
    mark = min(open_now / budget * 100, 99.0)
    return format_html('{}<rect class="pz-bar-mark" x="{}" width="1" height="8"></rect>', drawn, f"{mark:.2f}")


def change_url(model: type[Model] | Model, pk: Any) -> str:
    """Return the address of an object's admin page, or nothing where it has none."""
    meta = model._meta
    try:
        return reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[pk])
    except NoReverseMatch:
        return ""


def pretty(value: Any) -> str:
    """Return any JSON value as indented text."""
    try:
        return json.dumps(value, indent=2, ensure_ascii=False, default=str)
    except (TypeError, ValueError):
        return repr(value)


def plain(value: Any) -> str:
    """Return a JSON value as text for a sentence or a short list: a flat mapping needs no braces."""
    if isinstance(value, Mapping) and not any(isinstance(part, Mapping | list) for part in value.values()):
        return "\n".join(f"{name}: {number(part)}" for name, part in value.items()) or DASH
    if isinstance(value, list) and not any(isinstance(part, Mapping | list) for part in value):
        return ", ".join(number(part) for part in value) or DASH
    return pretty(value) if isinstance(value, Mapping | list) else number(value)


def json_block(value: Any) -> str | SafeString:
    """Return any JSON value as a block that a keyboard can scroll."""
    if value in (None, {}, [], ""):
        return DASH
    return format_html('<pre class="pz-json" tabindex="0">{}</pre>', pretty(value))


def short_figures(value: Any, limit: int = 3) -> str:
    """Return the first plain numbers of a result as ``name value`` pairs: a line for a list."""
    if not isinstance(value, Mapping):
        return DASH
    inner = value.get("metrics")
    source = inner if isinstance(inner, Mapping) and inner else value
    parts = [
        f"{str(name).replace('_', ' ')} {number(figure)}"
        for name, figure in source.items()
        if isinstance(figure, int | float) and not isinstance(figure, bool)
    ]
    return " · ".join(parts[:limit]) or DASH


def words_of(value: Any) -> list[str]:
    """Return the words of a JSON list; nothing for a value of another shape."""
    return [str(word) for word in value] if isinstance(value, list | tuple) else []


def masked(value: str, keep: int = 4) -> str:
    """Return the first characters of an identifier; the rest stays hidden."""
    return f"{value[:keep]}…" if len(value) > keep else "…"
