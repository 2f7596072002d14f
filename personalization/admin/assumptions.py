"""What a forecast was made on: its assumptions as names and values that people read, in place of what is stored.

A key of another release, or a value of another shape, is shown as it is; nothing raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from personalization.admin.display import money, number, percent, plain, pretty
from personalization.admin.intervals import metric_label
from personalization.learning import sentences
from personalization.learning.figures import is_number, listed, mapping, moment
from personalization.models import Campaign
from personalization.ports import moments

NAMES: dict[str, str | Promise] = {
    "delivery": gettext_lazy("Delivery"),
    "audience_at": gettext_lazy("Audience as of"),
    "outcome_window_hours": gettext_lazy("Outcome window in hours"),
    "budget_minor": gettext_lazy("Budget"),
    "data": gettext_lazy("Data"),
    "offers_chosen": gettext_lazy("Which offer a shopper gets"),
    "cost_factor": gettext_lazy("What a redemption costs, per cost by its terms"),
    "model_bias_deviation": gettext_lazy("How far off totals were in the past"),
    "interval": gettext_lazy("Interval"),
}


def read(assumptions: Any, currency: str) -> list[tuple[str, str]]:
    """Return assumptions as pairs of words, whatever their shape; amounts are in ``currency``."""
    if not isinstance(assumptions, Mapping):
        return [(_("Assumptions"), pretty(assumptions))] if assumptions else []
    return [
        (str(NAMES.get(str(name), str(name).replace("_", " ").capitalize())), _value(str(name), value, currency))
        for name, value in assumptions.items()
    ]


def _value(name: str, value: Any, currency: str) -> str:
    if name == "budget_minor":
        return _("no limit") if value is None else money(value, currency)
    shown = SHOWN.get(name)
    return (shown(value) if shown is not None else "") or plain(value)


def _delivery(value: Any) -> str:
    return str(dict(Campaign.Delivery.choices).get(str(value), ""))


def _moment(value: Any) -> str:
    found = moment(value)
    return "" if found is None else moments.moment(found)


def _sentence(value: Any) -> str:
    return str(sentences.read(value) or "")


def _factor(value: Any) -> str:
    figures = [each for each in listed(value) if is_number(each)]
    if len(figures) != 2:
        return ""
    return _("%(factor)s times, give or take %(share)s") % {"factor": number(figures[0]), "share": percent(figures[1])}


def _deviations(value: Any) -> str:
    known = [(metric_label(str(name)), share) for name, share in mapping(value).items() if is_number(share)]
    return ", ".join(f"{name} {percent(share)}" for name, share in known)


SHOWN: dict[str, Callable[[Any], str]] = {
    "delivery": _delivery,
    "audience_at": _moment,
    "data": _sentence,
    "offers_chosen": _sentence,
    "cost_factor": _factor,
    "model_bias_deviation": _deviations,
}
