"""The wave to come, when it is let happen, and its forecast beside what the simulator expected.

The past is over when the shop opens; this is the only thing that is simulated afterwards, and only on request.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

import numpy as np
from django.utils.translation import gettext as _

from personalization import api
from shop.money import money
from shop.simulation import truth
from shop.simulation.build import Simulation, keys
from shop.simulation.bulk import EventWriter, Keys, exposure_data
from shop.simulation.log import EventLog
from shop.simulation.waves import log_exposures, receivers

WAVE = "next-"
MONEY = {"cost", "revenue"}


class Line(Protocol):
    """One figure of a forecast, as the app returns it."""

    @property
    def metric(self) -> str: ...

    @property
    def label(self) -> str: ...

    @property
    def mean(self) -> float: ...

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...

    @property
    def actual(self) -> float | None: ...


def run_wave(simulation: Simulation, campaign: Any, *, starts_at: datetime | None = None) -> int:
    """Let the next wave happen: draw its outcomes and store its events and exposures; returns new exposures.

    The outcomes are dated from ``starts_at`` on, by default the campaign's own start. That lies in the future, and so
    they join no training before their time has come. Run again, it stores nothing twice.
    """
    world = simulation.world
    start = round(((starts_at or campaign.starts_at) - simulation.start).total_seconds())
    log = EventLog()
    drawn = truth.draw_wave(world, world.next_offers, receivers(world.people, world.seconds), start=start, log=log)
    log_exposures(log, drawn.exposures, first_offer=0)
    called = keys(simulation)
    called = Keys(called.start, called.products, called.shoppers, simulation.info.truth["next_wave"]["offers"])
    if campaign.status == "draft":
        api.launch(campaign)
    columns = log.columns()
    api.store_events(EventWriter(world, drawn.orders, called, WAVE, shop_orders=False).events(columns, 0, None))
    new = api.record_exposures(
        exposure_data(drawn.exposures, called, campaign=campaign.pk, first_offer=0, name=f"{WAVE}0")
    )
    if campaign.status == "running":
        api.transition(campaign, "ended")
    return new


def beside_truth(lines: Sequence[Line], expected: dict[str, dict[str, float]]) -> list[str]:
    """Return the forecast beside the simulator's own expectation, as lines of a plain table."""
    # xgettext:no-python-format
    forecast = _("forecast (90 % interval)")
    rows = [(_("figure"), forecast, _("truth (simulation)"), _("inside"), _("happened"))]
    for line in lines:
        low, high = _figure(line.metric, line.low), _figure(line.metric, line.high)
        known = expected.get(line.metric)
        inside = "" if known is None else (_("yes") if line.low <= known["mean"] <= line.high else _("no"))
        rows.append(
            (
                _(line.label),
                f"{_figure(line.metric, line.mean)} ({low} – {high})",
                "" if known is None else _figure(line.metric, known["mean"]),
                inside,
                "" if line.actual is None else _figure(line.metric, line.actual),
            )
        )
    widths = np.array([[len(cell) for cell in row] for row in rows]).max(axis=0)
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _figure(metric: str, value: float) -> str:
    return money(round(value)) if metric in MONEY else f"{value:,.0f}"
