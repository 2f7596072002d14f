"""The attractiveness of a campaign's offers: what a forecast's row tells, in words, beside what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from personalization.admin.display import DASH, badge, number
from personalization.learning import attractiveness
from personalization.learning.attractiveness import Expected, Hindsight, Outcome
from personalization.learning.figures import percent
from personalization.models import Campaign, Forecast


@dataclass(frozen=True)
class Line:
    """One offer: its expected rate, the 80 % interval, what carries it, and, once it was shown, what happened."""

    name: str
    mean: str
    interval: str
    parts: list[str]
    happened: str = ""
    verdict: SafeString = field(default_factory=SafeString)


@dataclass(frozen=True)
class Table:
    """All lines, or a sentence why there are none."""

    lines: list[Line]
    compared: bool
    sentence: str = ""


def table(campaign: Campaign, forecast: Forecast | None, *, started: bool) -> Table | None:
    """Return what the panel shows of a forecast's attractiveness; None of a forecast that tells nothing of it."""
    told = attractiveness.read(forecast)
    if told is None:
        return None
    if told.problem:
        return Table([], False, told.problem)
    if told.needed is not None:
        words = _("Not enough launches yet (%(launches)s of %(needed)s): how attractive it is cannot be told.")
        return Table([], False, words % {"launches": told.launches, "needed": told.needed})
    if not told.offers:
        return Table([], False, _("An announcement has nothing to redeem: its attractiveness is not told."))
    came = attractiveness.outcomes(campaign) if started else {}
    return Table([_line(expected, came.get(expected.offer)) for expected in told.offers], bool(came))


def _line(expected: Expected, outcome: Outcome | None) -> Line:
    bounds = {"low": percent(expected.low, 1), "high": percent(expected.high, 1)}
    return Line(
        name=expected.name,
        mean=percent(expected.mean, 1),
        interval=_("%(low)s to %(high)s") % bounds,
        parts=[_part(part.name, part.moved) for part in expected.parts],
        happened=DASH if outcome is None else _happened(outcome),
        verdict=SafeString() if outcome is None else _verdict(expected.held(outcome)),
    )


def _part(name: str, moved: float) -> str:
    """Return a topic with the points by which it moves the rate, its sign first."""
    points = number(abs(moved) * 100, 1)
    text = _("%(name)s: %(points)s points more") if moved > 0 else _("%(name)s: %(points)s points fewer")
    return text % {"name": name, "points": points}


def _happened(outcome: Outcome) -> str:
    told = {"rate": percent(outcome.rate, 1), "shown": number(outcome.shown)}
    return _("%(rate)s of %(shown)s") % told if outcome.over else _("%(rate)s of %(shown)s so far") % told


def _verdict(held: bool | None) -> SafeString:
    if held is None:
        return SafeString()
    return badge(_("inside"), "live") if held else badge(_("outside"), "failed")


def hindsight_words(found: Hindsight | None) -> str:
    """Return how frozen expectations did, in a sentence; empty before the first one is over."""
    if found is None:
        return ""
    text = ngettext(
        "Frozen at launch and scored afterwards: %(launches)s launch, mean error %(error)s points; %(held)s of the "
        "80 %% intervals held (95 %% interval of the share: %(low)s to %(high)s).",
        "Frozen at launch and scored afterwards: %(launches)s launches, mean error %(error)s points; %(held)s of the "
        "80 %% intervals held (95 %% interval of the share: %(low)s to %(high)s).",
        found.launches,
    )
    return text % {
        "launches": number(found.launches),
        "error": number(found.error * 100, 1),
        "held": number(found.held),
        "low": percent(found.coverage.low),
        "high": percent(found.coverage.high),
    }
